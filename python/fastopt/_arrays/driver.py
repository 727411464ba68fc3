"""What fastopt asks of a GPU: memory, kernels, launches, streams.  CuPy does it, and is imported at the first CUDA array.

Everything else goes through the few functions of `Driver`, so that tests put another in its place.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

__all__ = ["THREADS", "CudaError", "Driver", "driver", "use"]

THREADS = 128
"""Of a block, at most: four warps."""


class CudaError(TypeError):
    """A CUDA array came where no GPU can be used."""


class Driver:
    """CuPy's part.  Pointers and streams are numbers; `device` is CUDA's number of a GPU."""

    def __init__(self) -> None:
        try:
            import cupy
        except ImportError as error:
            raise CudaError(
                f'a CUDA array needs CuPy: pip install "fastopt[cuda13]", or "fastopt[cuda12]" for a CUDA 12 driver ({error})'
            ) from error
        try:
            cupy.cuda.runtime.getDeviceCount()
        except cupy.cuda.runtime.CUDARuntimeError as error:
            raise CudaError(
                f"a CUDA array needs a GPU and a driver that CuPy {cupy.__version__} can use: update the driver, or install "
                f'"fastopt[cuda12]" in place of "fastopt[cuda13]" ({error})'
            ) from error
        self._cupy = cupy
        self._kernels: dict[tuple[int, str], Any] = {}
        self._processors: dict[int, int] = {}

    def zeros(self, shape: tuple[int, ...], dtype: Any, device: int, stream: int) -> Any:
        """A new array of zeros, contiguous, whose memory is ordered by `stream`; RuntimeError where that is being captured.

        A graph would fill it again at each replay, and who has the memory then is not known.
        """
        if self.is_capturing(stream):
            raise RuntimeError("a CUDA graph is being captured, and this call needs memory: make one like it before")
        with self._on(device, stream):
            return self._cupy.zeros(shape, dtype)

    def read(self, pointer: int, array: np.ndarray[Any, Any], device: int, stream: int) -> None:
        """Fills a contiguous array of the host from memory of the device; waits for the stream."""
        runtime = self._cupy.cuda.runtime
        with self._on(device, stream):
            runtime.memcpyAsync(array.ctypes.data, pointer, array.nbytes, runtime.memcpyDeviceToHost, stream)
            runtime.streamSynchronize(stream)

    def write(self, pointer: int, array: np.ndarray[Any, Any], device: int, stream: int) -> None:
        """Memory of the device from a contiguous array of the host; waits for the stream."""
        runtime = self._cupy.cuda.runtime
        with self._on(device, stream):
            runtime.memcpyAsync(pointer, array.ctypes.data, array.nbytes, runtime.memcpyHostToDevice, stream)
            runtime.streamSynchronize(stream)

    def copy(self, to: int, source: int, nbytes: int, device: int, stream: int) -> None:
        """Memory of the device from memory of the same device, in the order of the stream."""
        runtime = self._cupy.cuda.runtime
        with self._on(device, stream):
            runtime.memcpyAsync(to, source, nbytes, runtime.memcpyDeviceToDevice, stream)

    def from_dlpack(self, value: Any) -> Any:
        """An array of CuPy over somebody's memory."""
        return self._cupy.from_dlpack(value)

    def device_of(self, pointer: int) -> int:
        """The device of a pointer; of none, as arrays without elements have it, the current one."""
        if pointer == 0:
            return int(self._cupy.cuda.runtime.getDevice())
        return int(self._cupy.cuda.runtime.pointerGetAttributes(pointer).device)

    def stream(self, device: int) -> int:
        """CuPy's current stream."""
        return int(self._cupy.cuda.get_current_stream(device).ptr)

    def is_capturing(self, stream: int) -> bool:
        """Whether what is launched now goes into a CUDA graph; the default stream's never does."""
        return stream != 0 and bool(self._cupy.cuda.runtime.streamIsCapturing(stream))

    def follow(self, stream: int, before: int, device: int) -> None:
        """Lets what comes on `stream` wait, on the device, for all that is on `before` now; a graph has streams of its own."""
        if self.is_capturing(stream):
            return
        with self._cupy.cuda.Device(device):
            event = self._cupy.cuda.Event(disable_timing=True)
            event.record(self._cupy.cuda.ExternalStream(before, device))
            self._cupy.cuda.ExternalStream(stream, device).wait_event(event)

    def kernel(self, kernel: Any, device: int, compiled: Callable[[Any, str], bytes]) -> Any:
        """A kernel, loaded on the device; the first time `compiled(kernel, arch)` gives its machine code."""
        known = self._kernels.get((device, kernel.name))
        if known is None:
            try:
                code = compiled(kernel, self.arch(device))
            except ImportError as error:
                raise CudaError(str(error)) from error
            with self._cupy.cuda.Device(device):
                module = self._cupy.cuda.function.Module()
                module.load(code)
                function = module.get_function("fastopt_kernel")
                blocks = self._cupy.cuda.driver.occupancyMaxActiveBlocksPerMultiprocessor(function.ptr, THREADS, 0)
                known = Kernel(function, blocks * self.processors(device))
            self._kernels[device, kernel.name] = known
        return known

    def arch(self, device: int) -> str:
        """Such as "sm_90"."""
        return f"sm_{self._cupy.cuda.Device(device).compute_capability}"

    def processors(self, device: int) -> int:
        """Streaming multiprocessors."""
        if device not in self._processors:
            self._processors[device] = int(self._cupy.cuda.Device(device).attributes["MultiProcessorCount"])
        return self._processors[device]

    def launch(self, kernel: Any, blocks: int, threads: int, parameters: Parameters, device: int, stream: int) -> None:
        """Runs a kernel on a stream; nothing waits."""
        cuda = self._cupy.cuda
        launch = cuda.driver.launchKernel
        if cuda.runtime.getDevice() == device:
            if not cuda.driver.ctxGetCurrent():  # a thread that has not used the device yet
                cuda.runtime.setDevice(device)
            launch(kernel.pointer, blocks, 1, 1, threads, 1, 1, 0, stream, parameters.address, 0)
        else:
            with cuda.Device(device):
                cuda.runtime.setDevice(device)
                launch(kernel.pointer, blocks, 1, 1, threads, 1, 1, 0, stream, parameters.address, 0)

    def synchronize(self, device: int, stream: int) -> None:
        """Waits for a stream."""
        with self._cupy.cuda.Device(device):
            self._cupy.cuda.runtime.streamSynchronize(stream)

    def _on(self, device: int, stream: int) -> Any:
        """The device, and the stream in whose order CuPy's allocations are."""
        return _On(self._cupy, device, stream)


