"""Memory for state and flat buffers: aligned, and on huge pages if the system offers them."""

from __future__ import annotations

import contextlib
import mmap
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

from .. import _core

__all__ = ["BFLOAT16", "BLOCK", "LINE", "Array", "allocate", "same_order"]

Array: TypeAlias = "np.ndarray[Any, Any]"

BLOCK = 256
"""Elements of a block, in which gradients are measured and 8-bit state is stored.  In a flat buffer every tensor begins at a
multiple of a block, so that the buffer has the tensors' blocks.
"""

BFLOAT16 = np.dtype([("bfloat16", np.uint16)])
"""The dtype of bfloat16 arrays inside fastopt, since NumPy has none."""

LINE = 64
"""Bytes of a cache line."""

HUGE_PAGE = 2 << 20
"""Bytes of a huge page on x86-64, and on ARM64 with pages of 4 KiB."""

HUGE_BUFFER = 2 * HUGE_PAGE
"""Bytes from which a buffer is rounded up to huge pages.  A smaller buffer could grow to twice its size."""


def allocate(nbytes: int) -> Array:
    """Zeroed bytes that begin at a cache line, or at a huge page from HUGE_BUFFER bytes on if the system has huge pages.

    Every page is the system's shared zero page until it is written.  The array, and any view of it, keeps the memory alive.
    """
    advice = getattr(mmap, "MADV_HUGEPAGE", None)
    if advice is not None and nbytes >= HUGE_BUFFER:
        with contextlib.suppress(OSError):  # no huge pages, or no memory, which NumPy's error then says
            memory = mmap.mmap(-1, -(-nbytes // HUGE_PAGE) * HUGE_PAGE + HUGE_PAGE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
            memory.madvise(advice)
            return aligned(np.frombuffer(memory, np.uint8), HUGE_PAGE, nbytes)
    return aligned(np.zeros(nbytes + LINE, np.uint8), LINE, nbytes)


def same_order(shape: Sequence[int], steps: Sequence[int], others: Sequence[int]) -> bool:
    """Whether two arrays of one shape have their elements in one order in memory; `steps` and `others` are strides in elements."""
    return 0 in shape or all(length == 1 or a == b for length, a, b in zip(shape, steps, others, strict=True))


def aligned(memory: Array, alignment: int, nbytes: int) -> Array:
    """The first `nbytes` of `memory` that begin at a multiple of `alignment`."""
    start = -_core.address(memory) % alignment
    return memory[start : start + nbytes]
