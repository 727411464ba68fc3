"""The table's expressions: strings that mean the same in Python and in C++.

They may use + - * /, comparisons, `and`, `or`, `sqrt(x)`, `power(x, t)` (repeated squaring) and `where(condition, a, b)`, which
evaluates all three arguments.  They have no pow, exp or log, so that every device derives the same bits.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from types import CodeType
from typing import Any

__all__ = ["evaluate", "names_in", "power"]


def power(x: float, t: int) -> float:
    """x**t by repeated squaring: the same multiplications on every device."""
    result = 1.0
    while t:
        if t & 1:
            result *= x
        x *= x
        t >>= 1
    return result


def where(condition: bool, a: float, b: float) -> float:
    return a if condition else b


FUNCTIONS = {"__builtins__": {}, "sqrt": math.sqrt, "power": power, "where": where}


@functools.cache
def compiled(expression: str) -> CodeType:
    return compile(expression, "<rules>", "eval")


def evaluate(expression: str, names: Mapping[str, Any]) -> Any:
    """The value of an expression of the table for named values."""
    return eval(compiled(expression), {**FUNCTIONS, **names})  # the expressions are the table's own


def names_in(expression: str) -> tuple[str, ...]:
    """The names that an expression uses, functions included."""
    return compiled(expression).co_names