class _On:
    def __init__(self, cupy: Any, device: int, stream: int) -> None:
        self._device = cupy.cuda.Device(device)
        self._stream = cupy.cuda.ExternalStream(stream, device)

    def __enter__(self) -> None:
        self._device.__enter__()
        self._stream.__enter__()

    def __exit__(self, *error: object) -> None:
        self._stream.__exit__(*error)
        self._device.__exit__(*error)


class Kernel:
    """A loaded kernel, and how many blocks of `THREADS` the device runs of it at once."""

    def __init__(self, function: Any, resident: int) -> None:
        self.function = function
        self.pointer = function.ptr
        self.resident = max(1, resident)


class Parameters:
    """The one structure that a kernel takes, and where the driver finds it."""

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self.value = np.zeros((), dtype)
        self._pointer = np.array([self.value.ctypes.data], np.uint64)
        self.address = int(self._pointer.ctypes.data)


_driver: Any = None


def driver() -> Any:
    """The one of this process; CudaError where there is none."""
    global _driver  # noqa: PLW0603 - one driver for the process, made when it is first needed
    if _driver is None:
        _driver = Driver()
    return _driver


def use(other: Any) -> Any:
    """Puts another driver in its place, and returns the one before; for tests."""
    global _driver
    before, _driver = _driver, other
    return before
