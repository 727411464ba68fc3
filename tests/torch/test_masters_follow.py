"""What programs write to 16-bit parameters holds where there are float32 masters."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch

import fastopt.torch
from tests.support.torch_checkpoints import bits
from tests.support.torch_programs import one_thread, random

__all__ = ["one_thread"]

MASTERS = ("float32", "24bit", "32bit")


def network(seed: int = 0, dtype: torch.dtype = torch.bfloat16) -> torch.nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return torch.nn.Sequential(torch.nn.Linear(7, 5), torch.nn.Linear(5, 3)).to(dtype)


def train(model: torch.nn.Module, optimizer: Any, first: int, last: int, *, backward: bool = False) -> None:
    for step in range(first, last):
        for i, param in enumerate(model.parameters()):
            param.grad = random(*param.shape, seed=10 * step + i, dtype=param.dtype)
            if backward:
                optimizer.step_parameter(param)
        if not backward:
            optimizer.step()


def write(model: torch.nn.Module, values: dict[str, torch.Tensor], how: str) -> None:
    named = dict(model.named_parameters())
    if how == "load_state_dict":
        model.load_state_dict(values)
        return
    with torch.no_grad():
        for name, value in values.items():
            if how == "other memory":
                named[name].data = value.clone()
            elif how == "assigned":
                named[name][:] = value
            else:
                named[name].copy_(value)


WAYS = ("load_state_dict", "copy_", "assigned", "other memory")


@pytest.mark.parametrize("between", [None, "a group", "state looked at", "an empty step"])
@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("backward", [False, True])
def test_weights_loaded_after_a_step_hold(how: str, backward: bool, between: str | None) -> None:
    """The next step goes on from them as from a float32 master of them."""
    model, best = network(), network(1).state_dict()
    optimizer = fastopt.torch.SGD(model.parameters(), lr=2.0**-12, master="float32", momentum=0.5)
    train(model, optimizer, 0, 3, backward=backward)
    write(model, best, how)
    if between == "a group":
        optimizer.add_param_group({"params": [torch.nn.Parameter(torch.ones(3, dtype=torch.bfloat16))]})
    elif between == "state looked at":
        assert len(optimizer.state) == 4
    elif between == "an empty step":
        optimizer.zero_grad()
        optimizer.step()
    moments = [optimizer.state[param]["momentum_buffer"].clone() for param in model.parameters()]
    train(model, optimizer, 3, 4, backward=backward)
    for i, (param, value) in enumerate(zip(model.parameters(), best.values(), strict=True)):
        moment = moments[i] * 0.5 + random(*param.shape, seed=30 + i, dtype=torch.bfloat16)
        expected = value.float() - 2.0**-12 * moment
        torch.testing.assert_close(optimizer.state[param]["master"], expected, rtol=1e-6, atol=1e-7)
        assert torch.equal(param.detach(), optimizer.state[param]["master"].bfloat16())


def swap(model: torch.nn.Module) -> None:
    values = copy.deepcopy(model.state_dict())
    model.load_state_dict(network(5).state_dict())
    model.load_state_dict(values)


HARMLESS: dict[str, Callable[[torch.nn.Module], None]] = {
    "exchanged and back": swap,
    "the same again": lambda model: write(model, copy.deepcopy(model.state_dict()), "copy_"),
    "clamped": lambda model: [param.data.clamp_(-100, 100) for param in model.parameters()] and None,
    "other memory": lambda model: write(model, copy.deepcopy(model.state_dict()), "other memory"),
}


@pytest.mark.parametrize("what", HARMLESS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("master", MASTERS)
def test_writes_of_the_same_values_cost_masters_nothing(master: str, dtype: torch.dtype, what: str) -> None:
    results = []
    for change in (HARMLESS[what], lambda model: None):
        model = network(dtype=dtype)
        optimizer = fastopt.torch.AdamW(model.parameters(), lr=1e-4, master=master)
        for step in range(4):
            train(model, optimizer, step, step + 1)
            change(model)
        results.append(bits([list(model.parameters()), optimizer.state_dict()["state"]]))
    assert results[0] == results[1]


def test_elements_that_nobody_wrote_keep_their_masters() -> None:
    model = network()
    optimizer = fastopt.torch.AdamW(model.parameters(), lr=1e-4, master="float32")
    train(model, optimizer, 0, 3)
    param = next(model.parameters())
    before = optimizer.state[param]["master"].clone()
    with torch.no_grad():
        param[2, 3] = 7.0
        param[4, 0] = torch.nan
    optimizer.param_groups[0]["lr"] = 0.0
    train(model, optimizer, 3, 4)
    after = optimizer.state[param]["master"]
    assert after[2, 3] == 7.0
    assert after[4, 0].isnan()
    after[2, 3], after[4, 0] = before[2, 3], before[4, 0]
    assert torch.equal(after, before)


@pytest.mark.parametrize("master", MASTERS)
@pytest.mark.parametrize("order", ["model first", "optimizer first"])
@pytest.mark.parametrize("stepped", [False, True])
def test_resuming_keeps_masters_in_either_order(master: str, order: str, stepped: bool) -> None:
    source, model = network(), network(3)
    theirs = fastopt.torch.AdamW(source.parameters(), lr=1e-3, master=master)
    train(source, theirs, 0, 3)
    ours = fastopt.torch.AdamW(model.parameters(), lr=1e-3, master=master)
    if stepped:
        train(model, ours, 7, 9)
    saved = copy.deepcopy((source.state_dict(), theirs.state_dict()))
    loads = [lambda: model.load_state_dict(saved[0]), lambda: ours.load_state_dict(saved[1])]
    for load in loads if order == "model first" else reversed(loads):
        load()
    train(model, ours, 3, 6)
    train(source, theirs, 3, 6)
    assert bits(list(model.parameters())) == bits(list(source.parameters()))
    assert bits(ours.state_dict()["state"]) == bits(theirs.state_dict()["state"])


def test_writes_past_autograd_need_a_word() -> None:
    """`.data` in place raises no version counter: `reset_masters` is for that, as docs/torch.md says."""
    model, best = network(), network(1).state_dict()
    optimizer = fastopt.torch.SGD(model.parameters(), lr=2.0**-12, master="float32")
    train(model, optimizer, 0, 2)
    for param, value in zip(model.parameters(), best.values(), strict=True):
        param.data.copy_(value)
    optimizer.reset_masters()
    train(model, optimizer, 2, 3)
    for param, value in zip(model.parameters(), best.values(), strict=True):
        torch.testing.assert_close(param.detach(), value, rtol=0.01, atol=0.01)
