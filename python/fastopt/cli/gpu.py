"""What the benchmark asks of a GPU: memory, copies, events, and what it is; by CuPy, with torch's stream where torch is there."""

from __future__ import annotations

import gc
import importlib
import itertools
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import perf_counter
from types import ModuleType
from typing import Any

import numpy as np

from .._arrays.driver import driver
from .arms import import_torch

__all__ = ["Gpu", "cupy_steps", "timed_by_host"]

Step = Callable[[], object]

DIFFERENT = 1 << 22
"""Random values that an array has at most before they begin again: they are made on the host, CuPy's own need a library more."""


class Gpu:
    """The current GPU.  CudaError where there is none, or CuPy is not installed."""

    def __init__(self) -> None:
        driver()
        self._steps: Any = None
        self.cupy: Any = importlib.import_module("cupy")
        self.torch: ModuleType | None = usable_torch()
        self.number = int(self.cupy.cuda.runtime.getDevice())
        self.stream = int(self.torch.cuda.current_stream(self.number).cuda_stream) if self.torch else 0
        self._stream: Any = driver().external(self.stream)
        attributes = self.cupy.cuda.Device(self.number).attributes
        self.cache = int(attributes["L2CacheSize"])
        """Bytes of its last cache."""
        self.out_of_memory: tuple[type[Exception], ...] = (MemoryError,)  # CuPy's is one
        if self.torch:
            self.out_of_memory += (self.torch.cuda.OutOfMemoryError,)

    @contextmanager
    def current(self) -> Iterator[None]:
        """All work of all arms within goes to one stream."""
        with self.cupy.cuda.Device(self.number), self._stream:
            yield

    def describe(self) -> dict[str, Any]:
        """For a report."""
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

    def normal(self, shape: int | tuple[int, ...], dtype: str) -> Any:
        """A new array of random numbers."""
        size = math.prod(shape) if isinstance(shape, tuple) else shape
        few = np.random.default_rng(0).standard_normal(min(size, DIFFERENT)).astype(dtype)
        values = self.cupy.empty(size, dtype)
        first = self.cupy.asarray(few)
        for begin in range(0, size, DIFFERENT):
            end = min(size, begin + DIFFERENT)
            values[begin:end] = first[: end - begin]
        return values.reshape(shape)

    def cast(self, values: Any, dtype: str) -> Any:
        """A new array of these values: CuPy's, or of bfloat16 torch's."""
        if dtype == "bfloat16":
            assert self.torch is not None  # without it no row has bfloat16
            return self.tensor(values).to(self.torch.bfloat16)
        return values.astype(dtype, copy=True)

    def tensor(self, values: Any) -> Any:
        """torch's view of an array of CuPy's."""
        assert self.torch is not None
        return self.torch.as_tensor(values, device=f"cuda:{self.number}")

    def copier(self, nbytes: int) -> tuple[Step, Any]:
        """A copy from device memory to device memory of so many bytes, and where to."""
        source, to = self.cupy.ones(nbytes, np.uint8), self.cupy.zeros(nbytes, np.uint8)
        runtime = self.cupy.cuda.runtime
        copy, kind = runtime.memcpyAsync, runtime.memcpyDeviceToDevice
        # The default arguments keep the memory.
        return lambda source=source, to=to: copy(to.data.ptr, source.data.ptr, nbytes, kind, self.stream), to

    def cupy_steps(self) -> Any:
        """The steps of `numpy_steps`, by CuPy."""
        if self._steps is None:
            self._steps = cupy_steps(self.cupy)
        return self._steps

    def seconds(self, turns: Iterator[Step], times: int) -> float:
        """Of so many steps, between two events.

        A step before the first event keeps the GPU busy while the host sends the others: what is timed is the slower of the
        two, as in a loop, and not how long the first launch takes to arrive.
        """
        begin, end = self.cupy.cuda.Event(), self.cupy.cuda.Event()
        next(turns)()
        begin.record(self._stream)
        for step in itertools.islice(turns, times):
            step()
        end.record(self._stream)
        end.synchronize()
        return float(self.cupy.cuda.get_elapsed_time(begin, end)) * 1e-3

    def synchronize(self) -> None:
        """Waits for all that the GPU was given."""
        self.cupy.cuda.runtime.deviceSynchronize()

    def memory_available(self) -> int:
        """Bytes, after all that is kept for later was given back."""
        self.release()
        return int(self.cupy.cuda.runtime.memGetInfo()[0])

    def release(self) -> None:
        """Gives back what frameworks keep of the arrays that are gone."""
        gc.collect()  # circles, torch's optimizers among them
        self.cupy.get_default_memory_pool().free_all_blocks()
        if self.torch:
            self.torch.cuda.empty_cache()


def usable_torch() -> ModuleType | None:
    """torch, where it is installed and finds a GPU."""
    torch = import_torch()
    return torch if torch is not None and torch.cuda.is_available() else None


def cupy_steps(cupy: Any) -> Any:
    """`numpy_steps` with CuPy in NumPy's place: called directly, since NumPy's own way to CuPy's functions costs time."""
    spec = importlib.util.find_spec(f"{__package__}.numpy_steps")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    vars(module).update(np=cupy, zeros=cupy.zeros_like)
    return module.STEPS


def driver_version(path: Path = Path("/proc/driver/nvidia/version")) -> str | None:
    """NVIDIA's number of the driver, None where the system does not say."""
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
