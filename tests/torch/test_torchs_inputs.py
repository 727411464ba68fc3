"""The inputs of torch's own tests of optimizers: what they hold for torch's classes holds for ours.

`differentiable` and sparse gradients aside.  The tests are not in torch's wheel, but what they are run with is.
"""

from __future__ import annotations

import sys
import types
import unittest
import warnings
from copy import deepcopy
from typing import Any

import pytest
import torch

import fastopt.torch
from tests.support.torch_programs import TORCH_RULES, assert_same, default_dtype, one_thread, random, state_of

__all__ = ["one_thread"]


def cases_of_torch() -> Any:
    """torch's module of inputs.  It imports base classes of torch's tests, which want a package that the inputs have no use for."""
    with pytest.MonkeyPatch.context() as patch:
        standing_in = types.ModuleType("expecttest")
        standing_in.TestCase = unittest.TestCase  # type: ignore[attr-defined]  # a base class that no test here has
        patch.setitem(sys.modules, "expecttest", standing_in)
        from torch.testing._internal import common_optimizers
    return common_optimizers


INFOS = {info.name: info for info in cases_of_torch().optim_db if info.name in TORCH_RULES}
KINDS = (None, "foreach", "fused")


def inputs(rule: str) -> list[dict[str, Any]]:
    """The arguments of every case, each with every implementation that its class has."""
    cases = []
    for case in INFOS[rule].optim_inputs_func("cpu"):
        for kind in KINDS:
            if kind is None or (kind in INFOS[rule].supported_impls and not refused(rule, case.kwargs, kind)):
                cases.append({**case.kwargs, **({kind: True} if kind else {})})
    return cases


def refused(rule: str, arguments: dict[str, Any], kind: str) -> bool:
    """Whether torch does not take a tensor for one of the hyperparameters in this implementation."""
    return (
        kind == "foreach" and any(isinstance(value, torch.Tensor) for value in arguments.values()) and rule in ("Adam", "AdamW")
    )


CASES = [(rule, i) for rule in INFOS for i in range(len(inputs(rule)))]


def both(rule: str, i: int, params: Any, **more: Any) -> tuple[Any, Any]:
    """Our optimizer and torch's over equal parameters, which `params` makes."""
    return tuple(
        getattr(module, rule)(params(), **deepcopy({**inputs(rule)[i], **more})) for module in (fastopt.torch, torch.optim)
    )


def all_params(optimizer: Any) -> list[torch.Tensor]:
    return [param for group in optimizer.param_groups for param in group["params"]]


def give(optimizer: Any, step: int) -> None:
    for k, param in enumerate(all_params(optimizer)):
        values = random(*param.shape, seed=10 * step + k, dtype=torch.float64)
        param.grad = torch.complex(values, values.flip(0)).to(param.dtype) if param.is_complex() else values.to(param.dtype)


def assert_alike(ours: Any, theirs: Any, rtol: float = 1e-9) -> None:
    assert_same([p.detach() for p in all_params(ours)], [p.detach() for p in all_params(theirs)], rtol=rtol)
    # Counts by their value: where `fused` is on torch loads them in float32, whatever they were.
    states = [[{k: float(v) if k == "step" else v for k, v in entry.items()} for entry in state_of(o)] for o in (ours, theirs)]
    assert_same(*states, rtol=rtol)


def parameters(dtype: torch.dtype = torch.float64) -> list[torch.nn.Parameter]:
    return [torch.nn.Parameter(random(*shape, seed=k).to(dtype)) for k, shape in enumerate(((5, 3), (4,), (1,), ()))]


@pytest.fixture(autouse=True)
def float64() -> Any:
    with default_dtype(torch.float64):
        yield


def test_the_cases_are_there() -> None:
    assert set(INFOS) == set(TORCH_RULES)
    assert len(CASES) > 100


@pytest.mark.parametrize(("rule", "i"), CASES)
def test_steps_state_and_checkpoints(rule: str, i: int) -> None:
    """test_forloop, test_step_is_noop_when_params_have_no_grad, test_state_dict_deterministic, test_can_load_older_state_dict,
    test_deepcopy_copies_all_public_attrs, test_save_load_equality_with_weights_only, test_optim_infos."""
    ours, theirs = both(rule, i, parameters)
    for step in range(6):
        for optimizer in (ours, theirs):
            give(optimizer, step)
            if step == 3:
                optimizer.zero_grad()
            if step == 4:
                all_params(optimizer)[1].grad = None
            optimizer.step()
    assert_alike(ours, theirs)
    crossed = [deepcopy(theirs.state_dict()), deepcopy(ours.state_dict())]
    for optimizer, saved in zip((ours, theirs), crossed, strict=True):
        for group in saved["param_groups"]:
            for flag in INFOS[rule].not_og_supported_flags:
                if flag != "maximize" or not group.get("maximize"):
                    group.pop(flag, None)
        optimizer.load_state_dict(saved)
    ours = deepcopy(ours)
    theirs = deepcopy(theirs)
    for optimizer in (ours, theirs):
        for group in optimizer.param_groups:
            group["foreach"] = None
        give(optimizer, 7)
        optimizer.step()
    assert_alike(ours, theirs)


