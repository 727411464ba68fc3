"""The files that a command writes: each is tried, and what cannot be written costs nothing else."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .words import printable, to_json

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["say", "write", "write_json"]

Writer = Callable[[dict[str, Any], Path], None]


def write(report: dict[str, Any], outputs: Sequence[tuple[Path | None, Writer]]) -> dict[Path, str]:
    """Writes the report to each path that was asked for; returns each path with the reason if it could not be written, else ""."""
    written = {}
    for path, writer in outputs:
        if path is not None:
            try:
                writer(report, path)
                written[path] = ""
            except (OSError, MemoryError) as error:
                written[path] = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return written


def write_json(report: dict[str, Any], path: Path) -> None:
    path.write_text(to_json(report), encoding="utf-8")


def say(console: Console, written: Mapping[Path, str]) -> int:
    """Prints a line for each file, on standard error for one that could not be written; the exit status, 2 if one could not."""
    for path, problem in written.items():
        if not problem:
            console.print(f"Wrote {printable(str(path))}", highlight=False, markup=False, soft_wrap=True)
    for path, problem in written.items():
        if problem:
            print(f"fastopt: cannot write {printable(str(path))}: {problem}", file=sys.stderr)
    return 2 if any(written.values()) else 0
