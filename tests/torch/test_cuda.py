"""fastopt.torch on a GPU: a real one where there is one, else torch's tensors over the emulated device's memory."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from fastopt._arrays import driver
from tests.support.emulated_cuda import EmulatedDriver, array, check_guards

torch = pytest.importorskip("torch", reason="torch is not installed")

import fastopt.torch  # noqa: E402  # it needs torch
from fastopt.torch import binding, coded, state, views  # noqa: E402

STREAM = 77
CUDA = torch.device("cuda", 0)


class Played(torch.Tensor):
    """A tensor on the emulated GPU; what is computed from it is torch's and on the CPU."""

    is_cuda = True
    device = CUDA

    def get_device(self) -> int:
        return 0

    def cpu(self) -> Any:
        return self.detach().as_subclass(torch.Tensor).clone()


class Device:
    """Makes tensors on it, and keeps their memory."""

    is_emulated = True

    def __init__(self) -> None:
        self.driver = EmulatedDriver()
        self._kept: list[Any] = []

    def tensor(self, values: Any) -> Any:
        """With the layout of `values`."""
        flat = values.as_strided((values.numel(),), (1,))
        is_bfloat16 = values.dtype == torch.bfloat16
        self._kept.append(array((flat.view(torch.uint16) if is_bfloat16 else flat).numpy()))
        held = torch.from_numpy(self._kept[-1].host)
        held = (held.view(torch.bfloat16) if is_bfloat16 else held).as_strided(values.shape, values.stride())
        return held.as_subclass(Played)

    def parameter(self, values: Any) -> Any:
        return self.tensor(values).requires_grad_()

    def host(self, tensor: Any) -> Any:
        return tensor.detach().as_subclass(torch.Tensor)


def patch(monkeypatch: pytest.MonkeyPatch, made: Device) -> None:
    """What torch would do on a GPU."""

    like_there, zeros_there = views.like, coded.Coded.zeros

    def like(param: Any, dtype: Any) -> Any:
        if not isinstance(param, Played):
            return like_there(param, dtype)
        return made.tensor(torch.zeros_like(made.host(param), dtype=dtype, memory_format=torch.preserve_format))

    def codes(cls: Any, format: str, like: Any) -> Any:
        if not isinstance(like, Played):
            return zeros_there(format, like)
        blocks = -(-like.numel() // 256)
        held = made.tensor(torch.zeros(blocks, 256, dtype=torch.uint8)), made.tensor(torch.zeros(blocks, dtype=torch.int32))
        return cls(format, *held, tuple(like.shape), like.stride())

    def as_tensor(view: Any) -> Any:
        memory = (ctypes.c_char * 8).from_address(view.pointer)
        return torch.from_numpy(np.frombuffer(memory, view.dtype).reshape(())).as_subclass(Played)

    for module in (views, state, binding):
        monkeypatch.setattr(module, "like", like)
    monkeypatch.setattr(coded.Coded, "zeros", classmethod(codes))
    monkeypatch.setattr(binding, "as_tensor", as_tensor)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: SimpleNamespace(cuda_stream=STREAM))


class Real:
    is_emulated = False

    def tensor(self, values: Any) -> Any:
        return values.cuda()

    def parameter(self, values: Any) -> Any:
        return values.cuda().requires_grad_()

    def host(self, tensor: Any) -> Any:
        return tensor.detach().cpu()


