"""`python -m fastopt`: the command line."""

from .cli import main

raise SystemExit(main())
