"""Complex parameters take the steps of their real numbers, as with torch's classes."""

from __future__ import annotations

import copy
import io
from typing import Any

import pytest
import torch

import fastopt.torch
from tests.support.torch_checkpoints import bits
from tests.support.torch_programs import (
    TORCH_RULES,
    assert_same,
    float64_by_default,
    one_thread,
    parameter,
    program,
    random,
    state_of,
)

__all__ = ["float64_by_default", "one_thread"]

STATE: dict[str, dict[str, Any]] = {
    "SGD": {"momentum": 0.9, "dampening": 0.1},
    "Adam": {"amsgrad": True},
    "AdamW": {"amsgrad": True},
    "RMSprop": {"momentum": 0.9, "centered": True},
    "Adagrad": {"initial_accumulator_value": 0.5},
}
"""Every slot, and first values that are not 0."""


def complex_of(*shape: int, seed: int, dtype: torch.dtype = torch.complex128) -> torch.Tensor:
    return torch.complex(random(*shape, seed=seed), random(*shape, seed=seed + 500)).to(dtype)


LAYOUTS: dict[str, Any] = {
    "contiguous": lambda t: t,
    "transposed": lambda t: t.t().contiguous().t(),
    "with gaps": lambda t: torch.stack([t, t], dim=-1)[..., 0],
}
GRADIENTS: dict[str, Any] = {
    "plain": lambda t: t,
    "conjugate": lambda t: t.conj().resolve_conj().conj(),
    "with gaps": lambda t: torch.stack([t, t], dim=-1)[..., 1],
    "a view of real numbers": lambda t: torch.view_as_complex(torch.view_as_real(t).clone()),
}


@pytest.mark.usefixtures("float64_by_default")
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("rule", TORCH_RULES)
@program
def test_a_complex_parameter(optim: Any, rule: str, layout: str) -> Any:
    """Beside a real one; its state is complex, as torch's."""
    values = complex_of(4, 5, seed=1)
    param, other = torch.nn.Parameter(LAYOUTS[layout](values)), parameter(3)
    optimizer = getattr(optim, rule)([param, other], lr=0.01, weight_decay=0.1, maximize=True, **STATE.get(rule, {}))
    for step in range(4):
        other.grad = random(3, seed=step)
        param.grad = complex_of(4, 5, seed=step + 10)
        optimizer.step()
    return [param, other], state_of(optimizer), param.stride()


@pytest.mark.parametrize("kind", GRADIENTS)
@pytest.mark.parametrize("rule", ["AdamW", "SGD"])
@program
def test_gradients_of_complex_parameters(optim: Any, rule: str, kind: str) -> Any:
    param = torch.nn.Parameter(complex_of(4, 5, seed=1))
    optimizer = getattr(optim, rule)([param], lr=0.1)
    for step in range(3):
        param.grad = GRADIENTS[kind](complex_of(4, 5, seed=step + 10))
        if optim is torch.optim:
            param.grad = param.grad.resolve_conj()  # its AdamW takes no other
        before = param.grad.clone()
        optimizer.step()
        assert torch.equal(param.grad, before)
    return param


@program
def test_a_complex_network(optim: Any) -> Any:
    torch.manual_seed(0)
    model = torch.nn.Linear(4, 3, dtype=torch.complex128)
    optimizer = optim.Adam(model.parameters(), lr=0.01)
    for step in range(5):
        optimizer.zero_grad()
        model(complex_of(6, 4, seed=step)).abs().square().mean().backward()
        optimizer.step()
    return list(model.parameters()), state_of(optimizer)


def test_bits_are_those_of_the_real_numbers() -> None:
    """Stages, averages and copies included."""
    stages: dict[str, Any] = {"max_norm": 0.5, "clip_value": 1.5, "ema_decay": 0.9, "l1": 0.01, "lr": 0.1}
    param = torch.nn.Parameter(complex_of(9, 5, seed=1, dtype=torch.complex64))
    twin = torch.nn.Parameter(torch.view_as_real(param.detach()).clone())
    copies = [torch.zeros_like(param), torch.zeros_like(twin)]
    ours = fastopt.torch.AdamW([param], copy_to=copies[:1], **stages)
    expected = fastopt.torch.AdamW([twin], copy_to=copies[1:], **stages)
    for step in range(4):
        param.grad = complex_of(9, 5, seed=step + 10, dtype=torch.complex64)
        twin.grad = torch.view_as_real(param.grad).clone()
        ours.step(zero_grad=True)
        expected.step()
        assert not param.grad.any()
    pairs = [(param, twin), (copies[0], copies[1]), (ours.ema_params[0], expected.ema_params[0])]
    for one, other in pairs:
        assert torch.equal(torch.view_as_real(one.detach()), other.detach())
    assert ours.grad_norm == expected.grad_norm


@pytest.mark.parametrize("rule", TORCH_RULES)
def test_checkpoints_of_complex_parameters(rule: str) -> None:
    """Into torch's class and back, through a file, in the middle of a run."""
    results = []
    for first, second in ((fastopt.torch, torch.optim), (torch.optim, fastopt.torch), (torch.optim, torch.optim)):
        param = torch.nn.Parameter(complex_of(4, 5, seed=1))
        optimizer = getattr(first, rule)([param], lr=0.01, **STATE.get(rule, {}))
        for step in range(6):
            if step == 3:
                file = io.BytesIO()
                torch.save(optimizer.state_dict(), file)
                file.seek(0)
                optimizer = getattr(second, rule)([param], lr=0.5, **STATE.get(rule, {}))
                optimizer.load_state_dict(torch.load(file, weights_only=True))
            param.grad = complex_of(4, 5, seed=step + 10)
            optimizer.step()
        results.append(param.detach())
    assert_same(results[:2], [results[2]] * 2)


def test_a_complex_optimizer_is_copied_whole() -> None:
    param = torch.nn.Parameter(complex_of(4, seed=1))
    optimizer = fastopt.torch.Adam([param])
    param.grad = complex_of(4, seed=2)
    optimizer.step()
    twin = copy.deepcopy(optimizer)
    assert bits(twin.state_dict()) == bits(optimizer.state_dict())
    twin_param = twin.param_groups[0]["params"][0]
    twin_param.grad = param.grad = complex_of(4, seed=3)
    optimizer.step()
    twin.step()
    assert torch.equal(param, twin_param)


@pytest.mark.parametrize("state_dtype", ["8bit", "bfloat16", "float32"])
def test_formats_that_complex_state_does_not_have_are_refused(state_dtype: str) -> None:
    param = torch.nn.Parameter(complex_of(4, seed=1, dtype=torch.complex64))
    with pytest.raises(ValueError, match=rf"^state_dtype: got '{state_dtype}', expected None for .*, which is complex64"):
        fastopt.torch.AdamW([param], state_dtype=state_dtype)
    with pytest.raises(ValueError, match=r"^master: got '24bit', expected None"):
        fastopt.torch.AdamW([param], master="24bit")


def test_real_state_of_a_complex_parameter_is_refused() -> None:
    param = torch.nn.Parameter(complex_of(4, seed=1))
    optimizer = fastopt.torch.Adam([param])
    param.grad = complex_of(4, seed=2)
    optimizer.step()
    before = param.detach().clone()
    optimizer.state[param]["exp_avg"] = torch.zeros(4, dtype=torch.float32)
    with pytest.raises(TypeError, match=r"exp_avg: got a Tensor of torch.float32.*expected a dense tensor of complex numbers"):
        optimizer.step()
    assert torch.equal(param, before)
