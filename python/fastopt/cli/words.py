"""How the commands word numbers and say what they wrote."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["duration", "say_files", "short", "threads", "times"]


def short(size: int) -> str:
    """1e6 for 1,000,000; other sizes in full."""
    digits = str(size)
    return f"{digits[0]}e{len(digits) - 1}" if size >= 1000 and not digits[1:].strip("0") else f"{size:,}"


def duration(seconds: float) -> str:
    """Three digits and a unit: 12.3 ms."""
    for unit, scale in (("s", 1.0), ("ms", 1e3), ("µs", 1e6), ("ns", 1e9)):
        value = seconds * scale
        if value >= 1 or unit == "ns":
            return f"{value:.0f} {unit}" if value >= 100 else f"{value:#.3g} {unit}"
    raise AssertionError


def times(ratio: float) -> str:
    """A factor: 3.1x, 120x."""
    return f"{ratio:.1f}x" if ratio < 100 else f"{ratio:.0f}x"


def threads(count: int) -> str:
    return "1 thread" if count == 1 else f"{count} threads"


def say_files(console: Console, *paths: Path | None) -> None:
    """A line for each file that was written; None where none was asked for."""
    for path in paths:
        if path is not None:
            console.print(f"Wrote {path}", highlight=False, soft_wrap=True)
