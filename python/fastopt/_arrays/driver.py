"""The services of a GPU: memory, kernels, launches, streams.  CuPy provides them, and is imported at the first CUDA array.

Everything goes through the few methods of `Driver`, so that tests can put another driver in its place.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

__all__ = ["THREADS", "CudaError", "Driver", "driver", "use"]

THREADS = 128
"""The most threads of a thread block: four warps."""

CAPTURE_IMPLICIT = 906
"""cudaErrorStreamCaptureImplicit: the default stream would wait for a stream that is being captured."""


class CudaError(TypeError):
    """A CUDA array came to a machine where no GPU can be used."""


class Driver:
    """The driver that CuPy provides.  Pointers and streams are numbers; `device` is CUDA's number of a GPU.

    `zeros` needs memory, `kernel` may load code, and `read`, `write` and `synchronize` wait for the GPU.  Each would end the capture
    of a graph, so callers ask `may_wait` first.
    """

    def __init__(self) -> None:
        try:
            import cupy
        except ImportError as error:
            from .._extras import install_cuda

            raise CudaError(f"a CUDA array needs CuPy: {install_cuda()} ({error})") from error
        try:
            cupy.cuda.runtime.getDeviceCount()
        except cupy.cuda.runtime.CUDARuntimeError as error:
            from .._extras import install

            raise CudaError(
                f"a CUDA array needs a GPU and a driver that CuPy {cupy.__version__} can use: update the driver, or "
                f"put CuPy for CUDA 12 in the place of that for CUDA 13: {install('cuda12')} ({error})"
            ) from error
        self._cupy = cupy
        self._kernels: dict[tuple[int, str], Any] = {}
        self._processors: dict[int, int] = {}

    # Memory

    def zeros(self, shape: tuple[int, ...], dtype: Any, device: int, stream: int) -> Any:
        """A new contiguous array of zeros, whose memory CuPy reuses in the order of `stream`."""
        with self._on(device), self.external(stream):
            return self._cupy.zeros(shape, dtype)

    def read(self, pointer: int, array: np.ndarray[Any, Any], device: int, stream: int) -> None:
        """Fills a contiguous array of the host from memory of the device; waits for the stream."""
        runtime = self._cupy.cuda.runtime
        with self._on(device):
            runtime.memcpyAsync(array.ctypes.data, pointer, array.nbytes, runtime.memcpyDeviceToHost, stream)
            runtime.streamSynchronize(stream)

    def write(self, pointer: int, array: np.ndarray[Any, Any], device: int, stream: int) -> None:
        """Fills memory of the device from a contiguous array of the host; waits for the stream."""
        runtime = self._cupy.cuda.runtime
        with self._on(device):
            runtime.memcpyAsync(pointer, array.ctypes.data, array.nbytes, runtime.memcpyHostToDevice, stream)
            runtime.streamSynchronize(stream)

    def copy(self, to: int, source: int, nbytes: int, device: int, stream: int) -> None:
        """Copies memory within the device, in the order of the stream."""
        runtime = self._cupy.cuda.runtime
        with self._on(device):
            runtime.memcpyAsync(to, source, nbytes, runtime.memcpyDeviceToDevice, stream)

    def from_dlpack(self, value: Any) -> Any:
        """An array of CuPy over somebody's memory."""
        return self._cupy.from_dlpack(value)

    def device_of(self, pointer: int) -> int:
        """The device of a pointer; for 0, the pointer of arrays without elements, the current device."""
        if pointer == 0:
            return int(self._cupy.cuda.runtime.getDevice())
        return int(self._cupy.cuda.runtime.pointerGetAttributes(pointer).device)

    # Streams

    def stream(self, device: int) -> int:
        """CuPy's current stream."""
        return int(self._cupy.cuda.get_current_stream(device).ptr)

    def external(self, stream: int) -> Any:
        """CuPy's object for any framework's stream.  Make and enter it while its device is current: CuPy asks for none."""
        return self._cupy.cuda.Stream.from_external(ForeignStream(stream))

    def is_capturing(self, stream: int) -> bool:
        """Whether launches on a stream go into a CUDA graph now; launches on the default stream never do."""
        return stream != 0 and bool(self._cupy.cuda.runtime.streamIsCapturing(stream))

    def may_wait(self, stream: int) -> bool:
        """Whether the host may wait for a stream without ending the capture of a graph.

        The default stream waits for other streams, so waiting for it would end their captures too.  Asking here does not.
        """
        runtime = self._cupy.cuda.runtime
        try:
            return not runtime.streamIsCapturing(stream)
        except runtime.CUDARuntimeError as error:
            if error.status == CAPTURE_IMPLICIT:
                return False
            raise

    def follow(self, stream: int, before: int, device: int) -> None:
        """Lets later work on `stream` wait, on the device, for all work now on `before`.  A graph has streams of its own."""
        if self.is_capturing(stream):
            return
        runtime = self._cupy.cuda.runtime
        with self._on(device):
            event = runtime.eventCreateWithFlags(runtime.eventDisableTiming)
            try:
                runtime.eventRecord(event, before)
                runtime.streamWaitEvent(stream, event)
            finally:
                runtime.eventDestroy(event)  # CUDA keeps the event until the wait is over

    def synchronize(self, device: int, stream: int) -> None:
        """Waits for a stream."""
        with self._on(device):
            self._cupy.cuda.runtime.streamSynchronize(stream)

    # Kernels

    def has(self, kernel: Any, device: int) -> bool:
        """Whether a kernel is loaded on the device, so that `kernel` only looks it up."""
        return (device, kernel.name) in self._kernels

    def kernel(self, kernel: Any, device: int, compiled: Callable[[Any, str], bytes]) -> Any:
        """A kernel, loaded on the device; the first time `compiled(kernel, arch)` gives its machine code."""
        known = self._kernels.get((device, kernel.name))
        if known is None:
            try:
                code = compiled(kernel, self.arch(device))
            except ImportError as error:
                raise CudaError(str(error)) from error
            with self._on(device):
                module = self._cupy.cuda.function.Module()
                module.load(code)
                function = module.get_function("fastopt_kernel")
                blocks = self._cupy.cuda.driver.occupancyMaxActiveBlocksPerMultiprocessor(function.ptr, THREADS, 0)
                known = Kernel(function, blocks * self.processors(device))
            self._kernels[device, kernel.name] = known
        return known

    def arch(self, device: int) -> str:
        """The architecture of a device, such as "sm_90"."""
        return f"sm_{self._cupy.cuda.Device(device).compute_capability}"

    def processors(self, device: int) -> int:
        """How many streaming multiprocessors a device has."""
        if device not in self._processors:
            self._processors[device] = int(self._cupy.cuda.Device(device).attributes["MultiProcessorCount"])
        return self._processors[device]

    def launch(self, kernel: Any, blocks: int, threads: int, parameters: Parameters, device: int, stream: int) -> None:
        """Runs a kernel on a stream; nothing waits."""
        cuda = self._cupy.cuda
        launch = cuda.driver.launchKernel
        if cuda.runtime.getDevice() == device and cuda.driver.ctxGetCurrent():
            launch(kernel.pointer, blocks, 1, 1, threads, 1, 1, 0, stream, parameters.address, 0)
        else:
            with self._on(device):
                launch(kernel.pointer, blocks, 1, 1, threads, 1, 1, 0, stream, parameters.address, 0)

    def _on(self, device: int) -> CurrentDevice:
        return CurrentDevice(self._cupy.cuda.runtime, device)