@pytest.fixture(params=["emulated", pytest.param("gpu", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    if request.param == "gpu":
        if not torch.cuda.is_available():
            pytest.skip("torch sees no GPU")
        yield Real()
        return
    made = Device()
    before = driver.use(made.driver)
    patch(monkeypatch, made)
    yield made
    driver.use(before)
    check_guards()


SHAPES = [(33, 17), (300,), (), (4, 3, 5, 5), (0, 3)]
FORMATS: list[tuple[str, dict[str, Any]]] = [
    ("float32", {}),
    ("float32", {"state_dtype": "8bit", "ema_decay": 0.9}),
    ("bfloat16", {"master": "24bit", "state_dtype": "8bit", "seed": 3}),
    ("float16", {"master": "float32", "state_dtype": "bfloat16", "max_norm": 1.0}),
]


def values(dtype: str) -> list[Any]:
    made = [torch.randn(shape).to(getattr(torch, dtype)) for shape in SHAPES]
    made[3] = made[3].to(memory_format=torch.channels_last)
    return [*made, torch.randn(7, 9).to(getattr(torch, dtype)).t()]


def both(device: Any, rule: str, dtype: str, **arguments: Any) -> tuple[Any, Any, Any, Any]:
    """Parameters on the CPU and on the GPU, and their optimizers."""
    start = values(dtype)
    here, there = [each.clone().requires_grad_() for each in start], [device.parameter(each) for each in start]
    make = getattr(fastopt.torch, rule)
    return here, there, make(here, **arguments), make(there, **arguments)


def give(device: Any, here: list[Any], there: list[Any], leave_out: tuple[int, ...] = ()) -> None:
    """New gradients, the same on both sides."""
    for i, (p, q) in enumerate(zip(here, there, strict=True)):
        p.grad = None if i in leave_out else torch.randn_like(p)
        set_grad(q, None if p.grad is None else device.tensor(p.grad))


def set_grad(param: Any, grad: Any) -> None:
    """Sets the gradient as backward() does."""
    torch.Tensor.grad.__set__(param, grad)


def assert_same(device: Any, here: list[Any], there: list[Any]) -> None:
    for p, q in zip(here, there, strict=True):
        assert torch.equal(p.detach(), device.host(q))


@pytest.mark.parametrize(("dtype", "formats"), FORMATS, ids=str)
@pytest.mark.parametrize("rule", ["AdamW", "NAdam", "RMSprop"])
def test_the_bits_are_the_cpus(device: Any, rule: str, dtype: str, formats: dict[str, Any]) -> None:
    torch.manual_seed(0)
    here, there, ours, theirs = both(device, rule, dtype, lr=0.01, **formats)
    for leave_out in ((), (1, 3), ()):
        give(device, here, there, leave_out)
        ours.step()
        theirs.step()
    assert_same(device, here, there)
    assert [float(theirs.state[q]["step"]) for q in there] == [3, 2, 3, 2, 3, 3]
    for p, q in zip(here, there, strict=True):
        assert ours.state[p].keys() == theirs.state[q].keys()


def test_steps_run_on_torchs_stream_and_wait_for_nothing(device: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    if not device.is_emulated:
        pytest.skip("the emulated driver counts")
    here, there, ours, theirs = both(device, "AdamW", "float32", max_norm=1.0, skip_nonfinite=True)
    give(device, here, there)
    theirs.step()
    before = len(device.driver.launches)
    for call in ("read", "synchronize", "zeros"):
        monkeypatch.setattr(device.driver, call, lambda *args: pytest.fail("it waits, or allocates"))
    for lr in (0.1, 0.2, 0.2):
        give(device, here, there)
        theirs.param_groups[0]["lr"] = lr
        theirs.step()
    launches = device.driver.launches[before:]
    assert {launch[3] for launch in launches} == {STREAM}
    names = [launch[0] for launch in launches if launch[0] != "write"]
    assert len(names) == 6  # a sweep and a step for all tensors
    assert ours.skipped_steps == 0


def test_hyperparameters_and_lr_on_the_gpu(device: Any) -> None:
    torch.manual_seed(1)
    here, there, ours, theirs = both(device, "Adam", "float32")
    lr = device.tensor(torch.tensor(0.25))
    theirs.param_groups[0]["lr"] = lr
    for rate, betas in ((0.25, (0.9, 0.999)), (0.5, (0.8, 0.99)), (0.125, (0.9, 0.999))):
        give(device, here, there)
        ours.param_groups[0].update(lr=rate, betas=betas)
        theirs.param_groups[0]["betas"] = betas
        device.host(lr).fill_(rate) if device.is_emulated else lr.fill_(rate)
        ours.step()
        theirs.step()
    assert_same(device, here, there)


def test_counts_are_live_and_can_be_written(device: Any) -> None:
    torch.manual_seed(2)
    here, there, ours, theirs = both(device, "NAdam", "float32")
    for _ in range(2):
        give(device, here, there)
        ours.step()
        theirs.step()
    step = theirs.state[there[0]]["step"]
    assert step.dtype == torch.int64
    assert int(step) == 2
    assert float(theirs.state[there[0]]["mu_product"]) == float(ours.state[here[0]]["mu_product"])
    device.host(step).fill_(7) if device.is_emulated else step.fill_(7)
    ours.state[here[0]]["step"].fill_(7)
    give(device, here, there)
    ours.step()
    theirs.step()
    assert int(theirs.state[there[0]]["step"]) == 8
    assert_same(device, here, there)


def test_checkpoints_go_between_devices(device: Any) -> None:
    torch.manual_seed(3)
    here, there, ours, theirs = both(device, "AdamW", "float32", ema_decay=0.5)
    for _ in range(2):
        give(device, here, there)
        ours.step()
        theirs.step()
    saved = theirs.state_dict()
    assert {entry["step"].dtype for entry in saved["state"].values()} == {torch.float32}
    assert {entry["step"].device.type for entry in saved["state"].values()} == {"cpu"}
    again = fastopt.torch.AdamW(here, ema_decay=0.5)
    again.load_state_dict({**saved, "state": {k: on_host(device, entry) for k, entry in saved["state"].items()}})
    give(device, here, there)
    again.step()
    theirs.step()
    assert_same(device, here, there)
    theirs.load_state_dict(again.state_dict())
    give(device, here, there)
    again.step()
    theirs.step()
    assert_same(device, here, there)


def on_host(device: Any, entry: dict[str, Any]) -> dict[str, Any]:
    return {key: value if key == "step" else device.host(value) for key, value in entry.items()}


def test_a_skipped_step_counts_nothing(device: Any) -> None:
    torch.manual_seed(4)
    here, there, ours, theirs = both(device, "AdamW", "float32", skip_nonfinite=True)
    for bad in (False, True, False):
        give(device, here, there)
        if bad:
            here[1].grad[5] = float("inf")
            set_grad(there[1], device.tensor(here[1].grad))
        ours.step()
        theirs.step()
    assert_same(device, here, there)
    assert theirs.skipped_steps == 1
    assert int(theirs.state[there[0]]["step"]) == 2


def test_a_scaler_of_a_fused_optimizer_is_not_waited_for(device: Any) -> None:
    torch.manual_seed(5)
    here, there, ours, theirs = both(device, "AdamW", "float32", fused=True)
    for found in (0.0, 1.0, 0.0):
        give(device, here, there)
        if found:
            here[0].grad[0, 0] = float("nan")
            set_grad(there[0], device.tensor(here[0].grad))
        for optimizer, place in ((ours, lambda t: t), (theirs, device.tensor)):
            optimizer.grad_scale, optimizer.found_inf = place(torch.tensor(8.0)), place(torch.tensor(found))
            optimizer.step()
    assert_same(device, here, there)
    assert theirs.skipped_steps == 1


def test_a_parameter_that_got_other_memory_is_seen(device: Any) -> None:
    torch.manual_seed(6)
    here, there, ours, theirs = both(device, "SGD", "float32", momentum=0.9)
    for round in range(3):
        give(device, here, there)
        if round == 1:
            here[0].data = torch.ones(33, 17)
            there[0].data = device.tensor(torch.ones(33, 17))
        ours.step()
        theirs.step()
    assert_same(device, here, there)


def test_steps_of_single_parameters(device: Any) -> None:
    torch.manual_seed(7)
    here, there, ours, theirs = both(device, "AdamW", "bfloat16", master="24bit", state_dtype="8bit")
    for _ in range(3):
        give(device, here, there)
        ours.step()
        for q in reversed(there):
            theirs.step_parameter(q)
            set_grad(q, None)
        theirs.step()
    assert_same(device, here, there)
    for _ in range(2):
        give(device, here, there)
        ours.step()
        theirs.step()
    for q in there:
        set_grad(q, torch.randn_like(q))
    for p, q in zip(here, there, strict=True):
        p.grad = device.host(q.grad).clone()
        set_grad(q, device.tensor(p.grad))
        theirs.step_parameter(q)
        set_grad(q, None)
    ours.step()
    assert_same(device, here, there)
    assert [float(theirs.state[q]["step"]) for q in there] == [6] * len(there)


def test_parameters_on_two_devices(device: Any) -> None:
    torch.manual_seed(8)
    here, there, _, _ = both(device, "Adam", "float32")
    twins = [p.detach().clone().requires_grad_() for p in here]
    mixed, plain = fastopt.torch.Adam([*here, *there]), fastopt.torch.Adam(twins)
    for _ in range(2):
        give(device, here, there)
        for p, twin in zip(here, twins, strict=True):
            twin.grad = p.grad
        mixed.step()
        plain.step()
    assert_same(device, twins, there)
    assert_same(device, twins, [device.tensor(p.detach()) for p in here])
    give(device, here, there)
    with pytest.raises(RuntimeError, match="max_norm"):
        mixed.step(max_norm=1.0)
    assert_same(device, twins, there)


@pytest.mark.gpu
def test_a_graph_of_steps() -> None:
    if not torch.cuda.is_available():
        pytest.skip("torch sees no GPU")
    torch.manual_seed(9)
    real = Real()
    here, there, ours, theirs = both(real, "NAdam", "float32", max_norm=1.0, capturable=True)
    give(real, here, there)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        ours.step()
        theirs.step()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=stream):
            theirs.step()
        for _ in range(3):
            graph.replay()
            ours.step()
    torch.cuda.synchronize()
    assert_same(real, here, there)
    assert int(theirs.state[there[0]]["step"]) == 4
