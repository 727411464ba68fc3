"""Calls that end the error for an unknown argument with what to write instead."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

__all__ = ["suggesting"]


def suggesting(init: Callable[..., None], table: str) -> Callable[..., None]:
    """`init`, an `__init__`, whose TypeError for an unknown argument says what to write; `table`: the table's name in `others`."""
    names = [name for name in inspect.signature(init).parameters if name != "self"]

    @functools.wraps(init)
    def with_suggestion(self: Any, *args: Any, **kwargs: Any) -> None:
        try:
            init(self, *args, **kwargs)
        except TypeError as error:
            unknown = next((name for name in kwargs if name not in names), "optimizer" if is_optimizer(args[:1]) else None)
            if unknown is None:
                raise
            from . import others
            from .suggestions import suggestion

            raise TypeError(f"{error}{suggestion(unknown, names, getattr(others, table))}") from None

    return with_suggestion


def is_optimizer(args: tuple[Any, ...]) -> bool:
    """Whether an argument is an optimizer, of fastopt or torch, whose schedules take one."""
    return any(hasattr(value, "step") and (hasattr(value, "groups") or hasattr(value, "param_groups")) for value in args)
