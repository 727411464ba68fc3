"""The host: NumPy's arrays, torch's optimizers on the CPU, threads, caches and the clock."""

from __future__ import annotations

import functools
import gc
import importlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from ... import _core
from ...config import get_num_threads, set_num_threads
from ...optimizer import engine_of
from ..numpy_steps import STEPS, aligned
from ..rows import Row
from .machine import Neighbours, memory_available
from .place import LR, Arm, Place, Step, import_torch
from .timing import turn_by_clock

__all__ = ["Host"]

PLACEMENTS = 5
"""How often a row's arrays are allocated anew, if caches can hold them."""

CACHEABLE = 400 * 10**6
"""Bytes of all arms' arrays from which on no cache holds one arm's."""


class Host(Place):
    """This machine's processors; `threads`: those of a step, None: as they are set."""

    sizes = (10**4, 10**5, 10**6, 10**7, 10**8)
    expressions = "numpy"

    def __init__(self, threads: int | None = None) -> None:
        self.torch = import_torch()
        self._threads = threads

    @contextmanager
    def current(self) -> Iterator[None]:
        """Sets the threads of fastopt, and as many of torch; afterwards both, and the garbage collector, are as before."""
        before = get_num_threads(), self.torch.get_num_threads() if self.torch else 1
        try:
            if self._threads is not None:
                set_num_threads(self._threads)
            if self.torch:
                self.torch.set_num_threads(get_num_threads())
            yield
        finally:
            if self._threads is not None:
                set_num_threads(before[0])
            if self.torch:
                self.torch.set_num_threads(before[1])
            gc.unfreeze()

    @property
    def threads(self) -> int:
        return get_num_threads()

    def empty(self, size: int, dtype: str) -> Any:
        return aligned(size, dtype_named(dtype))

    def from_host(self, values: Any) -> Any:
        return values

    def cast(self, values: Any, dtype: str) -> Any:
        fresh = self.empty(values.size, dtype)
        np.copyto(fresh, values, casting="same_kind")
        return fresh

    def tensor(self, values: Any) -> Any:
        assert self.torch is not None
        return self.torch.from_numpy(values)

    def memory_available(self) -> float:
        self.release()
        gc.freeze()  # what is left lives on: with torch, the next collection would take 0.4 s to look at it
        available = memory_available()
        return float("inf") if available is None else available

    def release(self) -> None:
        gc.collect()  # circles, torch's optimizers among them

    def synchronize(self) -> None:
        """Returns at once: steps on the host are done when they return."""

    def names(self, row: Row) -> list[str]:
        expressions = [self.expressions] if row.rule.name in STEPS else []
        return ["fastopt", "floor", *(["float32"] if row.formats else expressions), *self.implementations(row)]

    def implementations(self, row: Row) -> dict[str, str]:
        """The fastest of torch's alone: "fused", else "foreach"."""
        name = next((name for name in ("fused", "foreach") if self.has_implementation(row, name)), None)
        return {} if name is None else {"torch": name}

    def floor(self, row: Row, grad: Any, moved: int) -> tuple[Step, Any]:
        """The step's own reads and writes, from a kernel that overwrites arrays of its own with what is not an update."""
        optimizer, param, _ = self.fastopt(row, grad, LR)
        plan: Any = engine_of(optimizer).plan  # the extension's: the arrays are on the CPU
        return functools.partial(plan.floor, optimizer.options.bound), param

    def written_out(self) -> Mapping[str, Callable[..., Step]]:
        return STEPS

    @property
    def missing_for_bfloat16(self) -> str | None:
        try:
            dtype_named("bfloat16")
        except ModuleNotFoundError:
            return "ml_dtypes"
        return None

    def turn(self, arm: Arm) -> Callable[[], float]:
        return turn_by_clock(arm)

    def placements(self, nbytes: int) -> int:
        return PLACEMENTS if nbytes < CACHEABLE else 1

    def watch(self) -> tuple[Step, Callable[[int, float], dict[str, Any]]]:
        """Watches the clock's cycles, and the processors that other programs keep busy."""
        neighbours = Neighbours()
        cycles: list[float] = []

        def found(size: int, seconds: float) -> dict[str, Any]:
            cycle = float(np.median(cycles))
            taken = seconds * get_num_threads() / size / cycle if cycle > 0 else None
            return {"other_processors": neighbours.processors(), "cycles": taken}

        # After each round, since the clock changes with the load.
        return lambda: cycles.append(_core.cycle_seconds()), found


def dtype_named(name: str) -> np.dtype[Any]:
    """NumPy's dtype, or ml_dtypes'."""
    return np.dtype(importlib.import_module("ml_dtypes").bfloat16 if name == "bfloat16" else name)
