"""The words of error messages: a value in a few of them, and the name of what holds it before those of an error."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from typing import Any

__all__ = ["describe", "naming", "shown"]


def shown(value: Any) -> str:
    """`value` in an error message: short, whatever it is."""
    if isinstance(value, int) and abs(value) >= 2**64:
        return "a whole number beyond 64 bits"
    try:
        text = repr(value)
    except Exception:  # whatever somebody else's class raises, and a nest too deep
        text = f"<{type(value).__name__}>"
    return text if len(text) <= 60 else text[:57] + "..."


@functools.singledispatch
def describe(value: Any) -> str:
    """What came, with its type.  Rooms that know more of a type register their own words for it (`_arrays/buffers.py`)."""
    return f"{type(value).__name__} {shown(value)}"


@contextlib.contextmanager
def naming(name: str) -> Iterator[None]:
    """Puts `name`, if there is one, before the words of a TypeError or ValueError."""
    try:
        yield
    except (TypeError, ValueError) as error:
        raise type(error)(f"{name}: {error}" if name else str(error)) from None
