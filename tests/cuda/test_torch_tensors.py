"""torch's CUDA tensors: on a GPU if there is one, else played by tensors whose memory the emulated device knows."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import fastopt
from fastopt._arrays import driver
from tests.support.emulated_cuda import EmulatedDriver, array, check_guards

torch = pytest.importorskip("torch", reason="torch is not installed")

STREAM = 77


class Played(torch.Tensor):
    """A tensor that says that it is on a GPU."""

    is_cuda = True
    device = SimpleNamespace(index=0)

    def get_device(self) -> int:
        return 0


class Device:
    """Makes tensors on it, and keeps their memory."""

    def __init__(self) -> None:
        self.driver = EmulatedDriver()
        self._kept: list[Any] = []

    def tensor(self, values: Any) -> Any:
        is_bfloat16 = values.dtype == torch.bfloat16
        self._kept.append(array((values.view(torch.uint16) if is_bfloat16 else values).numpy()))
        held = torch.from_numpy(self._kept[-1].host)
        return (held.view(torch.bfloat16) if is_bfloat16 else held).as_subclass(Played)


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Iterator[Device]:
    made = Device()
    before = driver.use(made.driver)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: SimpleNamespace(cuda_stream=STREAM))
    yield made
    driver.use(before)
    check_guards()


def plain(tensor: Any) -> Any:
    return tensor.as_subclass(torch.Tensor)


FORMATS = [("float32", {}), ("bfloat16", {"master": "24bit", "state_dtype": "8bit"})]


@pytest.mark.parametrize(("dtype", "formats"), FORMATS)
def test_tensors_take_the_step_on_torchs_stream(device: Device, dtype: str, formats: dict[str, Any]) -> None:
    torch.manual_seed(0)
    p, g = (torch.randn(1000).to(getattr(torch, dtype)) for _ in range(2))
    on_device, grad = device.tensor(p), device.tensor(g)
    here, there = fastopt.AdamW(p, lr=0.1, **formats), fastopt.AdamW(on_device, lr=0.1, **formats)
    for _ in range(3):
        here.step(g)
        there.step(grad)
    assert torch.equal(p, plain(on_device))
    assert {launch[3] for launch in device.driver.launches} == {STREAM}


def test_a_tensor_that_got_other_memory_is_seen(device: Device) -> None:
    p, g = torch.ones(300), torch.ones(300)
    on_device, grad = device.tensor(p), device.tensor(g)
    here, there = fastopt.SGD(p, lr=0.1), fastopt.SGD(on_device, lr=0.1)
    there.step(grad)
    grad.data = device.tensor(torch.full((300,), 2.0))
    there.step(grad)
    here.step(g)
    here.step(2 * g)
    assert torch.equal(p, plain(on_device))


BAD = {
    "requires grad": (lambda d: d.tensor(torch.zeros(4)).requires_grad_(), TypeError, "requires grad"),
    "complex": (lambda d: d.tensor(torch.zeros(4, dtype=torch.complex64)), TypeError, "complex64"),
    "transposed": (lambda d: d.tensor(torch.zeros(4, 5)).t(), ValueError, "C-contiguous"),
    "integers": (lambda d: d.tensor(torch.zeros(4, dtype=torch.int32)), TypeError, "int32"),
}


@pytest.mark.parametrize("case", BAD)
def test_tensors_that_will_not_do(device: Device, case: str) -> None:
    make, error, words = BAD[case]
    with pytest.raises(error, match=f"params: got .*{words}"):
        fastopt.AdamW(make(device))


# ---- Memory that moves -----------------------------------------------------------------------------------------------


def freed(device: Device, tensor: Any) -> Any:
    """A tensor of the same shape whose storage was freed."""
    result = torch.ones_like(plain(tensor)).as_subclass(Played)
    result.untyped_storage().resize_(0)
    return result


def shortened(device: Device, tensor: Any) -> Any:
    """A tensor of the same shape whose storage ends in its middle."""
    result = torch.ones_like(plain(tensor)).as_subclass(Played)
    result.untyped_storage().resize_(tensor.nbytes // 2)
    return result


MOVES: dict[str, tuple[Callable[[Device, Any], Any], type[Exception], str]] = {
    "other memory": (
        lambda d, t: setattr(t, "data", d.tensor(torch.ones(4, 4))),
        ValueError,
        "got other memory than when the optimizer was built, expected the same at every step: copy values into the array",
    ),
    "other memory of another shape": (
        lambda d, t: setattr(t, "data", d.tensor(torch.ones(2))),
        ValueError,
        "got shape (2,), expected (4, 4) as when the optimizer was built",
    ),
    "set_": (lambda d, t: t.set_(d.tensor(torch.ones(4, 4))), ValueError, "got other memory"),
    "resize_": (lambda d, t: t.resize_(3, 4), ValueError, "got shape (3, 4), expected (4, 4)"),
    "a transposition in place": (lambda d, t: t.t_(), ValueError, "got strides (4, 16), expected (16, 4)"),
    "a freed storage": (
        lambda d, t: setattr(t, "data", freed(d, t)),
        TypeError,
        "got a Played without memory for its values, freed",
    ),
    "a shortened storage": (lambda d, t: setattr(t, "data", shortened(d, t)), TypeError, "got a Played without memory"),
}
PLACES = {"params[1]": 0, "copy_to[1]": 1, "grads[1]": 2, "lr": 3}


@pytest.mark.parametrize("move", MOVES)
@pytest.mark.parametrize("name", PLACES)
def test_what_is_bound_and_moved_is_refused_by_name(device: Device, name: str, move: str) -> None:
    """And nothing is written; when the memory is back, steps go on."""
    params, copies, grads = ([device.tensor(torch.ones(4, 4)) for _ in range(2)] for _ in range(3))
    lr = device.tensor(torch.ones(1)).expand(1)
    opt = fastopt.SGD(params, lr=lr, copy_to=copies, grads=grads)
    opt.step()
    before = [plain(each).clone() for each in (*params, *copies)]
    target = [params[1], copies[1], grads[1], lr][PLACES[name]]
    kept = target.data
    if name == "lr":
        target.data = device.tensor(torch.ones(1))
        error, words = ValueError, "got other memory"
    else:
        call, error, words = MOVES[move]
        call(device, target)
    with pytest.raises(error, match=f"^{re.escape(f'{name}: {words}')}"):
        opt.step()
    if not name.startswith("grads"):
        with pytest.raises(error, match=f"^{re.escape(name)}: "):
            opt.step_part(0, device.tensor(torch.ones(4, 4)))
    target.data = kept
    assert all(torch.equal(plain(a), b) for a, b in zip((*params, *copies), before, strict=True))
    assert opt.steps == 1
    opt.step()
    assert (plain(params[1]) == -1).all()


def test_memory_that_an_array_of_another_library_changed_is_refused(device: Device) -> None:
    class Doubled:
        """An array that changes between two places, as double buffers do."""

        def __init__(self) -> None:
            self.places, self.at = [array(np.zeros(300, np.float32)) for _ in range(2)], 0

        @property
        def __cuda_array_interface__(self) -> dict[str, Any]:
            return self.places[self.at].__cuda_array_interface__

    param = Doubled()
    opt = fastopt.SGD(param, lr=1.0)
    opt.step(array(np.ones(300, np.float32)))
    param.at = 1
    with pytest.raises(ValueError, match=r"^params: got other memory than when the optimizer was built"):
        opt.step(array(np.ones(300, np.float32)))
    assert (param.places[0].host == -1).all()
    assert (param.places[1].host == 0).all()


WITHOUT_MEMORY: dict[str, Callable[[Device], Any]] = {
    "freed": lambda d: freed(d, torch.ones(300)),
    "shortened": lambda d: shortened(d, torch.ones(300)),
    "zeros without memory": lambda d: torch._efficientzerotensor(300).as_subclass(Played),
}


@pytest.mark.parametrize("case", WITHOUT_MEMORY)
def test_a_gradient_without_memory_is_refused(device: Device, case: str) -> None:
    """It would be read as leftovers of other memory, or as no gradient."""
    param = device.tensor(torch.ones(300))
    opt = fastopt.SGD([param], lr=0.1)
    with pytest.raises(TypeError, match=r"^grads\[0\]: got a Played without memory for its values"):
        opt.step([WITHOUT_MEMORY[case](device)])
    assert (plain(param) == 1).all()
    assert opt.steps == 0


def test_a_fake_tensor_is_refused(device: Device) -> None:
    from torch._subclasses import FakeTensorMode

    with FakeTensorMode():
        fake = torch.ones(300, device="cuda")
    with pytest.raises(TypeError, match=r"^params: got a FakeTensor without memory for its values"):
        fastopt.SGD(fake, lr=0.1)
    opt = fastopt.SGD(device.tensor(torch.ones(300)), lr=0.1)
    with pytest.raises(TypeError, match=r"^grads: got a FakeTensor without memory for its values"):
        opt.step(fake)


@pytest.mark.gpu
@pytest.mark.parametrize(("dtype", "formats"), FORMATS)
def test_on_a_gpu(dtype: str, formats: dict[str, Any]) -> None:
    if not torch.cuda.is_available():
        pytest.skip("torch sees no GPU")
    torch.manual_seed(0)
    p, g = (torch.randn(100_003).to(getattr(torch, dtype)) for _ in range(2))
    on_device, grad = p.cuda(), g.cuda()
    here, there = fastopt.AdamW(p, lr=0.1, max_norm=1.0, **formats), fastopt.AdamW(on_device, lr=0.1, max_norm=1.0, **formats)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        here.step(g)
        there.step(grad)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=stream):
            there.step(grad)
        for _ in range(3):
            here.step(g)
            graph.replay()
    torch.cuda.synchronize()
    assert torch.equal(p, on_device.cpu())
    assert there.steps == here.steps == 4
    assert np.float64(there.grad_norm) == here.grad_norm
