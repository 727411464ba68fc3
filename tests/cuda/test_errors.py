"""What is refused of arrays on a GPU, with which words, and that nothing is changed then; and machines without a GPU."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import pytest

import fastopt
from fastopt._arrays import driver
from fastopt._arrays.driver import CudaError
from tests.support.arrays import gradients
from tests.support.devices import Both, Claim
from tests.support.processes import run_python

N = 6


def pointer(array: Any) -> int:
    return int(array.__cuda_array_interface__["data"][0])


def of(device: Any, dtype: Any = np.float32, n: int = N) -> Any:
    return device.array(np.ones(n, dtype))


def claim(device: Any, **words: Any) -> Claim:
    """Over memory that has room for it."""
    return Claim(of(device, np.float64, 4 * N), shape=(N,), typestr="<f4", **words)


def misaligned(device: Any) -> Claim:
    memory = of(device, np.float64, 4 * N)
    return Claim(memory, shape=(N,), typestr="<f4", data=(pointer(memory) + 2, False))


def masked(device: Any) -> Claim:
    return claim(device, mask=of(device, np.uint8))


BAD_ARRAYS: dict[str, tuple[Callable[[Any], Any], type[Exception], str]] = {
    "every second": (
        lambda d: claim(d, strides=(8,)),
        ValueError,
        "got strides (8,) for shape (6,), expected a C-contiguous array",
    ),
    "reversed": (lambda d: claim(d, strides=(-4,)), ValueError, "got strides (-4,)"),
    "broadcast": (lambda d: claim(d, strides=(0,)), ValueError, "got strides (0,)"),
    "misaligned": (misaligned, ValueError, "got elements that are not aligned to 4 bytes"),
    "foreign byte order": (lambda d: Claim(of(d), typestr=">f4"), ValueError, "got foreign byte order (>f4), expected native"),
    "integers": (lambda d: of(d, np.int32), TypeError, "got dtype int32, expected"),
    "booleans": (lambda d: of(d, bool), TypeError, "got dtype bool, expected"),
    "complex": (lambda d: of(d, np.complex64), TypeError, "got dtype complex64, expected"),
    "16 bits that are no number": (lambda d: of(d, np.uint16), TypeError, "got dtype uint16, expected"),
    "masked": (masked, TypeError, "got a masked array, whose mask a step would ignore"),
}
BAD_GRADIENTS = BAD_ARRAYS | {
    "too wide": (
        lambda d: of(d, np.float64),
        TypeError,
        "got dtype float64, expected float32, bfloat16 or float16, since params[2]",
    ),
    "too short": (lambda d: of(d, n=5), ValueError, "got shape (5,), expected (6,) as params[2] has"),
    "empty": (lambda d: of(d, n=0), ValueError, "got shape (0,), expected (6,)"),
    "of another shape": (lambda d: d.array(np.ones((2, 3), np.float32)), ValueError, "got shape (2, 3), expected (6,)"),
}


class Scene:
    """An optimizer of three tensors that has made a step."""

    def __init__(self, device: Any, rng: np.random.Generator) -> None:
        self.device = device
        self.both = Both(device, "AdamW", [gradients(N, np.float32, rng) for _ in range(3)], ema_decay=0.9)
        self.both.step([gradients(N, np.float32, rng) for _ in range(3)])
        self.good = [of(device) for _ in range(3)]

    def refuses(self, call: Callable[[], Any], error: type[Exception], words: str) -> None:
        with pytest.raises(error, match=re.escape(words)):
            call()
        self.both.assert_equal("nothing changed")


@pytest.fixture
def scene(device: Any, rng: np.random.Generator) -> Scene:
    return Scene(device, rng)


@pytest.mark.parametrize("case", BAD_GRADIENTS)
def test_bad_gradients(scene: Scene, case: str) -> None:
    """The last of three, so that a step that had begun would show."""
    make, error, words = BAD_GRADIENTS[case]
    bad = make(scene.device)
    scene.refuses(lambda: scene.both.gpu.step([*scene.good[:2], bad]), error, f"grads[2]: {words}")


@pytest.mark.parametrize("case", BAD_ARRAYS)
def test_bad_parameters_and_copies(scene: Scene, case: str) -> None:
    make, error, words = BAD_ARRAYS[case]
    device, kind = scene.device, type(scene.both.gpu)
    scene.refuses(lambda: kind([of(device), make(device)]), error, f"params[1]: {words}")
    scene.refuses(lambda: kind([of(device)], copy_to=[make(device)]), error, f"copy_to[0]: {words}")


@pytest.mark.parametrize("case", BAD_ARRAYS)
def test_bad_gradients_of_functions(device: Any, case: str) -> None:
    make, error, words = BAD_ARRAYS[case]
    with pytest.raises(error, match=re.escape(f"grads: {words}")):
        fastopt.global_norm(make(device))
    param = of(device)
    with pytest.raises(error, match=re.escape(f"grad: {words}")):
        fastopt.functional.sgd(param, make(device), step=1, lr=0.1)
    assert device.host(param).tolist() == [1.0] * N


def test_read_only_arrays(scene: Scene) -> None:
    memory = of(scene.device)
    read_only = Claim(memory, data=(pointer(memory), True))
    words = "got a read-only array, expected a writable one"
    scene.refuses(lambda: type(scene.both.gpu)(read_only), ValueError, f"params: {words}")
    scene.refuses(lambda: type(scene.both.gpu)(of(scene.device), copy_to=read_only), ValueError, f"copy_to: {words}")
    grads = [*scene.good[:2], read_only]
    scene.refuses(lambda: scene.both.gpu.step(grads, zero_grad=True), ValueError, f"grads[2]: {words}")
    scene.both.gpu.step(grads)
    scene.both.cpu.step([np.ones(N, np.float32) for _ in grads])
    scene.both.assert_equal("read alone")
    scene.refuses(lambda: scene.both.gpu.step(grads, zero_grad=True), ValueError, f"grads[2]: {words}")


def test_overlaps(scene: Scene) -> None:
    device, gpu, good = scene.device, scene.both.gpu, scene.good
    both = of(device, n=2 * N)
    low, high = (Claim(both, shape=(N,), data=(pointer(both) + 4 * k, False)) for k in (0, N - 1))
    average = gpu.ema_params[2]
    for grads, words in {
        "the same": ([good[0], good[1], good[1]], "grads[2]: got the same memory as grads[1]"),
        "overlapping": ([good[0], low, high], "grads[2]: got memory that overlaps grads[1]"),
        "a parameter": ([*good[:2], scene.both.params[0]], "grads[2]: got the same memory as params[0]"),
        "a state": ([*good[:2], gpu.state[1]["exp_avg"]], "grads[2]: got the same memory as state of params[1]: exp_avg"),
        "an average": ([*good[:2], average], "grads[2]: got the same memory as the average of params[2]"),
    }.values():
        scene.refuses(lambda grads=grads: gpu.step(grads, zero_grad=True), ValueError, words)
    scene.refuses(lambda: type(gpu)([low, high]), ValueError, "params[1]: got memory that overlaps params[0]")
    scene.refuses(lambda: type(gpu)([low], copy_to=[high]), ValueError, "copy_to[0]: got memory that overlaps params[0]")


BAD_RATES: dict[str, tuple[Callable[[Any], Any], str]] = {
    "two": (lambda d: of(d, np.float64, 2), "lr: got an array of float64, shape (2,), expected one number of float32 or float64"),
    "none": (lambda d: of(d, np.float64, 0), "lr: got an array of float64, shape (0,), expected one number"),
    "float16": (lambda d: of(d, np.float16, 1), "lr: got an array of float16, shape (1,), expected one number"),
    "integer": (lambda d: of(d, np.int64, 1), "lr: got an array of int64, shape (1,), expected one number"),
    "foreign byte order": (
        lambda d: Claim(of(d, np.float64, 1), typestr=">f8"),
        "lr: got foreign byte order (>f8), expected native",
    ),
    "misaligned": (
        lambda d: Claim(memory := of(d, np.float64, 2), shape=(1,), data=(pointer(memory) + 4, False)),
        "lr: got elements that are not aligned to 8 bytes",
    ),
}


@pytest.mark.parametrize("case", BAD_RATES)
def test_bad_learning_rates(scene: Scene, case: str) -> None:
    make, words = BAD_RATES[case]
    rate = make(scene.device)
    scene.refuses(lambda: scene.both.gpu.groups[0].update(lr=rate, weight_decay=0.5), ValueError, words)
    scene.refuses(lambda: type(scene.both.gpu)([of(scene.device)], lr=rate), ValueError, words)
    assert scene.both.gpu.groups[0]["weight_decay"] == scene.both.cpu.groups[0]["weight_decay"]


def test_bad_snapshots(scene: Scene) -> None:
    """Whose arrays are on the device."""
    device, gpu = scene.device, scene.both.gpu
    snapshot = gpu.state_dict()
    wide = of(device, n=2 * N)
    for bad, error, words in (
        (of(device, np.float64), TypeError, "state_dict['state'][0]['exp_avg']: got dtype float64, expected float32"),
        (of(device, n=5), ValueError, "state_dict['state'][0]['exp_avg']: got shape (5,), expected (6,)"),
        (Claim(wide, shape=(N,), strides=(8,)), ValueError, "state_dict['state'][0]['exp_avg']: got strides (8,)"),
    ):
        entries = [{**snapshot["state"][0], "exp_avg": bad}, *snapshot["state"][1:]]
        scene.refuses(lambda entries=entries: gpu.load_state_dict({**snapshot, "state": entries, "steps": 9}), error, words)


def test_flat_buffers_are_of_the_cpu(device: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="cuda:0"):
        fastopt.flatten([of(device)])


# ---- Without a GPU ---------------------------------------------------------------------------------------------------


class Fake:
    """What CuPy's arrays claim."""

    __cuda_array_interface__: ClassVar[dict[str, Any]] = {"shape": (N,), "typestr": "<f4", "data": (4096, False), "version": 3}


