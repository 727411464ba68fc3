"""The threads that torch lends to steps on the CPU."""

from __future__ import annotations

import functools
import multiprocessing
import sys
from pathlib import Path

import torch

from .. import _core

__all__ = ["team"]

GET_NUM_THREADS = "_ZN2at15get_num_threadsEv"
"""`at::get_num_threads`.  OpenMP's own number does not know `torch.set_num_threads` in threads that torch has not yet worked for."""


@functools.cache
def team() -> _core.OpenMp | None:
    """torch's own OpenMP threads; None if this build of torch has none that can be lent (docs/threads.md).

    A child that multiprocessing has forked has none either: its runtime may wait for threads that only the parent has.
    """
    if not sys.platform.startswith("linux"):
        return None
    started = multiprocessing.get_start_method(allow_none=True)  # in a child: None if a context of its own forked it
    if multiprocessing.parent_process() is not None and started not in ("spawn", "forkserver"):
        return None
    try:
        return _core.OpenMp(str(Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"), GET_NUM_THREADS)
    except RuntimeError:
        return None
