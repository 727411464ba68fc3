"""A step in parts: which elements of which tensors have had theirs."""

from __future__ import annotations

import bisect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import _core
from .._arrays import buffers
from .._arrays.memory import BLOCK
from ..rules.words import cured, describe, shown
from .locks import fork_safe_lock
from .plans import Plan, check_unmoved, refuse_waiting
from .tensors import Tensor

__all__ = ["Parts"]


@dataclass(frozen=True)
class Part:
    """Elements `begin` to `end` of one tensor."""

    index: int
    begin: int
    end: int


class Parts:
    """What a step in parts has done so far.  Calls from several threads go one after the other."""

    def __init__(self, tensors: Sequence[Tensor], plan: Plan) -> None:
        self._tensors = tensors
        self._plan = plan
        self._lock = fork_safe_lock()
        self._positions = {tensor.key: i for i, tensor in enumerate(tensors) if tensor.key is not None}
        self._empty = [i for i, tensor in enumerate(tensors) if tensor.param.size == 0]
        self.done: dict[int, list[tuple[int, int]]] = {}
        """Tensor to the ranges of its elements, in order and merged; empty if no step is open."""
        self._whole = 0  # of the tensors in `done`

    def refuse(self, call: str) -> None:
        """Before a call that reads or writes state: ValueError if a step is open, RuntimeError if a CUDA graph is being captured; the call
        would tear either apart."""
        self.refuse_open(call)
        refuse_waiting(self._plan, call)

    def refuse_open(self, call: str) -> None:
        """ValueError if a step is open, which `call` would tear apart."""
        if self.done:
            raise ValueError(f"{call}: a step in parts is open, expected the parts of all tensors, or end_step(), before")

    def step(self, tensor: Any, grad: Any, begin: Any, end: Any, options: _core.Options, before: Callable[[], None]) -> None:
        """Makes a part; counts the tensor's step, and the step if it was the last.  `before` a step's first part is called.

        A part of no elements is checked and does nothing.
        """
        with self._lock:
            part = self._check(tensor, begin, end)
            if not self.done:
                before()
            where = part.index, part.begin, part.end, options
            if not self._plan.step_part(grad, *where):
                check_unmoved(self._plan, self._tensors)
                if not self._plan.step_part(self._converted(grad, part, options), *where):
                    raise RuntimeError("grad: the extension refuses what buffers.py accepts; please report this")
            if part.begin == part.end:
                return
            self._record(part)
            if self._is_whole(part.index):
                self._whole += 1
                self._plan.count(part.index)
            if self._whole + len(self._empty) == len(self._tensors):
                self._close()

    def end(self) -> None:
        """Ends the step without the tensors that have had no part."""
        with self._lock:
            if not self.done:
                raise ValueError("end_step: no step in parts is open, expected step_part() before")
            for index in self.done:
                if not self._is_whole(index):
                    raise ValueError(
                        f"end_step: {self._tensors[index].name} has had its part in part, expected all of it or nothing"
                    )
            self._close()

    def _check(self, tensor: Any, begin: Any, end: Any) -> Part:
        """A part that may be made now; TypeError or ValueError if it may not."""
        index = self._index(tensor)
        target = self._tensors[index]
        size = target.param.size
        end = size if end is None else end
        for value, name in ((begin, "begin"), (end, "end")):
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
                raise TypeError(f"{name}: got {describe(value)}, expected a whole number")
        if not 0 <= begin <= end <= size:
            raise ValueError(f"begin, end: got {shown(begin)}, {shown(end)}, expected 0 <= begin <= end <= {size}")
        if begin < end and target.has_blocks and (begin % BLOCK or (end % BLOCK and end != size)):
            raise ValueError(
                f"begin, end: got {begin}, {end}, expected multiples of {BLOCK} or the end, since {target.name} has 8-bit state in such blocks"
            )
        ranges = self.done.get(index, [])
        at = bisect.bisect_left(ranges, (begin, begin))
        for first, last in ranges[max(at - 1, 0) : at + 1]:
            if begin < last and first < end:
                raise ValueError(
                    f"begin, end: elements {max(begin, first)} to {min(end, last)} of {target.name} have had their part"
                )
        return Part(index, int(begin), int(end))

    def _record(self, part: Part) -> None:
        ranges = self.done.setdefault(part.index, [])
        at = bisect.bisect_left(ranges, (part.begin, part.end))
        begin, end = part.begin, part.end
        if at < len(ranges) and ranges[at][0] == end:
            end = ranges.pop(at)[1]
        if at > 0 and ranges[at - 1][1] == begin:
            begin = ranges.pop(at - 1)[0]
            at -= 1
        ranges.insert(at, (begin, end))

    def _is_whole(self, index: int) -> bool:
        return self.done[index] == [(0, self._tensors[index].param.size)]

    def _close(self) -> None:
        for index in self._empty:
            self._plan.count(index)
        self.done.clear()
        self._whole = 0
        self._plan.end()

    def _converted(self, grad: Any, part: Part, options: _core.Options) -> buffers.Array:
        """`grad` as an ndarray for the plan; raises if something about it is wrong."""
        target = self._tensors[part.index]
        whole = target.param
        own = buffers.part_of(whole, part.begin, part.end)
        try:
            shape = buffers.as_array(grad, "grad").shape
        except TypeError:  # which the check words
            shape = whole.shape
        if shape not in (whole.shape, own.shape):
            from .._arrays.gradient_cures import expression

            refused = ValueError(
                f"grad: got shape {shape}, expected {whole.shape} as {target.name} has, or {own.shape} of the part"
            )
            made = expression(grad, "grad", whole) or expression(grad, "grad", own)
            raise cured(refused, lambda: made and f"pass {made}")
        like = whole if shape == whole.shape else own
        array = buffers.check_gradient(grad, "grad", like, target.name, written=options.zero_grad)
        buffers.check_disjoint([("grad", array)], [entry for each in self._tensors for entry in each.arrays()])
        return array

    def _index(self, tensor: Any) -> int:
        if isinstance(tensor, str):
            if tensor not in self._positions:
                from .._names.suggestions import similar

                raise ValueError(f"tensor: got the name {tensor!r}, which no parameter has{similar(tensor, self._positions)}")
            return self._positions[tensor]
        if isinstance(tensor, bool) or not isinstance(tensor, (int, np.integer)):
            raise TypeError(f"tensor: got {describe(tensor)}, expected a position or a name")
        if not 0 <= tensor < len(self._tensors):
            raise ValueError(f"tensor: got {shown(tensor)}, expected a position from 0 to {len(self._tensors) - 1}")
        return int(tensor)
