"""`Driver` over CuPy's own classes; calls that need a GPU are written down.  Other tests put an emulation in the driver's place."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from fastopt._arrays import device as arrays
from fastopt._arrays.device import DeviceArray
from fastopt._arrays.driver import CAPTURE_IMPLICIT, CudaError, Driver, Parameters, use
from fastopt._cuda import table
from fastopt._cuda.kernels import WRITE
from fastopt._cuda.launches import LONGEST, shape, span

cupy = pytest.importorskip("cupy", reason="CuPy is not installed", exc_type=ImportError)

EVENT, DEVICES = 0xE, 2


def has_gpu() -> bool:
    try:
        return bool(cupy.cuda.runtime.getDeviceCount())
    except cupy.cuda.runtime.CUDARuntimeError:
        return False


class Recorded:
    """CuPy, with the calls that need a GPU written down: their name, the current device, their arguments.

    Without a GPU each call goes to CuPy's own function too, which refuses wrong arguments before it misses the GPU.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.device, self.context = 0, 1
        self.capturing: Any = False
        self._patch, self._without_gpu = monkeypatch, not has_gpu()
        runtime, driver = cupy.cuda.runtime, cupy.cuda.driver
        self._play(runtime, "getDeviceCount", lambda: DEVICES, quiet=True)
        self._play(runtime, "getDevice", lambda: self.device, quiet=True)
        self._play(runtime, "setDevice", self._set_device, quiet=True)
        self._play(runtime, "streamIsCapturing", self._is_capturing, quiet=True)
        self._play(runtime, "eventCreateWithFlags", lambda flags: EVENT)
        for name in ("memcpyAsync", "streamSynchronize", "eventRecord", "streamWaitEvent", "eventDestroy"):
            self._play(runtime, name, lambda *_: None)
        self._play(runtime, "pointerGetAttributes", lambda pointer: SimpleNamespace(device=1))
        self._play(driver, "ctxGetCurrent", lambda: self.context, quiet=True)
        self._play(driver, "launchKernel", lambda *_: None)
        self._play(driver, "occupancyMaxActiveBlocksPerMultiprocessor", lambda *_: 5)
        self._play(cupy, "zeros", np.zeros)

    def _play(self, module: Any, name: str, answer: Any, *, quiet: bool = False) -> None:
        real = getattr(module, name)

        def call(*arguments: Any) -> Any:
            if self._without_gpu:
                with contextlib.suppress(RuntimeError):  # CuPy's errors, all but those about arguments
                    real(*arguments)
            if not quiet:
                self.calls.append((name, self.device, *arguments))
            return answer(*arguments)

        self._patch.setattr(module, name, call)

    def _set_device(self, number: int) -> None:
        self.device, self.context = number, 1

    def _is_capturing(self, stream: int) -> bool:
        if isinstance(self.capturing, Exception):
            raise self.capturing
        return bool(self.capturing)


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> Recorded:
    return Recorded(monkeypatch)


