"""The words of error messages: a value in a few words, and a name before the words of an error."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

__all__ = ["counted", "cured", "describe", "naming", "shown"]


def shown(value: Any) -> str:
    """`value` in an error message: short, whatever it is."""
    if isinstance(value, int) and abs(value) >= 2**64:
        return "a whole number beyond 64 bits"
    try:
        text = repr(value)
    except Exception:  # a foreign class may raise anything, and so may a nest that is too deep
        text = f"<{type(value).__name__}>"
    text = " ".join(text.split()) if "\n" in text else text  # an array of several rows
    return text if len(text) <= 60 else text[:57] + "..."


@functools.singledispatch
def describe(value: Any) -> str:
    """What came, with its type.  A room that knows more about a type registers words of its own (`_arrays/buffers.py`)."""
    return f"{type(value).__name__} {shown(value)}"


def counted(count: int, what: str) -> str:
    """1 tensor, 2 tensors."""
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def cured(error: Exception, find: Callable[[], str]) -> Exception:
    """The error with what to type instead at its end, if `find` knows it."""
    try:
        cure = find()
    except Exception:  # a foreign class may raise anything
        cure = ""
    return type(error)(f"{error}; {cure}") if cure else error


@contextlib.contextmanager
def naming(name: str) -> Iterator[None]:
    """Puts `name`, unless empty, before the words of a TypeError or ValueError."""
    try:
        yield
    except (TypeError, ValueError) as error:
        raise type(error)(f"{name}: {error}" if name else str(error)) from None