@pytest.fixture
def no_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    """Puts the process back to where no CUDA array has come yet."""
    monkeypatch.setattr(driver, "_driver", None)


CALLS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "params": (lambda array: fastopt.AdamW([np.ones(N, np.float32), array]), "params[1]"),
    "grads": (lambda array: fastopt.SGD(np.ones(N, np.float32), lr=0.1).step(array), "grads"),
    "copy_to": (lambda array: fastopt.SGD(np.ones(N, np.float32), lr=0.1, copy_to=array), "copy_to"),
    "lr": (lambda array: fastopt.SGD(np.ones(N, np.float32), lr=array), "lr"),
    "part": (lambda array: fastopt.SGD(np.ones(N, np.float32), lr=0.1).step_part(0, array), "grad"),
    "norm": (fastopt.global_norm, "grads"),
    "function": (lambda array: fastopt.functional.sgd(array, array, step=1, lr=0.1), "param"),
}


@pytest.mark.usefixtures("no_driver")
@pytest.mark.parametrize("case", CALLS)
def test_without_cupy(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cupy", None)
    call, name = CALLS[case]
    words = f'{name}: got Fake on a CUDA device: a CUDA array needs CuPy: pip install ".[cuda13]" in the folder of fastopt\'s clone, or ".[cuda12]"'
    with pytest.raises(CudaError, match=f"^{re.escape(words)}") as caught:
        call(Fake())
    assert isinstance(caught.value, TypeError)
    assert fastopt.SGD(np.ones(3), lr=0.1).step(np.ones(3)) is None


@pytest.mark.usefixtures("no_driver")
@pytest.mark.parametrize("case", CALLS)
def test_without_a_driver(case: str) -> None:
    cupy = pytest.importorskip("cupy", exc_type=ImportError)
    try:
        cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError:
        pass
    else:
        pytest.skip("there is one")
    call, name = CALLS[case]
    words = f"{name}: got Fake on a CUDA device: a CUDA array needs a GPU and a driver that CuPy {cupy.__version__} can use"
    with pytest.raises(CudaError, match=f"^{re.escape(words)}") as caught:
        call(Fake())
    assert 'pip install ".[cuda12]"' in str(caught.value)


def test_importing_does_not_import_cupy() -> None:
    code = """
import sys, numpy, fastopt
fastopt.AdamW([numpy.ones(3)], max_norm=1.0).step([numpy.ones(3)])
fastopt.global_norm(numpy.ones(3))
print([name for name in ("cupy", "cuda", "torch", "fastopt._cuda.plan", "fastopt._cuda.compiler") if name in sys.modules])
"""
    done = run_python(code)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


class Doubled:
    """Another library's array that changes between two places, as double buffers do."""

    def __init__(self, *places: Any) -> None:
        self.places, self.at, self.stream = places, 0, None

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {**self.places[self.at].__cuda_array_interface__, "stream": self.stream}


def test_an_array_that_changed_its_memory_is_seen(device: Any) -> None:
    p = device.array(np.zeros(300, np.float32))
    g = Doubled(device.array(np.ones(300, np.float32)), device.array(np.full(300, 100, np.float32)))
    opt = fastopt.SGD(p, lr=1.0)
    opt.step(g)
    g.at = 1
    opt.step(g)
    assert (device.host(p) == -101).all()