@pytest.fixture(params=["asked when entered", "asked when made"])
def streams(recorded: Recorded, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Recorded:
    """CuPy's class, whose streams from outside are of the current device: asked for when they are entered, or when they are made."""

    class Stream(cupy.cuda.Stream):  # type: ignore[misc]  # CuPy has no types
        @classmethod
        def from_external(cls, outside: Any) -> Any:
            made = super().from_external(outside)
            if request.param == "asked when made":
                made.device_id = recorded.device
            return made

        def __enter__(self) -> Any:
            if self.device_id not in (-1, recorded.device):  # CuPy's own check
                raise RuntimeError(f"a stream of device {self.device_id} on device {recorded.device}")
            recorded.calls.append(("enter", recorded.device, self.ptr))
            return self

        def __exit__(self, *error: object) -> None:
            recorded.calls.append(("leave", recorded.device, self.ptr))

    monkeypatch.setattr(cupy.cuda, "Stream", Stream)
    return recorded


def launched(driver: Driver, device: int) -> Parameters:
    parameters = Parameters(table.WORDS)
    driver.launch(SimpleNamespace(pointer=5), 3, 128, parameters, device, 7)
    return parameters


def test_a_launch_takes_the_structure_by_one_pointer(recorded: Recorded) -> None:
    parameters = launched(Driver(), 0)
    assert recorded.calls == [("launchKernel", 0, 5, 3, 1, 1, 128, 1, 1, 0, 7, parameters.address, 0)]
    pointer = np.ctypeslib.ctypes.c_uint64.from_address(parameters.address)
    assert pointer.value == parameters.value.ctypes.data


def test_a_thread_that_has_no_context_gets_one(recorded: Recorded) -> None:
    recorded.context = 0
    launched(Driver(), 0)
    assert recorded.context == 1


def test_another_device_is_current_for_the_launch_alone(recorded: Recorded) -> None:
    launched(Driver(), 1)
    assert [call[:2] for call in recorded.calls] == [("launchKernel", 1)]
    assert recorded.device == 0


@pytest.mark.parametrize("stream", [0, 7])
@pytest.mark.parametrize("device", range(DEVICES))
def test_memory_is_made_on_the_stream_and_its_device(streams: Recorded, device: int, stream: int) -> None:
    made = Driver().zeros((3,), np.float32, device, stream)
    assert made.shape == (3,)
    assert streams.calls == [("enter", device, stream), ("zeros", device, (3,), np.float32), ("leave", device, stream)]
    assert streams.device == 0


def test_cupys_stream_from_outside_is_the_frameworks(recorded: Recorded) -> None:
    stream = Driver().external(7)
    assert isinstance(stream, cupy.cuda.Stream)
    assert stream.ptr == 7
    assert Driver().external(0) == cupy.cuda.Stream.null


def test_a_wait_between_streams_of_another_device(recorded: Recorded) -> None:
    Driver().follow(7, 9, 1)
    assert recorded.calls == [
        ("eventCreateWithFlags", 1, cupy.cuda.runtime.eventDisableTiming),
        ("eventRecord", 1, EVENT, 9),
        ("streamWaitEvent", 1, 7, EVENT),
        ("eventDestroy", 1, EVENT),
    ]
    assert recorded.device == 0


def test_a_graph_does_not_follow(recorded: Recorded) -> None:
    recorded.capturing = True
    Driver().follow(7, 9, 0)
    assert recorded.calls == []


@pytest.mark.parametrize("device", range(DEVICES))
def test_copies(recorded: Recorded, device: int) -> None:
    driver, host, runtime = Driver(), np.zeros(3), cupy.cuda.runtime
    driver.read(64, host, device, 7)
    driver.write(64, host, device, 7)
    driver.copy(64, 128, 24, device, 7)
    driver.synchronize(device, 7)
    address, wait = host.ctypes.data, ("streamSynchronize", device, 7)
    assert recorded.calls == [
        ("memcpyAsync", device, address, 64, 24, runtime.memcpyDeviceToHost, 7),
        wait,
        ("memcpyAsync", device, 64, address, 24, runtime.memcpyHostToDevice, 7),
        wait,
        ("memcpyAsync", device, 64, 128, 24, runtime.memcpyDeviceToDevice, 7),
        wait,
    ]
    assert recorded.device == 0


def test_the_device_of_a_pointer(recorded: Recorded) -> None:
    assert [Driver().device_of(pointer) for pointer in (0, 4096)] == [0, 1]


def test_a_kernel_is_loaded_once_on_each_device(recorded: Recorded, monkeypatch: pytest.MonkeyPatch) -> None:
    class Module(cupy.cuda.function.Module):  # type: ignore[misc]  # CuPy has no types
        def load(self, code: bytes) -> None:
            recorded.calls.append(("load", recorded.device, code))

        def get_function(self, name: str) -> Any:
            return SimpleNamespace(ptr=len(name))

    monkeypatch.setattr(cupy.cuda.function, "Module", Module)
    driver = Driver()
    monkeypatch.setattr(driver, "arch", lambda device: f"sm_9{device}")
    monkeypatch.setattr(driver, "processors", lambda device: 100)
    for device in (1, 0, 1):
        loaded = driver.kernel(WRITE, device, lambda kernel, arch: f"{kernel.name} {arch}".encode())
        assert loaded.resident == 500
        assert driver.has(WRITE, device)
    loads = [call for call in recorded.calls if call[0] == "load"]
    assert loads == [("load", 1, b"write sm_91"), ("load", 0, b"write sm_90")]
    assert recorded.device == 0


def test_a_missing_nvrtc_is_the_error_of_a_cuda_array(recorded: Recorded, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object) -> bytes:
        raise ImportError("NVRTC is missing")

    driver = Driver()
    monkeypatch.setattr(driver, "arch", lambda device: "sm_90")
    with pytest.raises(CudaError, match="NVRTC is missing"):
        driver.kernel(WRITE, 0, missing)


# ---- While a graph is captured ---------------------------------------------------------------------------------------

IMPLICIT = cupy.cuda.runtime.CUDARuntimeError(CAPTURE_IMPLICIT)


@pytest.mark.parametrize(
    ("capturing", "stream", "may_wait", "is_capturing"),
    [
        (False, 7, True, False),
        (True, 7, False, True),
        (False, 0, True, False),
        # Another stream is being captured, which the default stream would wait for.
        (IMPLICIT, 0, False, False),
    ],
    ids=str,
)
def test_what_would_end_a_capture(recorded: Recorded, capturing: Any, stream: int, may_wait: bool, is_capturing: bool) -> None:
    recorded.capturing = capturing
    assert Driver().may_wait(stream) == may_wait
    assert Driver().is_capturing(stream) == is_capturing


def test_other_errors_of_the_question_are_not_swallowed(recorded: Recorded) -> None:
    assert "StreamCaptureImplicit" in str(IMPLICIT)
    recorded.capturing = cupy.cuda.runtime.CUDARuntimeError(1)
    with pytest.raises(cupy.cuda.runtime.CUDARuntimeError, match="InvalidValue"):
        Driver().may_wait(7)


@pytest.fixture
def array(streams: Recorded, monkeypatch: pytest.MonkeyPatch) -> Iterator[DeviceArray]:
    """An array of the driver under test, on CuPy's stream 7."""
    driver = Driver()
    monkeypatch.setattr(driver, "stream", lambda device: 7)
    before = use(driver)
    yield DeviceArray(64, (3,), np.dtype(np.float32), 0, None)
    use(before)


CALLS = {
    "new": (lambda array: arrays.new(array, (3,), np.float32), "a CUDA graph is being captured, and this call needs memory"),
    "to_host": (lambda array: arrays.to_host(array, "lr"), "lr: a CUDA graph is being captured, and this waits for the GPU"),
    "copy from the host": (
        lambda array: arrays.copy_values(array, np.zeros(3, np.float32), "state"),
        "state: a CUDA graph is being captured",
    ),
    "copy from the device": (lambda array: arrays.copy_values(array, array, "state"), "state: a CUDA graph is being captured"),
}


@pytest.mark.parametrize("case", CALLS)
def test_what_needs_memory_or_waits_is_refused_while_a_graph_is_captured(
    recorded: Recorded, array: DeviceArray, case: str
) -> None:
    call, words = CALLS[case]
    for capturing in (True, IMPLICIT):
        recorded.capturing = capturing
        with pytest.raises(RuntimeError, match=f"^{words}"):
            call(array)
    assert recorded.calls == []
    recorded.capturing = False
    if case != "new":  # whose array here is NumPy's
        call(array)
        assert recorded.calls


# ---- The shape of launches -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tensors", [1, 2, 10, 66, 1000])
@pytest.mark.parametrize("elements", [1, 100, 1024, 10_000, 1_000_000])
def test_the_work_is_spread_over_the_whole_chip(tensors: int, elements: int) -> None:
    processors, resident = 132, 5 * 132
    blocks_of_256 = -(-elements // 256)
    work, line = tensors * blocks_of_256, tensors * -(-blocks_of_256 // LONGEST) * LONGEST
    warps, blocks = shape(work, line, resident, processors)
    run = span(line, blocks, warps) if tensors > 1 else warps
    assert blocks * warps <= resident * LONGEST
    assert run % warps == 0
    assert blocks * run >= line or tensors == 1
    busy = -(-line // run)
    assert busy >= min(blocks, line // warps) * 0.6
    assert busy * warps >= min(work, processors)


@pytest.mark.gpu
def test_a_step_in_a_new_thread() -> None:
    import threading

    try:
        Driver()
    except CudaError as error:
        pytest.skip(str(error))

    import fastopt

    p, g = cupy.zeros(1000, np.float32), cupy.ones(1000, np.float32)
    opt = fastopt.SGD(p, lr=1.0, grads=g)
    thread = threading.Thread(target=opt.step)
    thread.start()
    thread.join()
    cupy.cuda.Device().synchronize()
    assert (p.get() == -1).all()
