"""The benchmark's arrays on the host: each starts on a cache line, so that runs do not differ by where their arrays lie."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..._arrays.memory import LINE

__all__ = ["Array", "aligned", "zeros"]

Array = np.ndarray[Any, Any]


def aligned(size: int, dtype: Any) -> Array:
    """An uninitialised array."""
    dtype = np.dtype(dtype)
    memory = np.empty(size * dtype.itemsize + LINE, np.uint8)
    start = -memory.__array_interface__["data"][0] % LINE
    array: Array = memory[start : start + size * dtype.itemsize].view(dtype)
    return array


def zeros(like: Array) -> Array:
    fresh = aligned(like.size, like.dtype)
    fresh.fill(0)
    return fresh
