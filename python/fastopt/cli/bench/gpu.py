"""A GPU: CuPy's arrays, copies and events, the optimizers of torch and optax, with torch's stream if torch is installed."""

from __future__ import annotations

import gc
import importlib
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from ..._arrays.driver import driver
from ..numpy_steps import STEPS
from ..rows import Row
from .launches import host_times, memory_needed
from .optax_steps import Optax, import_optax
from .place import IMPLEMENTATIONS, Arm, Place, Step, import_torch
from .timing import calibrate

__all__ = ["Gpu", "cupy_steps", "timed_by_host"]

LEAST = 2e-3
"""Seconds that a measurement lasts at least."""


class Gpu(Place):
    """The current GPU; `optax`: whether optax is among its rivals.

    Raises CudaError if the machine has no GPU, or CuPy is not installed.
    """

    sizes = (10**5, 10**6, 10**7, 10**8, 10**9)
    expressions = "cupy"
    leaves_out_late_rows = True
    optax: Optax | None = None
    _steps: Any = None

    def __init__(self, optax: bool = False) -> None:
        driver()
        self.cupy: Any = importlib.import_module("cupy")
        torch = import_torch()
        self.torch = torch if torch is not None and torch.cuda.is_available() else None
        self.optax = import_optax() if optax else None
        self.number = int(self.cupy.cuda.runtime.getDevice())
        self.stream = int(self.torch.cuda.current_stream(self.number).cuda_stream) if self.torch else 0
        self._stream: Any = driver().external(self.stream)
        attributes = self.cupy.cuda.Device(self.number).attributes
        self.cache = int(attributes["L2CacheSize"])
        if self.torch:
            self.out_of_memory = (MemoryError, self.torch.cuda.OutOfMemoryError)  # CuPy's is a MemoryError

    @contextmanager
    def current(self) -> Iterator[None]:
        """Sends all work of all arms to one stream."""
        with self.cupy.cuda.Device(self.number), self._stream:
            yield

    def empty(self, size: int, dtype: str) -> Any:
        return self.cupy.empty(size, dtype)

    def from_host(self, values: Any) -> Any:
        return self.cupy.asarray(values)

    def cast(self, values: Any, dtype: str) -> Any:
        """A new array of these values: CuPy's, or torch's for bfloat16."""
        if dtype == "bfloat16":
            assert self.torch is not None  # without torch no row has bfloat16
            return self.tensor(values).to(self.torch.bfloat16)
        return values.astype(dtype, copy=True)

    def tensor(self, values: Any) -> Any:
        assert self.torch is not None
        return self.torch.as_tensor(values, device=f"cuda:{self.number}")

    def memory_available(self) -> float:
        self.release()
        return int(self.cupy.cuda.runtime.memGetInfo()[0])

    def release(self) -> None:
        gc.collect()  # circles, torch's optimizers among them
        self.cupy.get_default_memory_pool().free_all_blocks()
        if self.torch:
            self.torch.cuda.empty_cache()

    def synchronize(self) -> None:
        self.cupy.cuda.runtime.deviceSynchronize()

    def names(self, row: Row) -> list[str]:
        names = ["fastopt", "floor"]
        if row.formats:
            return [*names, "float32", *self.implementations(row)]
        names += self.implementations(row)
        names += [self.expressions] if row.rule.name in STEPS else []
        return names + (["optax"] if self.optax is not None and self.optax.has(row) else [])

    def implementations(self, row: Row) -> dict[str, str]:
        return {name: name for name in IMPLEMENTATIONS if self.has_implementation(row, name)}

    def memory_needed(self, row: Row, name: str, nbytes: int) -> int:
        needed = super().memory_needed(row, name, nbytes)
        if name == "floor":  # a copy of as many bytes as the step reads and writes
            return needed + (2 + len(row.slots)) * nbytes
        return max(0, needed - self.optax.kept()) if name == "optax" and self.optax else needed

    def add(self, arm: Arm, row: Row, grads: Sequence[Any], moved: int, lr: float) -> None:
        if arm.name == "optax":
            assert self.optax is not None
            arm.finish = self.optax.add(arm, row, grads, lr)
        else:
            super().add(arm, row, grads, moved, lr)

    def floor(self, row: Row, grad: Any, moved: int) -> tuple[Step, Any]:
        return self.copier(moved // 2)

    def copier(self, nbytes: int) -> tuple[Step, Any]:
        """A copy of so many bytes from device memory to device memory, and its target."""
        source, to = self.cupy.ones(nbytes, np.uint8), self.cupy.zeros(nbytes, np.uint8)
        runtime = self.cupy.cuda.runtime
        copy, kind = runtime.memcpyAsync, runtime.memcpyDeviceToDevice
        # The default arguments keep the memory.
        return lambda source=source, to=to: copy(to.data.ptr, source.data.ptr, nbytes, kind, self.stream), to

    def written_out(self) -> Mapping[str, Callable[..., Step]]:
        if self._steps is None:
            self._steps = cupy_steps(self.cupy)
        return dict(self._steps)

    @property
    def missing_for_bfloat16(self) -> str | None:
        return None if self.torch else "torch with CUDA"

    def turn(self, arm: Arm) -> Callable[[], float]:
        turns = arm.turns()
        elapsed = self.seconds if arm.finish is None else partial(timed_by_host, finish=arm.finish)
        times, _ = calibrate(lambda times: elapsed(turns, times), LEAST)
        return lambda: elapsed(turns, times) / times

    def seconds(self, turns: Iterator[Step], times: int) -> float:
        """Seconds of so many steps, between two events.

        A step before the first event keeps the GPU busy while the host sends the others.  The time is that of the slower of the
        two, as in a loop, without the wait for the first launch.
        """
        begin, end = self.cupy.cuda.Event(), self.cupy.cuda.Event()
        next(turns)()
        begin.record(self._stream)
        for step in itertools.islice(turns, times):
            step()
        end.record(self._stream)
        end.synchronize()
        return float(self.cupy.cuda.get_elapsed_time(begin, end)) * 1e-3

    def describe(self) -> dict[str, Any]:
        """The GPU, for a report."""
        runtime = self.cupy.cuda.runtime
        properties = runtime.getDeviceProperties(self.number)
        return {
            "name": properties["name"].decode(),
            "arch": driver().arch(self.number),
            "processors": driver().processors(self.number),
            "memory": int(properties["totalGlobalMem"]),
            "cache": self.cache,
            "driver": driver_version(),
            "cuda_of_driver": int(runtime.driverGetVersion()),
            "cuda_of_cupy": int(runtime.runtimeGetVersion()),
        }

    def report(self) -> dict[str, Any]:
        return {"gpu": self.describe(), "optax": None if self.optax is None else self.optax.version}

    def afterwards(self, formats: bool) -> dict[str, Any]:
        """What the host does for a step of many tensors, unless the rows are those of `--formats` or memory is short."""
        fits = self.memory_available() > memory_needed()
        return {"host": host_times(self) if fits and not formats else None}


def cupy_steps(cupy: Any) -> Any:
    """`numpy_steps` with CuPy in NumPy's place: called directly, since NumPy's own way to CuPy's functions costs time."""
    spec = importlib.util.find_spec("..numpy_steps", __package__)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    vars(module).update(np=cupy, zeros=cupy.zeros_like)
    return module.STEPS


def driver_version(path: Path = Path("/proc/driver/nvidia/version")) -> str | None:
    """NVIDIA's number of the driver; None if the system does not say."""
    with suppress(OSError):
        words = path.read_text().partition("\n")[0].split()
        return next((word for word in words if word.count(".") >= 1 and word.replace(".", "").isdigit()), None)
    return None


def timed_by_host(turns: Iterator[Step], times: int, finish: Step) -> float:
    """Seconds of so many steps until `finish` returns, by the host's clock."""
    next(turns)()
    finish()
    begin = perf_counter()
    for step in itertools.islice(turns, times):
        step()
    finish()
    return perf_counter() - begin
