"""Which arrays share memory with some others, in logarithmic time for each."""

from __future__ import annotations

import bisect
import functools
from collections.abc import Iterable

from numpy.lib.array_utils import byte_bounds

from .._arrays import buffers

__all__ = ["Aliases"]


class Aliases:
    """Memory of contiguous arrays that do not overlap each other and are views, as all that fastopt allocates."""

    def __init__(self, arrays: Iterable[buffers.Array]) -> None:
        self._arrays = arrays

    @functools.cached_property
    def _spans(self) -> list[tuple[int, int]]:
        return sorted(
            (begin, begin + array.nbytes) for array in self._arrays if array.nbytes for begin in [buffers.address(array)]
        )

    def meet(self, array: buffers.Array) -> bool:
        """Whether an array, of any strides, shares memory with one of them."""
        if not array.nbytes or (not isinstance(array, buffers.DeviceArray) and array.base is None):  # it has memory of its own
            return False
        begin, end = bounds(array)
        before = bisect.bisect_left(self._spans, (end, end))
        return before > 0 and self._spans[before - 1][1] > begin


def bounds(array: buffers.Array) -> tuple[int, int]:
    """Its first byte and the one behind its last."""
    if isinstance(array, buffers.DeviceArray):
        begin = buffers.address(array)
        return begin, begin + array.nbytes
    return byte_bounds(array)
