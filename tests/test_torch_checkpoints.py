"""fastopt.torch's checkpoints: a run that changes its optimizer, its file or its format in the middle ends where it would have."""

from __future__ import annotations

import copy
import functools
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_optimizer_state_dict, set_optimizer_state_dict

import fastopt
import fastopt.torch
from fastopt.rules import RULES
from fastopt.torch.coded import Coded
from helpers import History, arguments_with_state, assert_close
from torch_checkpoint_helpers import bits, built, everything, groups, parameters, params_of, run, through_a_file, twins
from torch_helpers import FUSED, TORCH_RULES, assert_same, default_dtype, one_thread, state_of

__all__ = ["one_thread"]

PART = 7
"""Steps before each change."""
ULPS = 15.0
"""As tests/test_torch.py has it."""

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


def optimizer_of(optim: Any, rule: str, number: int, params: list[torch.nn.Parameter], **more: Any) -> Any:
    return getattr(optim, rule)(groups(params), lr=0.02, **SETS[rule][number], **more)


@functools.cache
def unswapped(rule: str, number: int, dtype: torch.dtype) -> tuple[Any, list[History]]:
    """torch's class all the way, and how large its numbers were."""
    theirs = optimizer_of(torch.optim, rule, number, parameters(dtype), foreach=False)
    histories = [History() for _ in params_of(theirs)]
    with default_dtype(torch.float64):
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
    with default_dtype(torch.float64):  # under float32 torch keeps NAdam's running product in that
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
    """Of state and groups, but NAdam's running product, which is float64, and the count that dampened SGD adds."""
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
            assert [float(entry.pop("step")) for entry in ours["state"].values()] == [3, 3, 2, 3, 3]
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
            run(optimizer, 4, 5, gaps=True)  # which gives the first parameter none
            assert optimizer.param_groups[0]["params"][0].grad is None
        other = second.SGD(twins(params_of(one)), **arguments)
        other.load_state_dict(through_a_file(one.state_dict()))
        for optimizer in (expected, other):
            run(optimizer, 5, 8)
        assert_same(params_of(other), params_of(expected), rtol=1e-6)
        expected = torch.optim.SGD(parameters(), **arguments)


# Formats: ours to ours, bit for bit

Format = tuple[torch.dtype, dict[str, Any]]
FORMATS: list[Format] = [
    (torch.float64, {}),
    (torch.float64, {"state_dtype": "float64", "ema_decay": 0.9}),
    (torch.float32, {}),
    (torch.float32, {"state_dtype": "bfloat16", "ema_decay": 0.9}),
    (torch.float32, {"state_dtype": "8bit"}),
    (torch.bfloat16, {}),
    (torch.bfloat16, {"state_dtype": "bfloat16", "master": "24bit", "seed": 2**64 - 1}),
    (torch.bfloat16, {"state_dtype": "8bit", "master": "24bit", "ema_decay": 0.9, "seed": 11}),
    (torch.bfloat16, {"state_dtype": "8bit", "master": "32bit", "seed": 12}),
    (torch.bfloat16, {"master": "float32"}),
    (torch.bfloat16, {"state_dtype": "8bit", "master": "stochastic", "seed": 13}),
    (torch.float16, {"state_dtype": "bfloat16"}),
    (torch.float16, {"master": "24bit", "seed": 14}),
    (torch.float16, {"state_dtype": "8bit", "master": "32bit", "ema_decay": 0.9, "seed": 15}),
    (torch.float16, {"state_dtype": "bfloat16", "master": "float32"}),
    (torch.float16, {"master": "stochastic", "seed": 16}),
]


def in_formats(test: Callable[..., None]) -> Any:
    words = [f"{dtype}-{'-'.join(map(str, given.values()))}".removeprefix("torch.") for dtype, given in FORMATS]
    return pytest.mark.parametrize(("dtype", "formats"), FORMATS, ids=words)(test)


