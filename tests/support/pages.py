"""The programs of the documents: their blocks of code, run in order, and what each says that it prints."""

from __future__ import annotations

import contextlib
import doctest
import io
import re
from pathlib import Path
from typing import Any

__all__ = ["ROOT", "blocks", "run"]

ROOT = Path(__file__).resolve().parents[2]


def blocks(page: str, language: str = "python") -> list[str]:
    """The blocks of a page, whose path begins at the root."""
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)


def run(code: list[str], known: dict[str, Any] | None = None) -> dict[str, Any]:
    """Runs the blocks in one namespace; each `print(...)  # ...` prints what its comment says, with `...` for anything.

    Returns the namespace.
    """
    known = {} if known is None else known
    for block in code:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(block, known)
        prints = re.findall(r"^\s*print\(", block, re.MULTILINE)
        said = re.findall(r"^\s*print\(.*\)  # (.*)$", block, re.MULTILINE)
        assert len(said) == len(prints), f"a print without its output:\n{block}"
        wanted = "".join(f"{line}\n" for line in said)
        assert doctest.OutputChecker().check_output(wanted, printed.getvalue(), doctest.ELLIPSIS), (wanted, printed.getvalue())
    return known