@pytest.mark.parametrize(("rule", "i"), CASES)
def test_complex_parameters_and_groups(rule: str, i: int) -> None:
    """test_complex, test_complex_2d, test_param_groups_lr, test_param_groups_weight_decay, test_mixed_device_dtype."""

    def params() -> Any:
        mixed = [
            torch.nn.Parameter(torch.complex(random(4, 3, seed=1), random(4, 3, seed=2))),
            torch.nn.Parameter(random(4, seed=3)),
            torch.nn.Parameter(random(6, 6, seed=4)[:, ::2]),
        ]
        return [{"params": mixed[:1]}, {"params": mixed[1:], "lr": 0.02, "weight_decay": 0.05}]

    if inputs(rule)[i].get("fused"):
        ours, theirs = both(rule, i, params, fused=None)  # which torch's fused kernels do not take
    else:
        ours, theirs = both(rule, i, params)
    for step in range(4):
        for optimizer in (ours, theirs):
            give(optimizer, step)
            optimizer.step()
    assert_alike(ours, theirs)


@pytest.mark.parametrize("rule", INFOS)
def test_schedulers(rule: str) -> None:
    """test_forloop_goes_right_direction with each of its schedulers."""
    for make in INFOS[rule].scheduler_inputs:
        if rule in ("Adam", "AdamW"):
            ours, theirs = both(rule, 0, parameters, lr=torch.tensor(0.05))
        else:
            ours, theirs = both(rule, 0, parameters, lr=0.05)
        schedules = [[each(optimizer) for each in make] for optimizer in (ours, theirs)]
        for step in range(12):
            for optimizer, own in zip((ours, theirs), schedules, strict=True):
                give(optimizer, step)
                optimizer.step()
                for each in own:
                    each.step(*([torch.tensor(1.0)] if isinstance(each, torch.optim.lr_scheduler.ReduceLROnPlateau) else []))
        assert_alike(ours, theirs)


ERRORS = [(rule, case) for rule, info in INFOS.items() for case in info.optim_error_inputs_func("cpu", torch.float64)]


@pytest.mark.parametrize(("rule", "case"), ERRORS, ids=[f"{rule}: {case.optimizer_error_input.desc}" for rule, case in ERRORS])
def test_errors_are_of_torchs_kind(rule: str, case: Any) -> None:
    """test_errors: the same exception, or warning, from the constructor."""
    given = case.optimizer_error_input
    for module in (torch.optim, fastopt.torch):
        params = [torch.nn.Parameter(torch.ones(2, 2))] if given.params is None else given.params
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)
            with pytest.raises(case.error_type) as raised:
                getattr(module, rule)(deepcopy(params) if given.params is None else params, **given.kwargs)
        if module is torch.optim:
            raised.match(case.error_regex)


@pytest.mark.parametrize("rule", INFOS)
@pytest.mark.parametrize("what", ["lr", "betas", "one beta", "the other beta", "lr of two", "lr of shape (1,)"])
@pytest.mark.parametrize("kind", [{}, {"foreach": True}, {"foreach": True, "capturable": True}, {"capturable": True}], ids=str)
def test_tensors_for_hyperparameters(rule: str, what: str, kind: dict[str, Any]) -> None:
    """Taken where torch takes them, refused with its kind of error where not."""
    values: dict[str, Any] = {
        "lr": {"lr": torch.tensor(0.01)},
        "betas": {"betas": (torch.tensor(0.9), torch.tensor(0.99))},
        "one beta": {"betas": (torch.tensor(0.9), 0.99)},
        "the other beta": {"betas": (0.9, torch.tensor(0.99))},
        "lr of two": {"lr": torch.tensor([0.01, 0.02])},
        "lr of shape (1,)": {"lr": torch.tensor([0.01])},
    }[what]
    raised = []
    for module in (fastopt.torch, torch.optim):
        try:
            getattr(module, rule)(parameters(), **deepcopy(values), **kind)
            raised.append(None)
        except Exception as error:  # any: its kind is compared
            raised.append(type(error))
    assert raised[0] is raised[1]


@pytest.mark.parametrize("rule", INFOS)
def test_hooks_and_profiling_names(rule: str) -> None:
    """test_step_post_hook, test_step_pre_hook, test_step_all_hooks, test_state_dict_pre_hook, test_state_dict_post_hook."""
    seen = []
    for module in (fastopt.torch, torch.optim):
        optimizer, calls = getattr(module, rule)(parameters()), []
        optimizer.register_step_pre_hook(lambda opt, args, kwargs, calls=calls: calls.append("before"))
        optimizer.register_step_post_hook(lambda opt, args, kwargs, calls=calls: calls.append("after"))
        optimizer.register_state_dict_pre_hook(lambda opt: opt.state.update(test=1))
        optimizer.register_state_dict_post_hook(lambda opt, saved: saved["state"].pop("test") and None)
        give(optimizer, 0)
        optimizer.step()
        saved = optimizer.state_dict()
        calls += [sorted(saved["state"], key=str), optimizer.state["test"]]
        seen.append(calls)
    assert seen[0] == seen[1]
