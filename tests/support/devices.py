"""The devices of the tests of CUDA optimizers: an emulated GPU, and a real one if the machine has one."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import SimpleNamespace
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import fastopt
from fastopt._arrays.driver import CudaError, Driver, use
from fastopt._storage.stored import Stored
from tests.support.arrays import Array
from tests.support.emulated_cuda import EmulatedArray, EmulatedDriver
from tests.support.kernels_on_host import COMPILER, can_build

__all__ = ["Both", "Claim", "assert_same", "device_fixture", "flat"]

STAGGER = (0, 1, 3, 2, 7, 5)
"""How many elements behind a multiple of 16 bytes the arrays begin, in turn."""


class Emulated:
    """An emulated GPU; its `driver` shows what was asked of it."""

    is_emulated = True

    def __init__(self) -> None:
        self.driver = EmulatedDriver()

    def array(self, values: Any, offset: int = 0, device: int = 0) -> Any:
        values = np.asarray(values)
        array = EmulatedArray(values.shape, values.dtype, device, offset * values.itemsize)
        array.host[...] = values
        return array

    def host(self, array: Any) -> Array:
        return array.get()

    def write(self, array: Any, values: Any) -> None:
        array.host[...] = values

    @property
    def launches(self) -> list[str] | None:
        """The kernels that ran so far, except those that only write words; None on a real GPU."""
        return [name for name, *_ in self.driver.launches if name != "write"]

    @contextlib.contextmanager
    def stream(self) -> Iterator[int]:
        """Makes a second stream the current one."""
        before, self.driver.current_stream = self.driver.current_stream, 0x5000
        yield self.driver.current_stream
        self.driver.current_stream = before

    @contextlib.contextmanager
    def capture(self) -> Iterator[Any]:
        """Captures launches in a graph, whose `replay()` runs them."""
        with self.driver.capture() as graph:
            yield graph

    def check(self) -> None:
        self.driver.check_guards()

    @property
    def devices(self) -> int:
        return self.driver.devices


class Real:
    """The machine's own GPU: CuPy's arrays, and torch's tensors for bfloat16."""

    is_emulated = False
    launches = None

    def __init__(self) -> None:
        self.driver = Driver()
        import cupy

        self._cupy = cupy

    def array(self, values: Any, offset: int = 0, device: int = 0) -> Any:
        values = np.asarray(values)
        with self._cupy.cuda.Device(device):
            if values.dtype.name == "bfloat16":
                return self._tensor(values, offset, device)
            memory = self._cupy.empty(values.size + offset, values.dtype)
            array = memory[offset:].reshape(values.shape)
            self.write(array, values)
            return array

    def _tensor(self, values: Array, offset: int, device: int) -> Any:
        import torch

        if not torch.cuda.is_available():
            pytest.skip("an array of bfloat16 needs a torch that can use the GPU")
        memory = torch.empty(values.size + offset, dtype=torch.bfloat16, device=f"cuda:{device}")
        tensor = memory[offset:].view(values.shape)
        self.write(tensor, values)
        return tensor

    def host(self, array: Any) -> Array:
        self._cupy.cuda.Device().synchronize()
        if isinstance(array, self._cupy.ndarray):
            return self._cupy.asnumpy(array)
        import torch

        return array.view(torch.int16).cpu().numpy().view(ml_dtypes.bfloat16)

    def write(self, array: Any, values: Any) -> None:
        self._cupy.cuda.Device().synchronize()
        if isinstance(array, self._cupy.ndarray):
            array.set(np.ascontiguousarray(np.broadcast_to(np.asarray(values, array.dtype), array.shape)).reshape(array.shape))
        else:
            import torch

            array.view(torch.int16).copy_(torch.from_numpy(np.ascontiguousarray(values).view(np.int16).reshape(array.shape)))
        self._cupy.cuda.Device().synchronize()

    @contextlib.contextmanager
    def stream(self) -> Iterator[int]:
        with self._cupy.cuda.Stream(non_blocking=True) as stream:
            yield int(stream.ptr)
            stream.synchronize()

    @contextlib.contextmanager
    def capture(self) -> Iterator[Any]:
        self._cupy.cuda.Device().synchronize()
        graph = SimpleNamespace(replay=None)
        stream = self._cupy.cuda.Stream(non_blocking=True)
        with stream:
            stream.begin_capture()
            try:
                yield graph
            finally:
                captured = stream.end_capture()

        def replay() -> None:
            self._cupy.cuda.Device().synchronize()
            captured.launch(stream)
            stream.synchronize()

        graph.replay = replay

    def check(self) -> None:
        self._cupy.cuda.Device().synchronize()

    @property
    def devices(self) -> int:
        return int(self._cupy.cuda.runtime.getDeviceCount())


@pytest.fixture(name="device", params=["emulated", pytest.param("gpu", marks=pytest.mark.gpu)])
def device_fixture(request: pytest.FixtureRequest) -> Iterator[Any]:
    """Makes fastopt use the device."""
    if request.param == "emulated":
        if not can_build():
            pytest.skip(f"the emulation needs Linux and {COMPILER}")
        device: Any = Emulated()
    else:
        try:
            device = Real()
        except CudaError as error:
            pytest.skip(str(error))
    before = use(device.driver)
    yield device
    use(before)
    device.check()


