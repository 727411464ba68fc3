"""A GPU for the tests of the benchmark: the emulated driver's arrays, and torch on the CPU."""

from __future__ import annotations

import contextlib
import functools
import itertools
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import ml_dtypes
import numpy as np
import torch

from fastopt.cli.bench.gpu import Gpu, cupy_steps
from fastopt.cli.rows import ROWS, Row
from tests.support.emulated_cuda import EmulatedArray, array

__all__ = ["FakeEvents", "FakeGpu", "row_of"]


def row_of(label: str) -> Row:
    return next(row for row in ROWS if row.label == label)


class FakeGpu(Gpu):
    """Emulated arrays, torch on the CPU, and CuPy's steps with NumPy over the same memory."""

    def __init__(self, cache: int = 0, memory: int = 10**12) -> None:
        self.torch, self.stream, self.number, self.cache, self.memory = torch, 0, 0, cache, memory
        self.out_of_memory, self.optax = (MemoryError,), None
        self.copied: list[int] = []

    def current(self) -> Any:
        return contextlib.nullcontext()

    def describe(self) -> dict[str, Any]:
        return {"name": "NVIDIA Paper 100", "arch": "sm_90", "cache": self.cache, "driver": None}

    def normal(self, shape: Any, dtype: str) -> Any:
        return array(np.random.default_rng(0).standard_normal(shape).astype(dtype))

    def cast(self, values: Any, dtype: str) -> Any:
        return array(values.host.astype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype))

    def tensor(self, values: EmulatedArray) -> Any:
        return torch.from_numpy(values.host)

    def copier(self, nbytes: int) -> Any:
        return functools.partial(self.copied.append, nbytes), None

    def written_out(self) -> Any:
        known = cupy_steps(np)
        return {name: lambda p, g, values, make=make: make(p.host, g.host, values) for name, make in known.items()}

    def seconds(self, turns: Iterator[Any], times: int) -> float:
        for step in itertools.islice(turns, min(times, 3)):
            step()
        return 1e-3 * times

    def synchronize(self) -> None: ...
    def release(self) -> None: ...
    def memory_available(self) -> float:
        return self.memory


class FakeEvents:
    """A GPU's clock, which each step moves by a tenth of a millisecond."""

    def __init__(self) -> None:
        self.now = 0.0
        clock = self

        class Event:
            def record(self, stream: Any) -> None:
                self.at = clock.now

            def synchronize(self) -> None: ...

        self.cuda = SimpleNamespace(Event=Event, get_elapsed_time=lambda begin, end: end.at - begin.at)

    def step(self) -> None:
        self.now += 0.1
