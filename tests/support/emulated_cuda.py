"""A GPU for the tests that have none: fastopt's kernels, compiled for the host, over memory that is watched.

`EmulatedDriver` stands in for `fastopt._arrays.driver.Driver`.  It refuses what a GPU would: pointers of another
device, launches of a wrong shape, allocations while a graph is captured.  The kernels' fibers (`drivers/device_on_host.h`) refuse
barriers that some threads miss and accesses that are not aligned.
"""

from __future__ import annotations

import bisect
import contextlib
import ctypes
import weakref
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np

from fastopt._arrays.driver import THREADS
from fastopt._cuda.table import CONTROL, LAUNCH, TENSOR, WORDS
from tests.support.kernels_on_host import Library, build

__all__ = ["EmulatedArray", "EmulatedDriver", "array", "check_guards"]

Array = np.ndarray[Any, Any]

# ---- Memory ----------------------------------------------------------------------------------------------------------

GUARD = 256
"""Bytes before and behind every allocation."""

PATTERN = np.arange(GUARD, dtype=np.uint8) ^ np.uint8(0xA5)


class Allocation:
    """Bytes between guards, the first of them `past` bytes behind a multiple of 256."""

    def __init__(self, nbytes: int, device: int, past: int) -> None:
        memory = np.zeros(nbytes + past + 3 * GUARD, np.uint8)
        begin = -(memory.ctypes.data + GUARD) % GUARD + GUARD + past
        self.bytes = memory[begin : begin + nbytes]
        self.before, self.behind = memory[begin - GUARD : begin], memory[begin + nbytes : begin + nbytes + GUARD]
        self.before[:] = self.behind[:] = PATTERN
        self.pointer = int(memory.ctypes.data) + begin
        self.device = device

    def check(self) -> None:
        for side, guard in (("before", self.before), ("behind", self.behind)):
            changed = np.flatnonzero(guard != PATTERN)
            if changed.size:
                self.before[:] = self.behind[:] = PATTERN
                raise AssertionError(
                    f"{changed.size} bytes {side} an array of {self.bytes.size} were written, such as {changed[0]}"
                )


_live: weakref.WeakSet[Allocation] = weakref.WeakSet()


class EmulatedArray:
    """An array in the memory of a device, like CuPy's, that tests can look into."""

    def __init__(self, shape: tuple[int, ...], dtype: Any, device: int, past: int = 0, *, bfloat16: bool = False) -> None:
        self.shape, self.dtype, self.bfloat16 = shape, np.dtype(dtype), bfloat16
        self.device = SimpleNamespace(id=device)
        self.nbytes = int(np.prod(shape, dtype=np.int64)) * self.dtype.itemsize
        self._memory = Allocation(self.nbytes, device, past)
        _live.add(self._memory)

    @property
    def pointer(self) -> int:
        return self._memory.pointer

    @property
    def host(self) -> Array:
        """The live memory."""
        values: Array = self._memory.bytes.view(self.dtype).reshape(self.shape)
        return values

    def get(self) -> Array:
        """A copy on the host."""
        return self.host.copy()

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        data = (self.pointer if self.nbytes else 0, False)
        return {"version": 3, "shape": self.shape, "typestr": self.dtype.str, "data": data, "strides": None, "stream": 1}


def array(values: Any, device: int = 0, offset: int = 0, *, bfloat16: bool = False) -> EmulatedArray:
    """These values on a device, `offset` elements behind a multiple of 16 bytes."""
    values = np.ascontiguousarray(values)
    result = EmulatedArray(values.shape, values.dtype, device, offset * values.itemsize, bfloat16=bfloat16)
    result.host[...] = values
    return result


def check_guards() -> None:
    """Raises AssertionError if something was written beside a live array."""
    for allocation in list(_live):
        allocation.check()


class Spans:
    """The places of a device's live memory."""

    def __init__(self, device: int) -> None:
        self.device = device
        self._spans = sorted((each.pointer, each.pointer + each.bytes.size) for each in list(_live) if each.device == device)

    def check(self, pointer: int, nbytes: int = 1) -> None:
        at = bisect.bisect_right(self._spans, (pointer, np.inf)) - 1
        if at < 0 or pointer + nbytes > self._spans[at][1]:
            raise RuntimeError(f"{nbytes} bytes at {pointer:#x}: no memory of device {self.device}")


# ---- The driver ------------------------------------------------------------------------------------------------------


class EmulatedKernel:
    def __init__(self, name: str, library: Library, device: int, resident: int) -> None:
        self.name, self.loaded, self.device, self.resident = name, library, device, resident

    def run(self, blocks: int, threads: int, parameters: bytes, order: int) -> None:
        memory = ctypes.create_string_buffer(parameters, len(parameters))
        with self.loaded.lock:
            self.loaded.set_order(order)
            words = self.loaded.run_kernel(blocks, threads, memory)
        if words is not None:
            raise RuntimeError(f"{self.name}: {words.decode()}")


class EmulatedGraph:
    """The captured work, in order."""

    def __init__(self) -> None:
        self.work: list[Any] = []
        self.launches: list[tuple[EmulatedKernel, int, int, Array]] = []
        """Kernel, blocks, threads, parameters."""
        self.spoiled: str | None = None
        """The request that ended the capture."""

    def replay(self) -> None:
        for each in self.work:
            each()


