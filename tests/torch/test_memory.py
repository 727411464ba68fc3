"""Whatever happens to memory between steps, a step goes by what is there, or says that it cannot."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch._subclasses import FakeTensorMode
from torch.testing._internal.two_tensor import TwoTensor

import fastopt.torch
from fastopt.torch import fused_in_backward


def made(seed: int = 0, dtype: torch.dtype = torch.float32) -> torch.nn.Parameter:
    param = torch.nn.Parameter(torch.randn(9, 70, generator=torch.Generator().manual_seed(seed)).to(dtype))
    param.grad = torch.randn(9, 70, generator=torch.Generator().manual_seed(seed + 1)).to(dtype)
    return param


def state_after(change: Callable[[Any], None]) -> tuple[Any, Any]:
    """The first moment and the parameter after a step, `change` of that moment, and a step."""
    param = made()
    optimizer = fastopt.torch.AdamW([param], state_dtype="8bit", lr=0.1)
    optimizer.step()
    change(optimizer.state[param]["exp_avg"])
    optimizer.step()
    return optimizer.state[param]["exp_avg"].decoded(), param.detach()


def test_8bit_state_that_got_other_memory() -> None:
    def same_values(coded: Any) -> None:
        coded.parts = tuple(part.clone() for part in coded.parts)

    def zeros(coded: Any) -> None:
        coded.parts = tuple(torch.zeros_like(part) for part in coded.parts)

    moment, param = state_after(lambda coded: None)
    for change in (same_values, lambda coded: coded.share_memory_()):
        other_moment, other = state_after(change)
        assert torch.equal(moment, other_moment)
        assert torch.equal(param, other)
    other_moment, other = state_after(zeros)
    expected, expected_param = state_after(lambda coded: coded.zero_())
    assert torch.equal(other_moment, expected)
    assert torch.equal(other, expected_param)
    assert not torch.equal(other, param)


def fake(param: Any) -> Any:
    with FakeTensorMode(allow_non_fake_inputs=True):
        return torch.zeros(param.shape)


NO_MEMORY: dict[str, Callable[[Any], Any]] = {
    "a wrapper": lambda param: TwoTensor(torch.ones(param.shape), torch.ones(param.shape)),
    "a fake": fake,
}


@pytest.mark.parametrize("kind", NO_MEMORY)
def test_gradients_without_memory_are_refused(kind: str) -> None:
    param = made()
    before = param.detach().clone()
    for first in (True, False):
        optimizer = fastopt.torch.SGD([param], lr=0.1, momentum=0.9)
        if not first:
            optimizer.step()
            before = param.detach().clone()
        grad = param.grad
        param.grad = None
        torch.Tensor.grad.__set__(param, NO_MEMORY[kind](param))
        with pytest.raises(RuntimeError, match=r"the gradient: got a .*, which has no memory of its own"):
            optimizer.step()
        assert torch.equal(param.detach(), before)
        param.grad = grad


@pytest.mark.parametrize("kind", NO_MEMORY)
def test_parameters_without_memory_are_refused(kind: str) -> None:
    param = NO_MEMORY[kind](made()).requires_grad_()
    torch.Tensor.grad.__set__(param, torch.ones(param.shape))
    with pytest.raises(RuntimeError, match=r"got a .*, which has no memory of its own"):
        fastopt.torch.SGD([param], lr=0.1).step()


@pytest.mark.parametrize("first", [True, False])
def test_a_gradient_of_zeros_that_has_no_memory_is_one(first: bool) -> None:
    """torch's ZeroTensor."""
    ours, theirs = made(), made()
    optimizers = fastopt.torch.Adam([ours]), torch.optim.Adam([theirs])
    for optimizer, param in zip(optimizers, (ours, theirs), strict=True):
        if not first:
            optimizer.step()
        param.grad = torch._efficientzerotensor(param.shape)
        optimizer.step()
        assert optimizer.state[param]["step"] == (1 if first else 2)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-7)


def test_a_copy_that_got_other_memory() -> None:
    param = made()
    copy = torch.zeros_like(param, dtype=torch.bfloat16)
    optimizer = fastopt.torch.SGD([param], lr=0.1, copy_to=[copy])
    optimizer.step()
    copy.data = torch.zeros_like(copy)
    optimizer.step()
    assert torch.equal(copy, param.detach().bfloat16())
    copy.data = torch.zeros(3)
    before = param.detach().clone()
    with pytest.raises(ValueError, match=r"copy_to of .*: got a Tensor of torch.float32, shape"):
        optimizer.step()
    assert torch.equal(param.detach(), before)


