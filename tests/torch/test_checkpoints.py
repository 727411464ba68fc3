"""fastopt.torch's checkpoints through torch's class and torch's means: a run that changes its optimizer ends where it would have."""

from __future__ import annotations

import functools
from contextlib import AbstractContextManager
from typing import Any

import pytest
import torch
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_optimizer_state_dict, set_optimizer_state_dict

import fastopt.torch
from fastopt.rules import RULES
from tests.support.cases import arguments_with_state
from tests.support.comparing import History, assert_close
from tests.support.torch_checkpoints import bits, built, everything, groups, parameters, params_of, run, through_a_file, twins
from tests.support.torch_programs import FUSED, TORCH_RULES, assert_same, default_dtype, one_thread, state_of

__all__ = ["one_thread"]

PART = 7
"""Steps before each change."""
ULPS = 15.0
"""The error that tests/rules/test_against_torch.py allows."""

# Through torch's class

SETS: dict[str, list[dict[str, Any]]] = {
    "SGD": [{}, {"momentum": 0.9}, {"momentum": 0.9, "dampening": 0.3}, {"momentum": 0.8, "nesterov": True, "maximize": True}],
    "Adam": [{}, {"amsgrad": True, "weight_decay": 0.1}, {"decoupled_weight_decay": True, "weight_decay": 0.1}],
    "AdamW": [{}, {"amsgrad": True, "betas": (0.5, 0.9), "maximize": True}],
    "Adamax": [{}, {"weight_decay": 0.1, "eps": 1e-2}],
    "NAdam": [{}, {"decoupled_weight_decay": True, "weight_decay": 0.1, "momentum_decay": 0.1}],
    "RAdam": [{}, {"weight_decay": 0.1, "betas": (0.5, 0.8)}],
    "RMSprop": [{}, {"centered": True, "momentum": 0.9, "weight_decay": 0.1}, {"momentum": 0.5}],
    "Adagrad": [{}, {"lr_decay": 0.05, "initial_accumulator_value": 0.3, "weight_decay": 0.1}],
    "Adadelta": [{}, {"rho": 0.5, "weight_decay": 0.1, "maximize": True}],
}
CASES = [(rule, number) for rule, sets in SETS.items() for number in range(len(sets))]
assert SETS.keys() == set(TORCH_RULES)


def implementations(rule: str) -> list[dict[str, bool]]:
    """torch's."""
    return [{"foreach": False}, {"foreach": True}, *([{"fused": True}] if rule in FUSED else [])]


def torchs_product(rule: str) -> AbstractContextManager[None]:
    """Makes torch keep the product of NAdam's mu in float64, as fastopt does, and not in the default dtype."""
    return default_dtype(torch.float64 if rule == "NAdam" else torch.float32)


def optimizer_of(optim: Any, rule: str, number: int, params: list[torch.nn.Parameter], **more: Any) -> Any:
    return getattr(optim, rule)(groups(params), lr=0.02, **SETS[rule][number], **more)


@functools.cache
def unswapped(rule: str, number: int, dtype: torch.dtype) -> tuple[Any, list[History]]:
    """torch's class all the way, and how large its numbers were."""
    theirs = optimizer_of(torch.optim, rule, number, parameters(dtype), foreach=False)
    histories = [History() for _ in params_of(theirs)]
    with torchs_product(rule):
        for step in range(3 * PART):
            run(theirs, step, step + 1, gaps=True)
            for history, param, entry in zip(histories, params_of(theirs), state_of(theirs), strict=True):
                arrays = {k: v.double().numpy() for k, v in entry.items() if k not in ("step", *RULES[rule].carried)}
                history.see(param.detach().double().numpy(), arrays)
    return theirs, histories


def swapped(rule: str, number: int, dtype: torch.dtype, order: str, **implementation: bool) -> Any:
    """A part of the steps by each class in turn, each over its own parameters; of the checkpoints each is from a file."""
    params, saved = parameters(dtype), None
    for part, whose in enumerate(order.split()):
        params = twins(params)
        ours = whose == "ours"
        optimizer = optimizer_of(fastopt.torch if ours else torch.optim, rule, number, params, **({} if ours else implementation))
        if saved is not None:
            optimizer.load_state_dict(saved)
        run(optimizer, part * PART, (part + 1) * PART, gaps=True)
        saved = through_a_file(optimizer.state_dict())
    return optimizer


@pytest.mark.parametrize("order", ["ours theirs ours", "theirs ours theirs"])
@pytest.mark.parametrize(("rule", "number"), CASES)
def test_a_run_through_torchs_class_in_float64(rule: str, number: int, order: str) -> None:
    with torchs_product(rule):
        theirs, _ = unswapped(rule, number, torch.float64)
        for implementation in implementations(rule):
            optimizer = swapped(rule, number, torch.float64, order, **implementation)
            assert_same(params_of(optimizer), params_of(theirs), str(implementation))
            assert_same(state_of(optimizer), state_of(theirs), str(implementation))


