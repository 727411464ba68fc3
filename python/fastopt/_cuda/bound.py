"""Memory that its owner may exchange under a plan, and whether it still is what it was."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from .. import _core
from .._arrays.buffers import check_unmoved
from .._arrays.device import DeviceArray, as_device_array, is_cupy, is_torch

__all__ = ["Bound", "Memory"]


class Memory:
    """The memory of arrays in a list, none of which it keeps.

    An array of CuPy keeps its memory.  A tensor of torch may get other memory (`.data`, `resize_`, `set_`, its storage's
    `resize_`), and so may another library's array, which may also name a stream on which its memory is ready.
    """

    def __init__(self, arrays: Sequence[Any], name: str) -> None:
        """`name`: of the arrays, in messages."""
        self._name = name
        self._tensors = [i for i, array in enumerate(arrays) if is_torch(array)]
        self._watch = _core.Watch([arrays[i] for i in self._tensors], {}, [])
        self._others = [i for i, array in enumerate(arrays) if can_move(array) and not is_torch(array)]
        self._seen = [self._look(arrays[i], ordered=False) for i in self._others]

    def holds(self, arrays: Sequence[Any], *, ordered: bool = False) -> bool:
        """Whether the same arrays lie where they lay; `ordered`: the stream in use waits for the streams that they name."""
        if self._tensors and not self._watch.holds([arrays[i] for i in self._tensors], {}):
            return False
        return not self._others or [self._look(arrays[i], ordered=ordered) for i in self._others] == self._seen

    def _look(self, array: Any, *, ordered: bool) -> tuple[Any, ...]:
        view = as_device_array(array, self._name, ordered=ordered)
        return view.pointer, view.shape, view.strides, view.dtype, view.flags.writeable


class Bound:
    """The caller's arrays to which a plan is bound for good, under their names in messages."""

    def __init__(self, arrays: Iterable[tuple[str, DeviceArray]], *, written: bool = True, ordered: bool = False) -> None:
        """`written`: whether steps write to them.  `ordered`: each step waits for the streams that the arrays name, as it does for gradients
        that come."""
        self._written, self._ordered = written, ordered
        self._arrays = [(name, array) for name, array in arrays if can_move(array.source)]
        self._sources = [array.source for _, array in self._arrays]
        self._memory = Memory(self._sources, "params")

    def check(self) -> None:
        """TypeError or ValueError, naming the array, if one was moved, freed, resized, laid out anew or made read-only."""
        if not self._arrays or self._memory.holds(self._sources, ordered=self._ordered):
            return
        for name, array in self._arrays:
            check_unmoved(array.source, array, name, written=self._written)  # type: ignore[arg-type]  # see buffers.Named
        self._memory = Memory(self._sources, "params")


def can_move(source: Any) -> bool:
    """Whether an array's owner may give it other memory."""
    return not (source is None or isinstance(source, DeviceArray) or is_cupy(source))
