"""A step in parts: which elements of which tensors have had theirs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from . import _core, buffers
from .arguments import Tensor
from .rules import shown

__all__ = ["Parts"]


@dataclass(frozen=True)
class Part:
    """Elements `begin` to `end` of one tensor."""

    index: int
    begin: int
    end: int


class Parts:
    """What a step in parts has done so far."""

    def __init__(self, tensors: list[Tensor], plan: _core.Plan) -> None:
        self._tensors = tensors
        self._plan = plan
        self.done: dict[int, list[tuple[int, int]]] = {}
        """Tensor to the ranges of its elements; empty where no step is open."""

    def refuse(self, call: str) -> None:
        """ValueError where a step is open, which `call` would tear apart."""
        if self.done:
            raise ValueError(f"{call}: a step in parts is open, expected the parts of all tensors, or end_step(), before")

    def check(self, tensor: Any, begin: Any, end: Any) -> Part:
        """A part that may be made now; TypeError or ValueError where it may not."""
        index = self._index(tensor)
        target = self._tensors[index]
        size = target.param.size
        end = size if end is None else end
        for value, name in ((begin, "begin"), (end, "end")):
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
                raise TypeError(f"{name}: got {buffers.describe(value)}, expected a whole number")
        if not 0 <= begin <= end <= size:
            raise ValueError(f"begin, end: got {shown(begin)}, {shown(end)}, expected 0 <= begin <= end <= {size}")
        for first, last in self.done.get(index, []):
            if begin < last and first < end:
                raise ValueError(
                    f"begin, end: elements {max(begin, first)} to {min(end, last)} of {target.name} have had their part"
                )
        return Part(index, int(begin), int(end))

    def step(self, part: Part, grad: Any, options: _core.Options) -> None:
        """Makes a part that has been checked; counts the tensor's step, and the step, where it was the last.

        A part of no elements is checked and does nothing.
        """
        where = part.index, part.begin, part.end, options
        if not self._plan.step_part(grad, *where) and not self._plan.step_part(self._converted(grad, part, options), *where):
            raise RuntimeError("grad: the extension refuses what buffers.py accepts; please report this")
        if part.begin == part.end:
            return
        self.done.setdefault(part.index, []).append((part.begin, part.end))
        if self._is_whole(part.index):
            self._plan.count(part.index)
        if all(self._is_whole(i) for i in range(len(self._tensors))):
            self._close()

    def end(self) -> None:
        """Ends the step without the tensors that have had no part."""
        if not self.done:
            raise ValueError("end_step: no step in parts is open, expected step_part() before")
        for index in self.done:
            if not self._is_whole(index):
                raise ValueError(f"end_step: {self._tensors[index].name} has had its part in part, expected all of it or nothing")
        self._close()

    def _close(self) -> None:
        for index, tensor in enumerate(self._tensors):
            if tensor.param.size == 0:
                self._plan.count(index)
        self.done.clear()
        self._plan.completed += 1

    def _is_whole(self, index: int) -> bool:
        return sum(end - begin for begin, end in self.done.get(index, [])) == self._tensors[index].param.size

    def _converted(self, grad: Any, part: Part, options: _core.Options) -> buffers.Array:
        """`grad` as an ndarray for the plan; raises where something about it is wrong."""
        target = self._tensors[part.index]
        array = buffers.as_array(grad, "grad")
        like = target.param
        if array.shape != like.shape:
            like = like.reshape(-1)[part.begin : part.end]
            if array.shape != like.shape:
                raise ValueError(
                    f"grad: got shape {array.shape}, expected {target.param.shape} as {target.name} has, or {like.shape} of the part"
                )
        buffers.check_gradient(array, "grad", like, target.name, written=options.zero_grad)
        buffers.check_disjoint([("grad", array)], [entry for each in self._tensors for entry in each.arrays()])
        return array

    def _index(self, tensor: Any) -> int:
        names = [each.key for each in self._tensors]
        if isinstance(tensor, str):
            if tensor not in names:
                raise ValueError(f"tensor: got the name {tensor!r}, which no parameter has")
            return names.index(tensor)
        if isinstance(tensor, bool) or not isinstance(tensor, (int, np.integer)):
            raise TypeError(f"tensor: got {buffers.describe(tensor)}, expected a position or a name")
        if not 0 <= tensor < len(names):
            raise ValueError(f"tensor: got {shown(tensor)}, expected a position from 0 to {len(names) - 1}")
        return int(tensor)