@in_formats
@pytest.mark.parametrize("rule", RULES)
def test_a_checkpoint_resumes_bit_for_bit(rule: str, dtype: torch.dtype, formats: dict[str, Any]) -> None:
    first = built(rule, parameters(dtype), **formats, clip_value=1.5)
    run(first, 0, 5, gaps=True)
    second = built(rule, twins(params_of(first)), **{**formats, "seed": 1}, lr=0.5)  # the checkpoint has the rest
    second.load_state_dict(through_a_file(first.state_dict()))
    assert everything(second) == everything(first)
    for optimizer in (first, second):
        run(optimizer, 5, 9, gaps=True)
    assert everything(second) == everything(first)
    assert dict(second.options)["clip_value"] == 1.5


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda each: pickle.loads(pickle.dumps(each))], ids=["deepcopy", "pickle"])
@in_formats
def test_copies_continue_bit_for_bit(dtype: torch.dtype, formats: dict[str, Any], copied: Callable[..., Any]) -> None:
    for rule in ("AdamW", "NAdam", "Lion"):
        model = torch.nn.ParameterList(parameters(dtype))
        optimizer = built(rule, list(model), **formats)
        run(optimizer, 0, 5, gaps=True)
        twin, other = copied((model, optimizer))
        assert all(a is b for a, b in zip(twin, params_of(other), strict=True))
        assert everything(other) == everything(optimizer)
        run(optimizer, 5, 6)
        assert everything(other) != everything(optimizer)
        run(other, 5, 6)
        for each in (optimizer, other):
            run(each, 6, 9, gaps=True)
        assert everything(other) == everything(optimizer)


def test_copies_have_copies_of_what_takes_copies() -> None:
    params = parameters()
    optimizer = fastopt.torch.AdamW(params, lr=0.1, copy_to=[torch.zeros_like(p, dtype=torch.bfloat16) for p in params])
    run(optimizer, 0, 2)
    for copied in (copy.deepcopy(optimizer), pickle.loads(pickle.dumps(optimizer))):
        before = bits(list(optimizer._copies.values()))
        assert bits(list(copied._copies.values())) == before
        run(copied, 2, 3)
        assert bits(list(copied._copies.values())) == bits([param.bfloat16() for param in params_of(copied)])
        assert bits(list(optimizer._copies.values())) == before


def test_skipped_steps_are_counted_on() -> None:
    first = built("AdamW", parameters(), skip_nonfinite=True)
    run(first, 0, 2)
    params_of(first)[1].grad.fill_(torch.nan)
    before = bits(params_of(first))
    first.step()
    assert (first.skipped_steps, bits(params_of(first))) == (1, before)
    second = built("AdamW", twins(params_of(first)), skip_nonfinite=True)
    for other in (copy.deepcopy(first), second):
        other.load_state_dict(through_a_file(first.state_dict()))
        assert other.skipped_steps == 1
        params_of(other)[1].grad = torch.full((3,), torch.inf)
        other.step()
        assert other.skipped_steps == 2


# Conversions


def flat(tensor: torch.Tensor) -> np.ndarray[Any, Any]:
    """float32 values in the order of the memory."""
    values = tensor.detach().float()
    return values.as_strided((values.numel(),), (1,)).numpy()


@pytest.mark.parametrize("to", [None, "bfloat16", "8bit"])
@pytest.mark.parametrize("saved", [None, "bfloat16", "8bit"])
@pytest.mark.parametrize("rule", ["AdamW", "SGD", "Adadelta", "RMSprop"])
def test_a_format_from_another_is_rounded_as_by_fastopt(rule: str, saved: str | None, to: str | None) -> None:
    first = built(rule, parameters(), state_dtype=saved)
    run(first, 0, 4, gaps=True)
    second = built(rule, twins(params_of(first)), state_dtype=to)
    second.load_state_dict(through_a_file(first.state_dict()))
    for a, b in zip(params_of(first), params_of(second), strict=True):
        core = getattr(fastopt, rule)(flat(b).copy(), state_dtype=to, **arguments_with_state(rule))
        for slot in RULES[rule].slots:
            value, found = first.state[a][slot.name], second.state[b][slot.name]
            state = core.state[0][slot.name]
            state[...] = flat(value)
            assert found.stride() == b.stride()
            assert np.array_equal(flat(found), np.asarray(state, np.float32))
            if isinstance(found, Coded):
                assert np.array_equal(found.codes.numpy().reshape(-1), state.raw["codes"].reshape(-1))
                assert np.array_equal(found.blocks.numpy().view(np.uint32), state.raw["blocks"])
        assert second.state[b].get("step") == first.state[a].get("step") or rule == "SGD"
    run(second, 4, 6)


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
    theirs.load_state_dict(ours.state_dict())
    run(theirs, 3, 5)
    ours.load_state_dict(theirs.state_dict())
    assert bits(ours.ema_params) == averages
    run(ours, 5, 6)
    assert bits(ours.ema_params) != averages
