"""A parameter that stands in the groups twice takes a step where it stands first and one where it stands next, as with torch's classes."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch

import fastopt.torch
from fastopt.torch import fused_in_backward
from tests.support.torch_programs import TORCH_RULES, float64_by_default, one_thread, parameter, program, random, state_of

__all__ = ["float64_by_default", "one_thread"]

DUPLICATES = "ignore:.*duplicate parameters.*:UserWarning"
ARGUMENTS: dict[str, list[dict[str, Any]]] = {
    "SGD": [{}, {"momentum": 0.9}, {"momentum": 0.9, "dampening": 0.3}, {"momentum": 0.9, "nesterov": True}],
    "RMSprop": [{}, {"momentum": 0.9, "centered": True}],
    "Adam": [{}, {"amsgrad": True}],
}
CASES = [(rule, arguments) for rule in TORCH_RULES for arguments in ARGUMENTS.get(rule, [{}])]


@pytest.mark.parametrize("optim", [fastopt.torch, torch.optim], ids=["ours", "torch"])
def test_building_warns_as_torch(optim: Any) -> None:
    param = parameter(3)
    with pytest.warns(UserWarning, match="a parameter group with duplicate parameters"):
        optim.AdamW([param, param])


@pytest.mark.usefixtures("float64_by_default")
@pytest.mark.filterwarnings(DUPLICATES)
@pytest.mark.parametrize(("rule", "arguments"), CASES)
@program
def test_a_parameter_listed_twice_in_a_group(optim: Any, rule: str, arguments: dict[str, Any]) -> Any:
    params = [parameter(4), parameter(5, seed=1), parameter(6, seed=2)]
    listed = [params[0], params[1], params[0], params[2], params[1], params[0]]
    optimizer = getattr(optim, rule)(listed, lr=0.01, weight_decay=0.1, **arguments)
    for step in range(6):
        for i, param in enumerate(params):
            param.grad = None if i and step in (0, 3) else random(*param.shape, seed=10 * step + i)
        if step == 4:
            optimizer.param_groups[0]["lr"] = 0.02
        optimizer.step()
    return params, state_of(optimizer), [g["params"] for g in optimizer.state_dict()["param_groups"]]


@pytest.mark.usefixtures("float64_by_default")
@pytest.mark.parametrize(("rule", "arguments"), CASES)
@program
def test_a_parameter_in_two_groups(optim: Any, rule: str, arguments: dict[str, Any]) -> Any:
    """Which `add_param_group` refuses and a list does not; each group has its hyperparameters."""
    params = [parameter(4), parameter(5, seed=1)]
    optimizer = getattr(optim, rule)(params, lr=0.01, **arguments)
    optimizer.param_groups.append({**optimizer.param_groups[0], "params": [params[1]], "lr": 0.05, "weight_decay": 0.2})
    for step in range(5):
        for i, param in enumerate(params):
            param.grad = random(*param.shape, seed=10 * step + i)
        optimizer.step()
    return params, state_of(optimizer)


@pytest.mark.filterwarnings(DUPLICATES)
def test_state_dict_numbers_a_parameter_as_torch() -> None:
    numbers = []
    for optim in (fastopt.torch, torch.optim):
        p, q, r = parameter(3), parameter(3, seed=1), parameter(3, seed=2)
        optimizer = optim.Adam([p, q, p])
        optimizer.param_groups += [{**optimizer.param_groups[0], "params": each} for each in ([r, p], [q], [r])]
        same = optim.Adam([p])
        same.param_groups.append(same.param_groups[0])
        p.grad = random(3, seed=5)
        optimizer.step()
        saved = optimizer.state_dict()
        numbers.append(([g["params"] for g in saved["param_groups"]], list(saved["state"])))
        numbers.append([g["params"] for g in same.state_dict()["param_groups"]])
        optimizer.load_state_dict(copy.deepcopy(saved))
        assert [float(entry["step"]) for entry in optimizer.state.values()] == [3.0]
    assert numbers[:2] == numbers[2:]
    assert numbers[1] == [[0], [0]]


@pytest.mark.filterwarnings(DUPLICATES)
def test_averages_copies_and_zeroing_over_turns() -> None:
    """Each turn is a step of the average; gradients are zeroed after the last."""
    param, twin = parameter(4), parameter(4)
    copies = [torch.zeros(4), torch.zeros(4)]
    ours = fastopt.torch.AdamW([param, param], lr=0.1, ema_decay=0.9, copy_to=[copies[0], copies[0]])
    expected = fastopt.torch.AdamW([twin], lr=0.1, ema_decay=0.9, copy_to=[copies[1]])
    for step in range(3):
        param.grad = random(4, seed=step)
        twin.grad = param.grad.clone()
        ours.step(zero_grad=True)
        expected.step()
        expected.step()
        assert not param.grad.any()
    assert torch.equal(param, twin)
    assert torch.equal(*copies)
    assert torch.equal(ours.ema_params[0], expected.ema_params[0])


@pytest.mark.filterwarnings(DUPLICATES)
def test_what_looks_at_all_gradients_once_is_refused() -> None:
    param = parameter(4)
    optimizer = fastopt.torch.AdamW([param, param])
    param.grad = random(4, seed=1)
    before = param.detach().clone()
    for options in ({"max_norm": 1.0}, {"skip_nonfinite": True}):
        with pytest.raises(RuntimeError, match="max_norm, skip_nonfinite: got a parameter that stands in the groups twice"):
            optimizer.step(**options)
    with pytest.raises(ValueError, match=r"\['params'\]\[1\]: got a parameter that stands in the groups twice"):
        fused_in_backward(torch.nn.ParameterList([param]), optimizer)
    assert torch.equal(param, before)
    optimizer.step()
    assert optimizer.state[param]["step"] == 2


def test_groups_that_come_to_have_it_once_again() -> None:
    ours, theirs = parameter(4), parameter(4)
    for optim, param in ((fastopt.torch, ours), (torch.optim, theirs)):
        optimizer = optim.Adam([param], lr=0.1)
        for step in range(6):
            if step == 2:
                optimizer.param_groups[0]["params"].append(param)
            if step == 4:
                optimizer.param_groups[0]["params"].pop()
            param.grad = random(4, seed=step)
            optimizer.step()
        assert optimizer.state[param]["step"] == 8
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=0)
