"""How the commands word numbers and write reports."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import IO, Any


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


def share(ratio: float) -> str:
    """A share of the floor: a percentage in the colour of how good it is."""
    colour = "green" if ratio >= 0.95 else "yellow" if ratio >= 0.8 else "red"
    return f"[{colour}]{ratio:.0%}[/]"


def threads(count: int) -> str:
    return "1 thread" if count == 1 else f"{count} threads"


def plural(count: int, what: str) -> str:
    """1 sample, 1,347 samples."""
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"


def sentence(text: str) -> str:
    """The text with a capital and a full stop."""
    return text[0].upper() + text[1:] + "."


def printable(text: str) -> str:
    """The text with Python's escapes for characters that would command a terminal, or that a terminal cannot show."""
    return "".join(part if part.isprintable() else part.encode("unicode_escape").decode() for part in text)


@contextmanager
def encodable(file: IO[str]) -> Iterator[None]:
    """Lets a stream of ASCII, or of another small encoding, show a question mark for what it cannot encode, rather than raise."""
    if not isinstance(file, io.TextIOWrapper):
        yield
        return
    before = file.errors
    file.flush()
    file.reconfigure(errors="replace")
    try:
        yield
    finally:
        file.flush()
        file.reconfigure(errors=before)


def epochs(count: int) -> str:
    return "1 epoch" if count == 1 else f"{count:,} epochs"


def seeds(used: Sequence[int]) -> str:
    """The words for seeds that follow one another."""
    return f"seed {used[0]}" if len(used) == 1 else f"seeds {used[0]} to {used[-1]}"


def to_json(report: dict[str, Any]) -> str:
    """The report as a file's content, with null for NaN and infinities, which JSON lacks."""

    def finite(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: finite(part) for key, part in value.items()}
        if isinstance(value, (list, tuple)):
            return [finite(part) for part in value]
        return None if isinstance(value, float) and not math.isfinite(value) else value

    return json.dumps(finite(report), indent=1) + "\n"
