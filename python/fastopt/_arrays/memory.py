"""Memory for state and flat buffers: aligned, and on huge pages where the system offers them."""

from __future__ import annotations

import contextlib
import mmap
from typing import Any, TypeAlias

import numpy as np

from .. import _core

__all__ = ["BFLOAT16", "BLOCK", "LINE", "Array", "allocate"]

Array: TypeAlias = "np.ndarray[Any, Any]"

BLOCK = 256
"""Elements: what is measured or stored in blocks of a tensor has blocks of this size.  In a flat buffer every tensor begins at a
multiple of it, so that the buffer has the same blocks."""

BFLOAT16 = np.dtype([("bfloat16", np.uint16)])
"""How bfloat16 arrays travel inside fastopt: NumPy itself has no such type."""

LINE = 64
"""Bytes of a cache line."""

HUGE_PAGE = 2 << 20
"""Bytes of a huge page on x86-64, and on ARM64 with pages of 4 KiB."""

HUGE_BUFFER = 2 * HUGE_PAGE
"""Bytes from which a buffer is rounded up to huge pages; a smaller one could grow to twice its size."""


def allocate(nbytes: int) -> Array:
    """Zeroed bytes from a cache line on, or from a huge page on where there are enough of them and the system has such.

    Every page is the system's first zero page until it is written.  The array holds the memory, and so does any view of it.
    """
    advice = getattr(mmap, "MADV_HUGEPAGE", None)
    if advice is not None and nbytes >= HUGE_BUFFER:
        with contextlib.suppress(OSError):  # a kernel without them, or no memory, of which NumPy has the words
            memory = mmap.mmap(-1, -(-nbytes // HUGE_PAGE) * HUGE_PAGE + HUGE_PAGE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
            memory.madvise(advice)
            return aligned(np.frombuffer(memory, np.uint8), HUGE_PAGE, nbytes)
    return aligned(np.zeros(nbytes + LINE, np.uint8), LINE, nbytes)


def aligned(memory: Array, alignment: int, nbytes: int) -> Array:
    """The first `nbytes` of `memory` that begin at a multiple of `alignment`."""
    start = -_core.address(memory) % alignment
    return memory[start : start + nbytes]
