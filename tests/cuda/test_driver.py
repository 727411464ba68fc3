"""What `Driver` asks of CuPy, which is played here: the emulation stands in for the driver itself."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from fastopt._arrays.driver import CudaError, Driver, Parameters
from fastopt._cuda import table
from fastopt._cuda.kernels import WRITE
from fastopt._cuda.launches import LONGEST, shape, span


class Recorded:
    """A CuPy that writes down what it is called for."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.device, self.context, self.capturing = 0, 1, False
        runtime = SimpleNamespace(
            getDeviceCount=lambda: 2,
            getDevice=lambda: self.device,
            setDevice=self.set_device,
            streamIsCapturing=lambda stream: self.capturing,
            CUDARuntimeError=OSError,
        )
        driver = SimpleNamespace(
            launchKernel=lambda *arguments: self.calls.append(("launch", self.device, self.context, *arguments)),
            ctxGetCurrent=lambda: self.context,
        )
        self.module = ModuleType("cupy")
        self.module.cuda = SimpleNamespace(  # type: ignore[attr-defined]  # it is a made-up module
            runtime=runtime,
            driver=driver,
            Device=lambda number: Entered(self, number),
            ExternalStream=lambda *_: Entered(self, None),
        )
        self.module.zeros = lambda shape, dtype: self.calls.append(("zeros", shape))  # type: ignore[attr-defined]  # as above
        self.module.__version__ = "14"  # type: ignore[attr-defined]  # as above

    def set_device(self, number: int) -> None:
        self.device, self.context = number, 1
        self.calls.append(("setDevice", number))


class Entered:
    """A device or a stream as a context."""

    compute_capability = "90"

    def __init__(self, cupy: Recorded, number: int | None) -> None:
        self.cupy, self.number = cupy, number

    def __enter__(self) -> None:
        self.before = self.cupy.device
        if self.number is not None:
            self.cupy.device = self.number

    def __exit__(self, *error: object) -> None:
        self.cupy.device = self.before


@pytest.fixture
def cupy(monkeypatch: pytest.MonkeyPatch) -> Recorded:
    made = Recorded()
    monkeypatch.setitem(sys.modules, "cupy", made.module)
    return made


def launched(driver: Driver, device: int) -> None:
    driver.launch(SimpleNamespace(pointer=5), 3, 128, Parameters(table.WORDS), device, 7)


def test_a_launch_takes_the_structure_by_one_pointer(cupy: Recorded) -> None:
    parameters = Parameters(table.WORDS)
    parameters.value["count"] = 11
    Driver().launch(SimpleNamespace(pointer=5), 3, 128, parameters, 0, 7)
    (call,) = cupy.calls
    assert call[3:13] == (5, 3, 1, 1, 128, 1, 1, 0, 7, parameters.address)
    assert np.frombuffer((np.ctypeslib.ctypes.c_uint64).from_address(call[12]), np.uint64)[0] == parameters.value.ctypes.data


def test_a_thread_that_has_no_context_gets_one(cupy: Recorded) -> None:
    cupy.context = 0
    launched(Driver(), 0)
    assert [call[0] for call in cupy.calls] == ["setDevice", "launch"]
    assert cupy.calls[1][2] == 1


def test_another_device_is_made_current_for_the_launch_alone(cupy: Recorded) -> None:
    launched(Driver(), 1)
    assert cupy.calls[-1][:2] == ("launch", 1)
    assert cupy.device == 0


def test_memory_is_refused_while_a_graph_is_captured(cupy: Recorded) -> None:
    driver = Driver()
    cupy.capturing = True
    with pytest.raises(RuntimeError, match="a CUDA graph is being captured, and this call needs memory"):
        driver.zeros((3,), np.float32, 0, 7)
    assert cupy.calls == []


def test_a_missing_nvrtc_is_the_errors_of_a_cuda_array(cupy: Recorded) -> None:
    def missing(*_: object) -> bytes:
        raise ImportError("NVRTC is missing")

    with pytest.raises(CudaError, match="NVRTC is missing"):
        Driver().kernel(WRITE, 0, missing)


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
    import cupy as real

    import fastopt

    p, g = real.zeros(1000, np.float32), real.ones(1000, np.float32)
    opt = fastopt.SGD(p, lr=1.0, grads=g)
    thread = threading.Thread(target=opt.step)
    thread.start()
    thread.join()
    real.cuda.Device().synchronize()
    assert (p.get() == -1).all()