class CurrentDevice:
    """Makes a device the current one, with a context even in a thread without one; at the end the previous device again."""

    def __init__(self, runtime: Any, device: int) -> None:
        self._runtime, self._device = runtime, device

    def __enter__(self) -> None:
        self._before = self._runtime.getDevice()
        self._runtime.setDevice(self._device)

    def __exit__(self, *error: object) -> None:
        self._runtime.setDevice(self._before)


class ForeignStream:
    """A stream in the words of CUDA's stream protocol."""

    def __init__(self, pointer: int) -> None:
        self._pointer = pointer

    def __cuda_stream__(self) -> tuple[int, int]:
        return 0, self._pointer


class Kernel:
    """A loaded kernel; `resident` is the number of thread blocks of `THREADS` that the device runs of it at once."""

    def __init__(self, function: Any, resident: int) -> None:
        self.function = function
        self.pointer = function.ptr
        self.resident = max(1, resident)


class Parameters:
    """The one structure that a kernel takes, and the address at which the driver finds it."""

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self.value = np.zeros((), dtype)
        self._pointer = np.array([self.value.ctypes.data], np.uint64)
        self.address = int(self._pointer.ctypes.data)


_driver: Any = None


def driver() -> Any:
    """The driver of this process.  Raises CudaError if no GPU can be used."""
    global _driver  # noqa: PLW0603 - one driver for the process, made when it is first needed
    if _driver is None:
        _driver = Driver()
    return _driver


def use(other: Any) -> Any:
    """Puts another driver in place of the process's, and returns the one before; for tests."""
    global _driver
    before, _driver = _driver, other
    return before
