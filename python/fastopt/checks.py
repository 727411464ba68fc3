"""Checks of single values: counts, choices, flags, numbers that come in an array."""

from __future__ import annotations

import numbers
from collections.abc import Iterable
from typing import Any

import numpy as np

from . import buffers
from .rules import shown

__all__ = ["check_choice", "check_count", "check_flag", "one_number"]


def check_count(value: Any, name: str) -> int:
    """A number of steps."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{name}: got {buffers.describe(value)}, expected a whole number")
    if not 0 <= value < 2**53:
        raise ValueError(f"{name}: got {shown(value)}, expected a number of steps from 0")
    return int(value)


def check_choice(value: Any, name: str, choices: Iterable[Any]) -> Any:
    """The choice that `value` is, of its type too (of texts NumPy's will do)."""
    for choice in choices:
        if (type(value) is type(choice) or (isinstance(value, str) and isinstance(choice, str))) and value == choice:
            return choice
    error = ValueError if isinstance(value, str) else TypeError
    raise error(f"{name}: got {shown(value)}, expected one of {', '.join(map(repr, choices))}")


def check_flag(value: Any, name: str) -> bool:
    """True or False, NumPy's too."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name}: got {shown(value)}, expected True or False")
    return bool(value)


def one_number(value: Any, name: str) -> float:
    """A real number, also as an array or tensor of one element, in Python's own types; it may be Inf or NaN."""
    try:
        number = value.item() if hasattr(value, "item") else value
    except (TypeError, ValueError, RuntimeError):  # of more elements
        number = None
    if isinstance(number, bool) or not isinstance(number, numbers.Real):
        raise TypeError(f"{name}: got {buffers.describe(value)}, expected a real number")
    try:
        return number if isinstance(number, int) else float(number)
    except OverflowError:
        raise ValueError(f"{name}: got {shown(value)}, expected a number within float64") from None
