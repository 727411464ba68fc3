"""Programs in an interpreter of their own."""

from __future__ import annotations

import os
import subprocess
import sys


def run_python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs `code` in a new interpreter whose environment has no other of fastopt's variables."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("FASTOPT_")}
    return subprocess.run(
        [sys.executable, "-c", code], env=clean | environment, capture_output=True, check=False, text=True, timeout=120
    )