class Claim:
    """Somebody else's array over the memory of `array`, with `words` in place of some entries of its interface."""

    def __init__(self, array: Any, **words: Any) -> None:
        self.device = SimpleNamespace(id=int(array.device.id))
        self.kept = array
        self.__cuda_array_interface__ = {**array.__cuda_array_interface__, "stream": None, **words}


def flat(value: Any) -> Iterator[Any]:
    """The arrays of a nest of lists and dicts."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        for each in value:
            yield from flat(each)
    elif hasattr(value, "shape"):
        yield value


def assert_same(actual: Array, expected: Array, where: Any) -> None:
    """Asserts that two arrays have the same bytes; a NaN equals any NaN."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert (actual.dtype, actual.shape) == (expected.dtype, expected.shape), where
    size = np.dtype(f"u{actual.itemsize}")
    same = np.ascontiguousarray(actual).reshape(-1).view(size) == np.ascontiguousarray(expected).reshape(-1).view(size)
    if actual.dtype.kind == "f" or actual.dtype.name == "bfloat16":
        same |= (np.isnan(actual) & np.isnan(expected)).reshape(-1)
    bad = np.flatnonzero(~same)
    found = f"{actual.reshape(-1)[bad[:3]]}, expected {expected.reshape(-1)[bad[:3]]}"
    assert bad.size == 0, f"{where}: {bad.size} of {same.size} differ, first at {bad[:3]}: {found}"


class Both:
    """The same optimizer twice: `cpu` over arrays of NumPy, and `gpu` over copies of them on a device."""

    def __init__(self, device: Any, rule: str, params: Any, *, copy_to: Any = None, grads: Any = None, **arguments: Any) -> None:
        self.device = device
        self._offsets = itertools.cycle(STAGGER)
        make = getattr(fastopt, rule)
        there = {name: self.placed(value) for name, value in (("params", params), ("copy_to", copy_to), ("grads", grads))}
        self.cpu = make(params, copy_to=copy_to, grads=grads, **arguments)
        self.gpu = make(there["params"], copy_to=there["copy_to"], grads=there["grads"], **arguments)
        self.params = [each for group in self.gpu.groups for each in group["params"]]
        self.copies = there["copy_to"]
        self.bound = there["grads"]
        self._pairs = list(zip(flat([params, copy_to, grads]), flat([there["params"], self.copies, self.bound]), strict=True))

    def placed(self, value: Any) -> Any:
        """A nest of arrays, copied to the device; numbers and names stay."""
        if isinstance(value, np.ndarray):
            return self.device.array(value, next(self._offsets))
        if isinstance(value, dict):
            return {key: self.placed(each) for key, each in value.items()}
        if isinstance(value, (list, tuple)):
            return type(value)(self.placed(each) for each in value)
        return value

    def step(self, grads: Any = None, where: Any = "", **options: Any) -> None:
        """Steps on both sides, and compares."""
        there = self.placed(grads)
        self.both(lambda optimizer, given: optimizer.step(given, **options), grads, there)
        pairs = list(zip(flat(grads), flat(there), strict=True))
        self.assert_equal(where, pairs)

    def both(self, call: Callable[..., None], *given: Any) -> None:
        """Makes a call on both sides, with an argument of `given` for each."""
        cpu, gpu = given or (None, None)
        with np.errstate(all="ignore"):
            call(self.cpu, cpu)
        call(self.gpu, gpu)

    def assert_equal(self, where: Any = "", pairs: Iterable[tuple[Array, Any]] = ()) -> None:
        """Asserts that every array and every count are the same on both sides."""
        cpu, gpu, host = self.cpu, self.gpu, self.device.host
        for i, (expected, there) in enumerate([*self._pairs, *pairs]):
            assert_same(host(there), expected, (where, "array", i))
        for i, (expected, there) in enumerate(zip(cpu.state, gpu.state, strict=True)):
            assert list(expected) == list(there)
            for key, value in expected.items():
                self._assert_same_entry(there[key], value, (where, i, key))
        for i, (expected, there) in enumerate(zip(flat(cpu.ema_params), flat(gpu.ema_params), strict=True)):
            assert_same(host(there), expected, (where, "average", i))
        assert (cpu.ema_params is None) == (gpu.ema_params is None)
        assert (gpu.steps, gpu.skipped_steps) == (cpu.steps, cpu.skipped_steps), where
        norms = [np.array([np.nan if norm is None else norm]) for norm in (gpu.grad_norm, cpu.grad_norm)]
        assert (gpu.grad_norm is None) == (cpu.grad_norm is None), where
        assert_same(*norms, (where, "grad_norm"))
        self.device.check()

    def _assert_same_entry(self, there: Any, expected: Any, where: Any) -> None:
        if isinstance(expected, Stored):
            assert (there.format, there.shape) == (expected.format, expected.shape), where
            for name, raw in expected.raw.items():
                assert_same(self.device.host(there.raw[name]), raw, (where, name))
            assert_same(np.asarray(there), np.asarray(expected), where)
        elif isinstance(expected, np.ndarray):
            assert_same(self.device.host(there), expected, where)
        else:
            assert there == expected, where
