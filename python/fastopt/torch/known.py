"""`Known`: a group's hyperparameters and formats as they were, for the next step to compare with."""

from __future__ import annotations

import operator
from typing import Any

import torch

from .._engine.ranges import LARGEST
from .arguments import number
from .book import Book

__all__ = ["Known"]


class Known:
    """What a group had, what the rule made of it in `values`, and what entries of its parameters hold."""

    def __init__(self, group: dict[str, Any], values: dict[str, Any], book: Book) -> None:
        self.values = values
        self.layout = book.layout_of(group)
        self._names = book.names
        self._given = self._of(group)
        self._numbers = [self._number(name, value) for name, value in zip(self._names, self._given, strict=False)]
        self._live = any(map(is_live, self._given))

    def _of(self, group: dict[str, Any]) -> tuple[Any, ...]:
        return (*map(group.__getitem__, self._names), group["differentiable"])

    def _number(self, name: str, value: Any) -> Any:
        """The value as a number; an `lr` on a GPU stays as it is, since nothing is to wait for it."""
        return value if name == "lr" and isinstance(value, torch.Tensor) and value.is_cuda else number(value)

    def holds(self, group: dict[str, Any]) -> bool:
        """Whether the group still has these values."""
        try:
            given = self._of(group)
        except KeyError:  # which the check of groups words
            return False
        if not self._live and all(map(operator.is_, given, self._given)):
            return True
        return bool(given[-1] is self._given[-1]) and self._different(given) == []

    def _different(self, given: tuple[Any, ...]) -> list[str] | None:
        """The names of those that differ; None if one is a tensor that is no number, which the check of groups words."""
        try:
            now = [self._number(name, value) for name, value in zip(self._names, given, strict=False)]
            return [name for name, a, b in zip(self._names, now, self._numbers, strict=True) if a is not b and a != b]
        except (RuntimeError, ValueError):
            return None

    def changed(self, group: dict[str, Any], index: int, book: Book) -> dict[str, Any]:
        """The group's values, checked: with a schedule that changes `lr` alone, that alone.  `index`: where the group stands."""
        book.complete(group)
        given, lr = self._of(group), group["lr"]
        held = isinstance(lr, (int, float)) and lr <= LARGEST  # as the parameters' arithmetic does, whichever it is
        if given[-1] is self._given[-1] and held and self._different(given) == ["lr"]:
            return {**self.values, "lr": book.rule.argument("lr").check(lr)}
        return book.check_group(group, index)


def is_live(value: Any) -> bool:
    """Whether what it holds may change while it stays the same object."""
    return isinstance(value, (torch.Tensor, list)) or (isinstance(value, tuple) and any(map(is_live, value)))
