"""torch's CUDA tensors: on a GPU where there is one, else played by tensors whose memory the emulated device knows."""

from __future__ import annotations

from collections.abc import Iterator
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
