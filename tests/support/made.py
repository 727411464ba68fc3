"""Files that tests compile: made once for their content, by the first process that needs them, and kept for the next run.

Everything lies in `build/tests`, or in the folder that FASTOPT_TEST_BUILDS names, under a name that its content determines.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
UNUSED_DAYS = 7


@functools.cache
def folder() -> Path:
    """The folder in which this run keeps its compiled files."""
    path = Path(os.environ.get("FASTOPT_TEST_BUILDS") or ROOT / "build" / "tests")
    path.mkdir(parents=True, exist_ok=True)
    return path


def digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:24]


def once(name: str, content: str, make: Callable[[Path], None], parent: Path | None = None) -> Path:
    """The path of a file or folder that `make(path)` makes; `content` is the digest of all that it depends on."""
    parent = parent or folder()
    path = parent / f"{name}-{content}"
    if not path.exists():
        with locked(parent / f"{path.name}.lock"):
            if not path.exists():
                scratch = Path(tempfile.mkdtemp(dir=parent))
                try:
                    make(scratch / "made")
                    (scratch / "made").rename(path)
                finally:
                    shutil.rmtree(scratch)
    with contextlib.suppress(OSError):
        os.utime(path)
    return path


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Holds a lock that other processes wait for."""
    import fcntl

    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def remove_unused() -> None:
    """Removes files that no run has used for a week."""
    for path in folder().iterdir():
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > UNUSED_DAYS * 86_400:
                shutil.rmtree(path) if path.is_dir() else path.unlink()


@functools.cache
def version(compiler: str) -> str:
    """A compiler's own description of itself."""
    return subprocess.run([compiler, "--version"], capture_output=True, text=True, check=True).stdout