@pytest.mark.parametrize("order", ["ours theirs ours", "theirs ours theirs"])
@pytest.mark.parametrize(("rule", "number"), CASES)
def test_a_run_through_torchs_class_in_float32(rule: str, number: int, order: str) -> None:
    theirs, histories = unswapped(rule, number, torch.float32)
    for implementation in implementations(rule):
        optimizer = swapped(rule, number, torch.float32, order, **implementation)
        rows = zip(params_of(optimizer), params_of(theirs), state_of(optimizer), state_of(theirs), histories, strict=True)
        for param, expected, entry, wanted, history in rows:
            assert_close(param.detach().numpy(), expected.detach().numpy(), history.scales["params"], ULPS, implementation)
            assert entry.keys() == wanted.keys()
            for key, value in wanted.items():
                if key == "step" or key in RULES[rule].carried:
                    assert float(entry[key]) == pytest.approx(float(value), rel=0.0 if key == "step" else 1e-6)
                else:
                    assert_close(entry[key].numpy(), value.numpy(), history.scales[key], ULPS, (implementation, key))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("rule", "number"), CASES)
def test_the_keys_and_dtypes_are_torchs(rule: str, number: int, dtype: torch.dtype) -> None:
    """Compares state and groups, but for NAdam's running product, which is float64, and the count that dampened SGD adds."""
    saved = []
    for optim in (fastopt.torch, torch.optim):
        optimizer = optimizer_of(optim, rule, number, parameters(dtype))
        run(optimizer, 0, 3, gaps=True)
        saved.append(optimizer.state_dict())
    ours, theirs = saved
    assert set(ours) - {"fastopt"} == set(theirs)
    if rule == "SGD":
        theirs["state"] = {i: {k: v for k, v in e.items() if v is not None} for i, e in theirs["state"].items()}
        if SETS[rule][number].get("dampening"):
            assert [float(entry.pop("step")) for entry in ours["state"].values()] == [3, 3, 3, 3, 2]
        ours["state"], theirs["state"] = ({i: e for i, e in each["state"].items() if e} for each in saved)
    assert ours["state"].keys() == theirs["state"].keys()
    for i, entry in theirs["state"].items():
        assert ours["state"][i].keys() == entry.keys()
        for key, value in entry.items():
            found = ours["state"][i][key]
            torch.testing.assert_close(
                found, value, rtol=1e-5, atol=1e-6, check_dtype=key != "mu_product", check_stride=key != "step"
            )
            assert type(found) is torch.Tensor
    for mine, group in zip(ours["param_groups"], theirs["param_groups"], strict=True):
        assert {key: mine[key] for key in group} == group


def test_sgd_without_momentum_has_no_state() -> None:
    optimizer = fastopt.torch.SGD(groups(parameters()), lr=0.1)
    run(optimizer, 0, 3)
    assert optimizer.state_dict()["state"] == {}
    other = fastopt.torch.SGD(groups(parameters()), lr=0.5)
    other.load_state_dict(through_a_file(optimizer.state_dict()))
    assert not other.state
    run(other, 3, 4)
    assert [group["lr"] for group in other.param_groups] == [0.1, 0.03]


def test_dampened_momentum_that_begins_late() -> None:
    """A parameter without a buffer takes its first gradient whole, also behind a checkpoint, of whichever class."""
    arguments: dict[str, Any] = {"lr": 0.1, "momentum": 0.9, "dampening": 0.5}
    expected = torch.optim.SGD(parameters(), **arguments)
    for first, second in ((fastopt.torch, torch.optim), (torch.optim, fastopt.torch), (fastopt.torch, fastopt.torch)):
        one = first.SGD(parameters(), **arguments)
        for optimizer in (expected, one):
            run(optimizer, 6, 7, gaps=True)  # which gives the first parameter none
            assert optimizer.param_groups[0]["params"][0].grad is None
        other = second.SGD(twins(params_of(one)), **arguments)
        other.load_state_dict(through_a_file(one.state_dict()))
        for optimizer in (expected, other):
            run(optimizer, 7, 10)
        assert_same(params_of(other), params_of(expected), rtol=1e-6)
        expected = torch.optim.SGD(parameters(), **arguments)


@pytest.mark.parametrize("rule", TORCH_RULES)
def test_bfloat16_parameters_through_torchs_class(rule: str) -> None:
    """torch keeps their state in bfloat16 too, and casts what it loads."""
    arguments = {"lr": 0.02, **arguments_with_state(rule)}
    ours = getattr(fastopt.torch, rule)(groups(parameters(torch.bfloat16)), **arguments)
    run(ours, 0, 4)
    theirs = getattr(torch.optim, rule)(groups(twins(params_of(ours))), **arguments)
    theirs.load_state_dict(through_a_file(ours.state_dict()))
    slots = [slot.name for slot in RULES[rule].slots]
    for a, b in zip(state_of(ours), state_of(theirs), strict=True):
        assert {a[name].dtype for name in slots} == {torch.float32}
        assert bits([b[name] for name in slots]) == bits([a[name].bfloat16() for name in slots])
        assert float(b.get("step", 4)) == 4
    run(theirs, 4, 7)
    for state_dtype in (None, "bfloat16"):
        back = getattr(fastopt.torch, rule)(groups(twins(params_of(theirs))), state_dtype=state_dtype, **arguments)
        back.load_state_dict(through_a_file(theirs.state_dict()))
        for a, b in zip(state_of(back), state_of(theirs), strict=True):
            assert bits([a[name].bfloat16() for name in slots]) == bits([b[name] for name in slots])
            assert float(a.get("step", 7)) == 7
        run(back, 7, 8)


