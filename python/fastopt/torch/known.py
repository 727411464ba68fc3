"""`Known`: a group's hyperparameters and formats as the plans have them, for the next step to compare with."""

from __future__ import annotations

from typing import Any

import torch

from .._engine.groups import Group
from .book import Book

__all__ = ["Known"]


class Known:
    """What the plans' groups have taken of one of torch's: the extension compares, and hands on numbers that are plainly right."""

    def __init__(self, group: dict[str, Any], values: dict[str, Any], book: Book, taken: list[Group]) -> None:
        """`values`: what the rule made of the group; `taken`: the same group in each plan, which has these values."""
        self.values = values
        self.variant = book.rule.variant(values)
        self.layout = book.layout_of(group)
        self._taken = taken
        given = {name: group[name] for name in (*book.names, "differentiable")}
        for each in taken:
            each.watch({name: LIVE if is_live(value) else value for name, value in given.items()})

    def follows(self, group: dict[str, Any]) -> bool:
        """Whether the plans have what the group has now; False if the book is to check the group's values first."""
        return all(each.follow(group) for each in self._taken)


LIVE = object()
"""Stands for what may change while it stays the same object: no value is this one."""


def is_live(value: Any) -> bool:
    """Whether what a value holds may change while it stays the same object, other than an array that each step reads."""
    if isinstance(value, torch.Tensor):
        return not value.is_cuda
    return isinstance(value, list) or (isinstance(value, tuple) and any(map(is_live, value)))
