"""`Turns`: steps over groups in which a parameter stands more than once, as torch takes them."""

from __future__ import annotations

import torch

from .. import _core
from .._engine.ranges import FACTORS, check_options
from .book import Book, Gradients, Taking
from .members import Member
from .steps import Steps

__all__ = ["Turns", "bind"]


def bind(book: Book, grads: Gradients, skipped: int, options: _core.Options) -> Taking:
    """What steps of all parameters are bound to, the first of which has these options."""
    check_options({name: getattr(options, name) for name in FACTORS}, book.fit())  # a parameter may have another dtype by now
    members = book.members()
    repeats = len({id(member.param) for member in members}) < len(members)
    made: Taking = (Turns if repeats else Steps)(book, members, grads, skipped)
    return made


class Turns:
    """Steps one after the other: in the first each parameter takes the step where it stands first, in the second where it stands next.

    That is torch's order for each of them.  What looks at all gradients at once, `max_norm` and `skip_nonfinite`, has no meaning here and is
    refused.
    """

    def __init__(self, book: Book, members: list[Member], grads: Gradients, skipped: int) -> None:
        stands: dict[int, int] = {}
        self._indices: list[list[int]] = []
        for i, member in enumerate(members):
            turn = stands[id(member.param)] = stands.get(id(member.param), -1) + 1
            if turn and member.param.is_cuda:
                raise ValueError(f"{member.name}: got a parameter that stands in the groups twice, expected each once on a GPU")
            if turn == len(self._indices):
                self._indices.append([])
            self._indices[turn].append(i)
        self._entries = Beginnings(book, members, self._indices)
        self.turns: list[Steps] = [
            Steps(book, [members[i] for i in own], [grads[i] for i in own], skipped) for own in self._indices
        ]

    @property
    def skipped(self) -> int:
        skipped: int = self.turns[0].skipped
        return skipped

    @property
    def grad_norm(self) -> float | None:
        return None

    def serves(self, book: Book, params: list[torch.Tensor], grads: Gradients, given: int) -> bool:
        """Does what the method of `Steps` does."""
        if len(params) != sum(map(len, self._indices)):
            return False
        for steps, indices in zip(self.turns, self._indices, strict=True):
            some = [grads[i] for i in indices]
            if not steps.serves(book, [params[i] for i in indices], some, sum(grad is not None for grad in some)):
                return False
        return True

    def step(self, grads: Gradients, given: int, options: _core.Options, *, seen: bool) -> None:
        """Does what the method of `Steps` does."""
        if options.max_norm > 0 or options.skip_nonfinite:
            raise RuntimeError(
                "max_norm, skip_nonfinite: got a parameter that stands in the groups twice, expected each once for such a step"
            )
        each = _core.Options(options.grad_scale, options.clip_value, 0.0, options.ema_decay, False, False, options.norm_eps)
        for turn, (steps, indices) in enumerate(zip(self.turns, self._indices, strict=True)):
            some = [grads[i] for i in indices]
            given = sum(grad is not None for grad in some)
            if turn:
                self._entries.begin_again(turn, some)
            if given:
                steps.step(some, given, each, seen=seen)
        if options.zero_grad:
            for grad in grads:
                if grad is not None:
                    grad.detach().zero_()


class Beginnings:
    """Where torch's SGD begins momentum more than once: it makes a group's first buffers before any of them is kept."""

    def __init__(self, book: Book, members: list[Member], indices: list[list[int]]) -> None:
        """Before the first step is bound, which makes the buffers."""
        self._entries: dict[tuple[int, int], dict[str, torch.Tensor]] = {}  # of a turn and a position in it
        if book.rule.name != "SGD" or not any(group["momentum"] for group in book.groups):
            return
        first = {id(members[i].param): members[i].group for i in indices[0]}
        for turn, own in enumerate(indices[1:], 1):
            for k, i in enumerate(own):
                entry = book.state[members[i].param]
                if entry.get("momentum_buffer") is None and first[id(members[i].param)] == members[i].group:
                    self._entries[turn, k] = entry

    def begin_again(self, turn: int, grads: Gradients) -> None:
        """Lets those that have a gradient take it whole in this turn too, once."""
        for key in [key for key in self._entries if key[0] == turn and grads[key[1]] is not None]:
            entry = self._entries.pop(key)
            for name in ("momentum_buffer", "step"):
                if entry.get(name) is not None:
                    entry[name].zero_()
