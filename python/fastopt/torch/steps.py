"""`Steps`: what steps are bound to, for as long as the optimizer's state and groups and the tensors' memory are what they were."""

from __future__ import annotations

import itertools
from typing import Any

import torch

from .. import _core
from .binding import Bound
from .book import Book, Gradients
from .known import Known
from .members import Member, check_gradient, check_parameter

__all__ = ["Steps"]


class Steps:
    """The plans over those of the members' parameters that have a gradient or state, one for each device.

    What holds is in the book's `state` and `groups`, which programs write to as they like: `serves` tells whether these are still what the
    plans were made of.
    """

    @torch.no_grad()
    def __init__(self, book: Book, members: list[Member], grads: Gradients, skipped: int) -> None:
        params = [member.param for member in members]
        self._groups = sorted({member.group for member in members})
        self._position = members[0].position
        self._single = len(params) == 1
        self._sizes = self._sizes_of(book)
        values = [book.check_group(book.groups[i], i) for i in self._groups]
        devices: dict[torch.device, list[int]] = {}
        for i, (member, grad) in enumerate(zip(members, grads, strict=True)):
            if grad is not None:
                check_parameter(member.param, member.name)
                check_gradient(member.param, grad, book.rule, member.name)
            if grad is not None or book.state.get(member.param):
                devices.setdefault(member.param.device, []).append(i)
        self._indices = list(devices.values())  # of each plan its parameters
        rows = {group: row for row, group in enumerate(self._groups)}
        self._bounds = [Bound(book, [members[i] for i in own], rows, values, skipped) for own in self._indices]
        active = set(itertools.chain.from_iterable(self._indices))
        self._active = len(active)
        self._idle = [i for i in range(len(params)) if i not in active]
        self._known = [self._know(book, row, each) for row, each in enumerate(values)]
        self._copies = [member.copy for member in members if member.copy is not None]
        state = state_of(book, params)
        self._watch_params = _core.Watch(params + self._copies, {}, [])
        keys = dict.fromkeys(key for known, each in zip(self._known, values, strict=True) for key in known.layout.keys(each))
        self._watch = _core.Watch(params + self._copies, state, list(keys))
        # The watch holds no references: these do.  Parameters are nobody's but the program's, and the book lets go of steps of one that
        # is freed.
        entries = list(state.values())
        self._kept = [entries, [dict(entry) for entry in entries if isinstance(entry, dict)]]

    @property
    def skipped(self) -> int:
        return self._bounds[0].plan.skipped

    @property
    def grad_norm(self) -> float | None:
        return self._bounds[0].plan.grad_norm

    def serves(self, book: Book, params: list[torch.Tensor], grads: Gradients, given: int) -> bool:
        """Whether a step of `params`, of which `given` have a gradient, can be taken; hyperparameters that have changed are written.

        TypeError or ValueError if one is out of its range.
        """
        if given > self._active or self._sizes_of(book) != self._sizes:
            return False
        if book.groups[self._groups[0]]["params"][self._position] is not params[0]:
            return False
        if given < len(params) and any(grads[i] is not None for i in self._idle):
            return False
        watched = params + self._copies if self._copies else params
        unmoved = self._watch.holds(watched, state_of(book, params)) if book.seen else self._watch_params.holds(watched, {})
        return unmoved and self._follow(book)

    def _sizes_of(self, book: Book) -> list[int]:
        """How many parameters the groups have: with the order of all, or the position of one, it tells the group of each."""
        groups = book.groups
        return [len(group["params"]) for group in (groups[self._groups[0] :][:1] if self._single else groups)]

    def _follow(self, book: Book) -> bool:
        """Writes changed hyperparameters to the plans; False if they ask for other state."""
        changed: list[tuple[int, dict[str, Any]]] = []
        for row, (i, known) in enumerate(zip(self._groups, self._known, strict=True)):
            group = book.groups[i]
            if not known.follows(group):
                values = book.check_group(group, i)
                if book.rule.variant(values) != known.variant or book.layout_of(group) is not known.layout:
                    return False
                changed.append((row, values))
        for row, values in changed:
            for bound in self._bounds:
                bound.write(row, values)
            self._known[row] = self._know(book, row, values)
        return True

    def _know(self, book: Book, row: int, values: dict[str, Any]) -> Known:
        """A group's values, which the plans have."""
        return Known(book.groups[self._groups[row]], values, book, [bound.groups[row] for bound in self._bounds])

    def step(self, grads: Gradients, given: int, options: _core.Options, *, seen: bool) -> None:
        """A step of those parameters whose gradient, `given` in number, is not None; `seen`: somebody may have kept state."""
        if len(self._bounds) == 1 and not self._idle:
            self._bounds[0].step(grads, options, whole=given == len(grads), seen=seen)
            return
        own = [[grads[i] for i in indices] for indices in self._indices]
        if len(self._bounds) > 1:
            if options.max_norm > 0 or options.skip_nonfinite:
                raise RuntimeError(
                    "max_norm, skip_nonfinite: got parameters on several devices, expected one device for such a step"
                )
            for bound, some in zip(self._bounds, own, strict=True):
                bound.check(some)
        for bound, some in zip(self._bounds, own, strict=True):
            bound.step(some, options, whole=False, seen=seen)


def state_of(book: Book, params: list[torch.Tensor]) -> dict[Any, Any]:
    """The part of the optimizer's state that steps of `params`, all or one, look at."""
    state: dict[Any, Any] = book.state
    if len(params) > 1:
        return state
    return {params[0]: state[params[0]]} if params[0] in state else {}
