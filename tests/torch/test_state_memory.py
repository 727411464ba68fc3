"""State and copies whose memory is gone, or does not hold their values, are refused by name or replaced; nothing is read or written elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

import fastopt.torch
from tests.support.torch_programs import TORCH_RULES, one_thread, parameter, random

__all__ = ["one_thread"]


def freed(tensor: torch.Tensor) -> torch.Tensor:
    tensor.untyped_storage().resize_(0)
    return tensor


def shrunk(tensor: torch.Tensor) -> torch.Tensor:
    tensor.untyped_storage().resize_(8)
    return tensor


@pytest.mark.parametrize("change", [freed, shrunk])
@pytest.mark.parametrize("rule", TORCH_RULES)
def test_state_whose_storage_is_gone_is_refused(rule: str, change: Callable[[torch.Tensor], torch.Tensor]) -> None:
    params = [parameter(3, seed=1), parameter(4000)]
    optimizer = getattr(fastopt.torch, rule)(params, **({"momentum": 0.9} if rule == "SGD" else {}))
    for step in range(2):
        for i, param in enumerate(params):
            param.grad = random(*param.shape, seed=2 * step + i)
        optimizer.step()
    before = [param.detach().clone() for param in params]
    entry = optimizer.state[params[1]]
    keys = [key for key, value in entry.items() if value.numel() > 1]
    for key in keys:
        kept = entry[key]
        entry[key] = change(kept.clone())
        with pytest.raises(RuntimeError, match=rf"\['params'\]\[1\]: {key}: got a tensor whose storage was freed or cut"):
            optimizer.step()
        assert all(torch.equal(param, value) for param, value in zip(params, before, strict=True))
        entry[key] = kept
    optimizer.step()


@pytest.mark.parametrize("what", ["a gradient", "a parameter", "a copy"])
def test_other_memory_that_is_gone_is_refused(what: str) -> None:
    param, copied = parameter(4000), torch.zeros(4000)
    optimizer = fastopt.torch.Adam([param], copy_to=[copied])
    for first in (True, False):
        param.grad = random(4000, seed=1)
        if not first:
            optimizer.step()
            param.grad = random(4000, seed=2)
        tensor = {"a gradient": param.grad, "a parameter": param, "a copy": copied}[what]
        kept, size = tensor.detach().clone(), tensor.untyped_storage().nbytes()
        freed(tensor.detach())
        with pytest.raises(RuntimeError, match="got a tensor whose storage was freed or cut, expected one with the"):
            optimizer.step()
        tensor.untyped_storage().resize_(size)
        with torch.no_grad():
            tensor.copy_(kept)
        optimizer.step()


def test_a_shrunk_storage_is_refused_where_it_is_bound() -> None:
    param = parameter(4000)
    param.grad = shrunk(random(4000, seed=1))
    optimizer = fastopt.torch.SGD([param], lr=0.1)
    with pytest.raises(RuntimeError, match="the gradient: got a tensor whose storage was freed or cut"):
        optimizer.step()


VALUES: dict[str, Callable[[], torch.Tensor]] = {
    "zeros without memory": lambda: torch._efficientzerotensor((3,), dtype=torch.float64),
    "minus its memory": lambda: torch.complex(random(3, seed=5), random(3, seed=6)).conj().imag,
}


@pytest.mark.parametrize("what", VALUES)
def test_state_that_does_not_lie_in_its_memory_is_taken_by_its_values(what: str) -> None:
    params = [parameter(3), parameter(3)]
    optimizers = [fastopt.torch.Adam(params[:1], lr=0.1), torch.optim.Adam(params[1:], lr=0.1)]
    for optimizer, param in zip(optimizers, params, strict=True):
        for step in range(4):
            if step == 2:
                value = VALUES[what]()
                optimizer.state[param]["exp_avg"] = value if optimizer is optimizers[0] else value.clone()
            param.grad = random(3, seed=step)
            optimizer.step()
    torch.testing.assert_close(params[0], params[1], rtol=1e-12, atol=0)
    torch.testing.assert_close(*(o.state[p]["exp_avg"] for o, p in zip(optimizers, params, strict=True)), rtol=1e-12, atol=0)


def test_a_parameter_that_does_not_lie_in_its_memory_is_refused() -> None:
    optimizer = fastopt.torch.Adam([param := VALUES["zeros without memory"]()])
    param.grad = random(3, seed=1)
    with pytest.raises(RuntimeError, match="got a tensor whose memory does not hold its values"):
        optimizer.step()


def test_a_checkpoint_whose_storage_is_gone_is_refused() -> None:
    param = parameter(4000)
    optimizer = fastopt.torch.Adam([param])
    param.grad = random(4000, seed=1)
    optimizer.step()
    saved: Any = optimizer.state_dict()
    saved["state"][0]["exp_avg"] = freed(saved["state"][0]["exp_avg"].float())
    with pytest.raises(RuntimeError, match=r"^state_dict\['state'\]\[0\]: exp_avg: got a tensor whose storage was freed or cut"):
        optimizer.load_state_dict(saved)
    assert optimizer.state[param]["exp_avg"].any()


@pytest.mark.parametrize("value", [3.0, [1.0], "x"])
def test_state_that_is_no_tensor_is_refused_by_name(value: Any) -> None:
    param = parameter(3)
    optimizer = fastopt.torch.Adam([param])
    param.grad = random(3, seed=1)
    optimizer.step()
    before, kept = param.detach().clone(), optimizer.state[param]["exp_avg"]
    optimizer.state[param]["exp_avg"] = value
    with pytest.raises(ValueError, match=r"\['params'\]\[0\]: exp_avg: got (float|list|str) .*, expected the shape \(3,\)"):
        optimizer.step()
    assert torch.equal(param, before)
    optimizer.state[param]["exp_avg"] = kept
    optimizer.step()
