"""Checks of single values: counts, choices, flags, numbers in an interval.  Each returns the value in Python's own type."""

from __future__ import annotations

import functools
import math
import numbers
from collections.abc import Iterable
from typing import Any

from .words import describe, shown

__all__ = ["check_choice", "check_count", "check_flag", "check_number", "closed_ends", "ends", "one_number"]


def check_number(value: Any, name: str, interval: str = "(-inf, inf)", kind: str = "a real number") -> float:
    """A finite number in an interval such as "[0, 1)".  Raises TypeError or ValueError for anything else."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name}: got {type(value).__name__} {shown(value)}, expected {kind}")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    low, high = ends(interval)
    above = number > low or (number == low and interval[0] == "[")
    below = number < high or (number == high and interval[-1] == "]")
    if not (above and below and math.isfinite(number)):
        expected = "finite number" if interval == "(-inf, inf)" else f"number in {interval}"
        raise ValueError(f"{name}: got {shown(value)}, expected a {expected}")
    return number


@functools.cache
def ends(interval: str) -> tuple[float, float]:
    low, high = interval[1:-1].split(",")
    return float(low), float(high)


def closed_ends(interval: str) -> tuple[float, float]:
    """The least and the largest float64 number in an interval."""
    low, high = ends(interval)
    return (
        low if interval[0] == "[" else math.nextafter(low, math.inf),
        high if interval[-1] == "]" else math.nextafter(high, -math.inf),
    )


def check_count(value: Any, name: str, end: int = 2**53) -> int:
    """A number of steps, below `end`; by default one that float64 holds."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{name}: got {describe(value)}, expected a whole number")
    count = int(value)
    if not 0 <= count < end:
        raise ValueError(f"{name}: got {shown(value)}, expected a number of steps from 0")
    return count


def check_choice(value: Any, name: str, choices: Iterable[Any]) -> Any:
    """The choice that `value` equals, type included; a NumPy string counts as a string."""
    for choice in choices:
        if (type(value) is type(choice) or (isinstance(value, str) and isinstance(choice, str))) and value == choice:
            return choice
    error = ValueError if isinstance(value, str) else TypeError
    raise error(f"{name}: got {shown(value)}, expected one of {', '.join(map(repr, choices))}")


def check_flag(value: Any, name: str) -> bool:
    """True or False, from Python or NumPy."""
    if type(value).__name__ != "bool":  # the name of both classes; the build reads this file without NumPy
        raise TypeError(f"{name}: got {shown(value)}, expected True or False")
    return bool(value)


def one_number(value: Any, name: str) -> float:
    """A real number, Inf and NaN included, in Python's own type.  `value` may be an array or a tensor of one element."""
    try:
        number = value.item() if hasattr(value, "item") else value
    except (TypeError, ValueError, RuntimeError):  # an array of several elements
        number = None
    if isinstance(number, bool) or not isinstance(number, numbers.Real):
        raise TypeError(f"{name}: got {describe(value)}, expected a real number")
    try:
        return number if isinstance(number, int) else float(number)
    except OverflowError:
        raise ValueError(f"{name}: got {shown(value)}, expected a number within float64") from None
