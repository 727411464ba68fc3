"""Counts and state in shared memory, as Hogwild and A3C's SharedAdam have them, stay where processes look for them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import multiprocessing

import fastopt.torch
from tests.support.torch_programs import TORCH_RULES, one_thread, parameter, random

__all__ = ["one_thread"]


def share(optimizer: Any, shape: tuple[int, ...], dtype: torch.dtype) -> dict[torch.Tensor, dict[str, Any]]:
    """State that a program made before any step, as A3C's SharedAdam makes it."""
    for group in optimizer.param_groups:
        for param in group["params"]:
            entry = optimizer.state[param]
            entry["step"] = torch.zeros(shape, dtype=dtype).share_memory_()
            entry["exp_avg"] = torch.zeros_like(param.data).share_memory_()
            entry["exp_avg_sq"] = torch.zeros_like(param.data).share_memory_()
    return {param: dict(entry) for param, entry in optimizer.state.items()}


def train(optimizer: Any, steps: int) -> None:
    for step in range(steps):
        for i, param in enumerate(optimizer.param_groups[0]["params"]):
            param.grad = random(*param.shape, seed=10 * step + i, dtype=param.dtype)
        optimizer.step()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("shape", [(), (1,), (1, 1)], ids=str)
def test_a_shared_count_of_any_shape_stays(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    results = []
    for optim in (fastopt.torch, torch.optim):
        params = [parameter(3), parameter(4, seed=1)]
        optimizer = optim.Adam(params, lr=0.1)
        shared = share(optimizer, shape, dtype)
        train(optimizer, 3)
        for param, entry in shared.items():
            assert all(optimizer.state[param][key] is value for key, value in entry.items())
            assert torch.equal(entry["step"], torch.full(shape, 3.0, dtype=dtype))
            assert entry["exp_avg"].any()
        shared[params[0]]["step"].fill_(7)  # as by another worker
        train(optimizer, 1)
        assert shared[params[0]]["step"].item() == 8
        loaded = optim.Adam(params)
        loaded.load_state_dict(optimizer.state_dict())
        assert loaded.state[params[0]]["step"].shape == shape
        results.append([param.detach() for param in params])
    torch.testing.assert_close(*results, rtol=1e-12, atol=0)


def work(optimizer: Any) -> None:
    torch.set_num_threads(1)
    train(optimizer, 5)


def test_counts_of_workers_meet() -> None:
    param = parameter(3)
    param.share_memory_()
    optimizer = fastopt.torch.Adam([param], lr=0.01)
    share(optimizer, (1,), torch.float32)
    context = multiprocessing.get_context("spawn")
    for _ in range(2):
        worker = context.Process(target=work, args=(optimizer,))
        worker.start()
        worker.join(120)
        assert worker.exitcode == 0
    assert optimizer.state[param]["step"].item() == 10


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("step", torch.zeros(1, dtype=torch.int64)),
        ("exp_avg", torch.zeros(3, dtype=torch.float32)),
        ("exp_avg", torch.zeros(3, 2, dtype=torch.float64)[:, 0]),
        ("mu_product", torch.ones(1, dtype=torch.float32)),
    ],
)
def test_shared_state_that_would_be_replaced_is_refused(key: str, value: torch.Tensor) -> None:
    param = parameter(3)
    optimizer = fastopt.torch.NAdam([param])
    param.grad = random(3, seed=1)
    optimizer.step()
    before = param.detach().clone()
    optimizer.state[param][key] = value.clone(memory_format=torch.preserve_format) if key != "exp_avg" else value
    kept = dict(optimizer.state[param])
    value = optimizer.state[param][key] = kept[key].share_memory_()
    with pytest.raises(
        RuntimeError, match=rf"^param_groups\[0\]\['params'\]\[0\]: {key}: got .*, in shared memory, .*share_memory\(\)"
    ):
        optimizer.step()
    assert torch.equal(param, before)
    assert optimizer.state[param][key] is value


@pytest.mark.parametrize("rule", TORCH_RULES)
def test_what_share_memory_shares_stays_shared(rule: str) -> None:
    param = parameter(3)
    optimizer = getattr(fastopt.torch, rule)([param], **({"momentum": 0.9} if rule == "SGD" else {}))
    train(optimizer, 1)
    optimizer.share_memory()
    kept = dict(optimizer.state[param])
    train(optimizer, 2)
    assert kept
    assert all(optimizer.state[param][key] is value and value.is_shared() for key, value in kept.items())