def test_averages_come_through_torchs_class() -> None:
    """Which keeps them as they were."""
    ours = built("AdamW", parameters(), ema_decay=0.9)
    run(ours, 0, 3)
    averages = bits(ours.ema_params)
    theirs = torch.optim.AdamW(groups(twins(params_of(ours))), amsgrad=True)
    theirs.load_state_dict(through_a_file(ours.state_dict()))
    run(theirs, 3, 5)
    ours.load_state_dict(theirs.state_dict())
    assert bits(ours.ema_params) == averages
    run(ours, 5, 6)
    assert bits(ours.ema_params) != averages


# With schedulers, and by torch's own means


def schedulers(optimizer: torch.optim.Optimizer) -> list[Any]:
    return [
        torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=[0.1, 0.05], total_steps=12),
        torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=0),
    ]


@pytest.mark.parametrize("theirs", [False, True], ids=["ours", "torch's"])
def test_schedulers_resume_with_the_optimizer(theirs: bool) -> None:
    def steps(optimizer: Any, chosen: Any, begin: int, end: int) -> None:
        for step in range(begin, end):
            run(optimizer, step, step + 1)
            chosen.step(*([float(step)] if isinstance(chosen, torch.optim.lr_scheduler.ReduceLROnPlateau) else []))

    for kind in range(2):
        optimizers = [
            optim.AdamW(groups(parameters(torch.float64)), lr=0.02)
            for optim in (fastopt.torch, torch.optim if theirs else fastopt.torch)
        ]
        whole, part = optimizers
        chosen = [schedulers(optimizer)[kind] for optimizer in optimizers]
        steps(whole, chosen[0], 0, 10)
        steps(part, chosen[1], 0, 5)
        resumed = fastopt.torch.AdamW(groups(twins(params_of(part))), lr=0.5)
        scheduler = schedulers(resumed)[kind]
        resumed.load_state_dict(through_a_file(part.state_dict()))
        scheduler.load_state_dict(through_a_file(chosen[1].state_dict()))
        steps(resumed, scheduler, 5, 10)
        assert_same(params_of(resumed), params_of(whole), rtol=1e-9 if theirs else 0.0)
        assert [group["lr"] for group in resumed.param_groups] == [group["lr"] for group in whole.param_groups]
        assert resumed.param_groups[0]["lr"] not in (0.02, 0.5)


class Net(torch.nn.Module):
    """Parameters with names."""

    def __init__(self, params: list[torch.nn.Parameter]) -> None:
        super().__init__()
        for i, param in enumerate(params):
            self.register_parameter(f"p{i}", param)


def values_of(optimizer: Any) -> Any:
    """What operators read of it all."""
    state = [{key: value.float() for key, value in optimizer.state[param].items()} for param in params_of(optimizer)]
    return bits([state, params_of(optimizer), optimizer.state_dict()["param_groups"]])


@pytest.mark.parametrize(
    "options", [{}, {"full_state_dict": True}, {"flatten_optimizer_state_dict": True}], ids=["plain", "full", "flattened"]
)
@pytest.mark.parametrize("formats", [{}, {"state_dtype": "8bit", "ema_decay": 0.9}], ids=["float32", "8bit"])
@pytest.mark.parametrize("rule", ["AdamW", "SGD"])
def test_state_dicts_of_distributed_checkpoints(rule: str, formats: dict[str, Any], options: dict[str, Any]) -> None:
    """Saves state under the parameters' names, without a process group, and loads it into an optimizer without steps."""

    def optimizer_of_model(params: list[torch.nn.Parameter]) -> tuple[Net, Any]:
        own = [{"params": params[:2]}, {"params": params[2:], "lr": 0.03}]
        return Net(params), getattr(fastopt.torch, rule)(own, **{"lr": 0.1, **arguments_with_state(rule), **formats})

    model, first = optimizer_of_model(parameters())
    run(first, 0, 3)
    chosen = StateDictOptions(**options)
    saved = through_a_file(get_optimizer_state_dict(model, first, options=chosen))
    twin, second = optimizer_of_model(twins(params_of(first)))
    before = bits(params_of(second))
    set_optimizer_state_dict(twin, second, saved, options=chosen)
    assert bits(params_of(second)) == before
    seen = values_of if "full_state_dict" in options else everything  # that calls `to`: the same values, maybe in other codes
    assert seen(second) == seen(first)
    for optimizer in (first, second):
        run(optimizer, 3, 5)
    assert seen(second) == seen(first)