@pytest.mark.parametrize("master", ["24bit", "float32"])
def test_a_master_does_not_outlive_the_dtype_that_it_is_for(master: str) -> None:
    model = torch.nn.Linear(8, 8).bfloat16()
    optimizer = fastopt.torch.SGD(model.parameters(), lr=0.5, master=master)

    def step() -> None:
        for param in model.parameters():
            param.grad = torch.full_like(param, 0.25)
        optimizer.step()

    step()
    model.float()
    for _ in range(10):
        step()
    assert all("master" not in optimizer.state[param] for param in model.parameters())
    model.bfloat16()
    before = [param.detach().float() for param in model.parameters()]
    step()
    for param, value in zip(model.parameters(), before, strict=True):
        torch.testing.assert_close(param.detach().float(), value - 0.125, rtol=2**-8, atol=0)


def test_state_formats_that_a_new_dtype_cannot_have() -> None:
    model = torch.nn.Linear(8, 8)
    optimizer = fastopt.torch.AdamW(model.named_parameters(), state_dtype="8bit")
    model(torch.ones(1, 8)).sum().backward()
    optimizer.step()
    model.double()
    optimizer.zero_grad()
    model(torch.ones(1, 8).double()).sum().backward()
    with pytest.raises(
        ValueError, match="state_dtype: got '8bit', expected None or one of 'float64' for parameter 'weight', which is"
    ):
        optimizer.step()


def test_a_storage_may_be_resized_after_a_step() -> None:
    param = made()
    optimizer = fastopt.torch.SGD([param], lr=0.1)
    optimizer.step()
    values, size = param.detach().clone(), param.untyped_storage().nbytes()
    param.untyped_storage().resize_(0)
    with pytest.raises(RuntimeError, match="whose storage was freed or cut"):
        optimizer.step()
    param.untyped_storage().resize_(size)
    param.detach().copy_(values)
    optimizer.step()
    torch.testing.assert_close(param.detach(), values - 0.1 * param.grad)


@pytest.mark.parametrize("lr", [torch.tensor(0.1, dtype=torch.bfloat16), torch.tensor(0.1)], ids=str)
def test_an_lr_that_only_rounds_to_the_last_one(lr: torch.Tensor) -> None:
    param = made(dtype=torch.float64)
    optimizer = fastopt.torch.SGD([param], lr=0.1)
    optimizer.step()
    before = param.detach().clone()
    optimizer.param_groups[0]["lr"] = lr
    optimizer.step()
    torch.testing.assert_close(param.detach(), before - lr.item() * param.grad, rtol=1e-15, atol=1e-15)


def test_betas_in_a_list_that_is_written_to() -> None:
    ours, theirs = made(), made()
    optimizers = [(fastopt.torch.Adam([ours]), ours), (torch.optim.Adam([theirs]), theirs)]
    for optimizer, _ in optimizers:
        optimizer.param_groups[0]["betas"] = [0.9, 0.999]
        optimizer.step()
        optimizer.param_groups[0]["betas"][0] = 0.2
        optimizer.step()
    torch.testing.assert_close(ours, theirs)


def test_groups_may_have_their_parameters_in_a_tuple() -> None:
    params = [made(i) for i in range(3)]
    optimizer = fastopt.torch.SGD(params, lr=0.1)
    optimizer.param_groups[0]["params"] = tuple(params)
    before = params[2].detach().clone()
    optimizer.step()
    assert not torch.equal(before, params[2].detach())


def test_a_subclass_shows_its_own_arguments() -> None:
    class Mine(fastopt.torch.AdamW):
        def __init__(self, params: Any, rate: float = 0.5) -> None:
            super().__init__(params, lr=rate)

    assert list(inspect.signature(Mine).parameters) == ["params", "rate"]
    assert list(inspect.signature(fastopt.torch.AdamW).parameters)[:3] == ["params", "lr", "betas"]
    assert Mine([made()]).param_groups[0]["lr"] == 0.5


def test_gradients_that_are_averaged_later_are_not_stepped_in_backward() -> None:
    class Wrapped(torch.nn.parallel.DistributedDataParallel):
        def __init__(self) -> None:
            torch.nn.Module.__init__(self)

    with pytest.raises(RuntimeError, match="model: got DistributedDataParallel"):
        fused_in_backward(Wrapped(), fastopt.torch.SGD([made()]))