def check_pointers(value: Array, device: int) -> None:
    """Raises RuntimeError if a structure, or a tensor that it names, points to memory that is not live on the device."""
    spans = Spans(device)
    if value.dtype == WORDS:
        return spans.check(int(value["to"]), 8 * int(value["count"]))
    assert value.dtype == LAUNCH
    count = int(value["tensor_count"])
    sizes = {"control": CONTROL.itemsize, "indices": 4 * count, "first_tiles": 8 * (count + 1), "groups": 1, "grads": 1}
    for name, nbytes in sizes.items():
        if value[name]:
            spans.check(int(value[name]), nbytes)
    indices = at(value["indices"], np.int32, count) if value["indices"] else range(count)
    for index in indices:
        pointer = int(value["tensors"]) + TENSOR.itemsize * int(index)
        spans.check(pointer, TENSOR.itemsize)
        tensor = at(pointer, TENSOR, 1)[0]
        named = [tensor[name] for name in ("param", "param_extra", "ema", "copy")]
        if value["grads"] and value["begin"] == 0:  # the gradient of a part may begin with the part
            named.append(at(int(value["grads"]) + 8 * int(index), np.uint64, 1)[0])
        for each in (*named, *tensor["state"], *tensor["state_extra"]):
            if each and tensor["length"]:
                spans.check(int(each))
    return None


def at(pointer: Any, dtype: Any, count: int) -> Array:
    """The values at a pointer."""
    return np.frombuffer((ctypes.c_char * (np.dtype(dtype).itemsize * count)).from_address(int(pointer)), dtype)


class EmulatedDriver:
    """The methods of `fastopt._arrays.driver.Driver`.  Work on a stream is done at once."""

    def __init__(self, devices: int = 2, processors: int = 2) -> None:
        self.devices, self._processors = devices, processors
        self.current_stream = 0
        self.order = 0
        """The order of blocks and threads: 1 for descending."""
        self.capturing: EmulatedGraph | None = None
        self.launches: list[tuple[str, int, int, int]] = []
        """Name, blocks, threads and stream of each."""
        self.follows: list[tuple[int, int, int]] = []
        self._kernels: dict[tuple[str, int], EmulatedKernel] = {}

    def zeros(self, shape: tuple[int, ...], dtype: Any, device: int, stream: int) -> EmulatedArray:
        self._allow("allocation", device)
        return EmulatedArray(shape, dtype, device)

    def synchronize(self, device: int, stream: int) -> None:
        self._allow("waiting for the stream", device)

    def device_of(self, pointer: int) -> int:
        found = [each.device for each in list(_live) if each.pointer <= pointer < each.pointer + max(1, each.bytes.size)]
        return found[0] if found else 0

    def read(self, pointer: int, array: Array, device: int, stream: int) -> None:
        self._allow("a read that waits for the stream", device)
        Spans(device).check(pointer, array.nbytes)
        ctypes.memmove(array.ctypes.data, pointer, array.nbytes)

    def write(self, pointer: int, array: Array, device: int, stream: int) -> None:
        self._allow("a write that waits for the stream", device)
        Spans(device).check(pointer, array.nbytes)
        ctypes.memmove(pointer, array.ctypes.data, array.nbytes)

    def copy(self, to: int, source: int, nbytes: int, device: int, stream: int) -> None:
        for pointer in (to, source):
            Spans(device).check(pointer, nbytes)
        self._do(lambda: ctypes.memmove(to, source, nbytes))

    def stream(self, device: int) -> int:
        return self.current_stream

    def is_capturing(self, stream: int) -> bool:
        return self.capturing is not None

    def may_wait(self, stream: int) -> bool:
        return self.capturing is None

    def follow(self, stream: int, before: int, device: int) -> None:
        self.follows.append((stream, before, device))

    def has(self, kernel: Any, device: int) -> bool:
        return (kernel.name, device) in self._kernels

    def kernel(self, kernel: Any, device: int, compiled: object = None) -> EmulatedKernel:
        if (kernel.name, device) not in self._kernels:
            self._allow("the loading of a kernel", device)
            library = build(kernel.source, kernel.name)
            resident = getattr(kernel, "blocks", 4) * self._processors
            self._kernels[kernel.name, device] = EmulatedKernel(kernel.name, library, device, resident)
        return self._kernels[kernel.name, device]

    def arch(self, device: int) -> str:
        return "sm_90"

    def processors(self, device: int) -> int:
        return self._processors

    def launch(self, kernel: Any, blocks: int, threads: int, parameters: Any, device: int, stream: int) -> None:
        if not isinstance(kernel, EmulatedKernel) or kernel.device != device:
            raise RuntimeError(f"a kernel that is not loaded on device {device}")
        if blocks < 1 or not 32 <= threads <= THREADS or threads % 32 != 0:
            raise RuntimeError(f"{kernel.name}: a launch of {blocks} blocks of {threads} threads")
        value = parameters.value
        assert ctypes.c_uint64.from_address(parameters.address).value == value.ctypes.data
        self.launches.append((kernel.name, blocks, threads, stream))
        taken, order = value.copy(), self.order
        if self.capturing is not None:
            self.capturing.launches.append((kernel, blocks, threads, taken))

        def work() -> None:
            check_pointers(taken, device)
            kernel.run(blocks, threads, taken.tobytes(), order)

        self._do(work)

    @contextlib.contextmanager
    def capture(self) -> Iterator[EmulatedGraph]:
        """Collects work in a graph instead of doing it.  Raises AssertionError if a request ended the capture."""
        self.capturing = graph = EmulatedGraph()
        try:
            yield graph
        finally:
            self.capturing = None
        assert graph.spoiled is None, graph.spoiled

    def check_guards(self) -> None:
        check_guards()

    def _do(self, work: Any) -> None:
        if self.capturing is not None:
            self.capturing.work.append(work)
        else:
            work()

    def _allow(self, what: str, device: int) -> None:
        if not 0 <= device < self.devices:
            raise RuntimeError(f"device {device}: there are {self.devices}")
        if self.capturing is not None:
            self.capturing.spoiled = f"{what} while a graph is captured"
            raise RuntimeError(self.capturing.spoiled)
