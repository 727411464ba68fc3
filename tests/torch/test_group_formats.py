"""Formats of a group under fastopt.torch, keys that are no group's, and groups of another optimizer."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch

import fastopt.torch
from fastopt.torch.coded import Coded
from tests.support.torch_checkpoints import bits
from tests.support.torch_programs import TORCH_RULES, one_thread, random

__all__ = ["one_thread"]


def tensors() -> list[torch.nn.Parameter]:
    dtypes = (torch.float32, torch.float32, torch.bfloat16)
    return [torch.nn.Parameter(random(40, 10, seed=i, dtype=dtype)) for i, dtype in enumerate(dtypes)]


def mixed(params: list[torch.nn.Parameter], **arguments: Any) -> Any:
    groups: list[dict[str, Any]] = [
        {"params": params[0], "state_dtype": "float32"},
        {"params": params[1], "lr": 0.05},
        {"params": params[2], "state_dtype": "bfloat16", "master": "24bit"},
    ]
    return fastopt.torch.AdamW(groups, **{"lr": 0.1, "state_dtype": "8bit", **arguments})


def train(optimizer: Any, first: int, last: int) -> None:
    for step in range(first, last):
        for i, param in enumerate(p for group in optimizer.param_groups for p in group["params"]):
            param.grad = random(*param.shape, seed=10 * step + i, dtype=param.dtype)
        optimizer.step()


def kinds(optimizer: Any) -> list[tuple[str, bool]]:
    params = [p for group in optimizer.param_groups for p in group["params"]]
    entries = [optimizer.state[param] for param in params]
    names = ["8bit" if isinstance(e["exp_avg"], Coded) else str(e["exp_avg"].dtype).removeprefix("torch.") for e in entries]
    return list(zip(names, ["master" in entry for entry in entries], strict=True))


KINDS = [("float32", False), ("8bit", False), ("bfloat16", True)]


@pytest.mark.parametrize("backward", [False, True])
def test_each_group_is_kept_in_its_formats(backward: bool) -> None:
    params, alone = tensors(), tensors()
    optimizer = mixed(params)
    others = [
        fastopt.torch.AdamW([alone[0]], lr=0.1, state_dtype="float32"),
        fastopt.torch.AdamW([alone[1]], lr=0.05, state_dtype="8bit"),
        fastopt.torch.AdamW([alone[2]], lr=0.1, state_dtype="bfloat16", master="24bit"),
    ]
    for step in range(3):
        for i, (param, twin, other) in enumerate(zip(params, alone, others, strict=True)):
            param.grad = random(40, 10, seed=10 * step + i, dtype=param.dtype)
            twin.grad = param.grad.clone()
            other.step()
            if backward:
                optimizer.step_parameter(param)
        if not backward:
            optimizer.step()
    assert kinds(optimizer) == KINDS
    assert torch.equal(params[0], alone[0])
    torch.testing.assert_close(params[1], alone[1], rtol=0, atol=0.01)  # noise is of the place among all tensors
    assert [group["state_dtype"] for group in optimizer.param_groups] == ["float32", "8bit", "bfloat16"]
    assert [group["master"] for group in optimizer.param_groups] == [None, None, "24bit"]


def test_a_group_that_is_added_later() -> None:
    params = tensors()
    optimizer = fastopt.torch.AdamW(params[:1], lr=0.1)
    train(optimizer, 0, 1)
    optimizer.add_param_group({"params": params[1:2], "state_dtype": "8bit"})
    optimizer.add_param_group({"params": params[2:], "master": "float32"})
    train(optimizer, 1, 3)
    assert kinds(optimizer) == [("float32", False), ("8bit", False), ("float32", True)]


def test_a_format_that_is_written_into_a_group_acts_on_the_next_step() -> None:
    """State is converted, as by a load."""
    optimizer = mixed(tensors())
    train(optimizer, 0, 2)
    moment = optimizer.state[optimizer.param_groups[1]["params"][0]]["exp_avg"].float()
    optimizer.param_groups[1]["state_dtype"] = None
    optimizer.param_groups[1]["betas"] = (1 - 2.0**-20, 0.999)
    train(optimizer, 2, 3)
    now = optimizer.state[optimizer.param_groups[1]["params"][0]]["exp_avg"]
    assert kinds(optimizer) == [KINDS[0], ("float32", False), KINDS[2]]
    torch.testing.assert_close(now, moment, rtol=1e-5, atol=1e-5)
    optimizer.param_groups[1]["state_dtype"] = "4bit"
    for _ in range(2):
        with pytest.raises(ValueError, match=r"^state_dtype: got '4bit'"):
            optimizer.step()
    optimizer.param_groups[1]["state_dtype"] = ["8bit"]
    with pytest.raises((TypeError, ValueError), match=r"^state_dtype: got "):
        optimizer.step()
    optimizer.param_groups[1]["state_dtype"] = "8bit"
    train(optimizer, 3, 4)
    assert kinds(optimizer) == KINDS


@pytest.mark.parametrize("through", ["state_dict", "deepcopy"])
def test_checkpoints_resume_with_the_same_bits(through: str) -> None:
    source = mixed(tensors())
    train(source, 0, 3)
    if through == "deepcopy":
        other = copy.deepcopy(source)
    else:
        other = mixed(tensors())
        train(other, 7, 8)
        other.load_state_dict(copy.deepcopy(source.state_dict()))
        with torch.no_grad():
            for mine, group in zip(other.param_groups, source.param_groups, strict=True):
                mine["params"][0].copy_(group["params"][0])
    train(source, 3, 5)
    train(other, 3, 5)
    assert kinds(other) == KINDS
    assert bits(other.state_dict()) == bits(source.state_dict())


def test_a_checkpoint_comes_in_the_formats_of_the_optimizers_groups() -> None:
    source, params = mixed(tensors()), tensors()
    train(source, 0, 2)
    plain = fastopt.torch.AdamW([{"params": [param]} for param in params], lr=0.1)
    plain.load_state_dict(source.state_dict())
    assert [group["state_dtype"] for group in plain.param_groups] == [None] * 3
    assert kinds(plain) == [("float32", False)] * 3
    source.load_state_dict(plain.state_dict())
    assert kinds(source) == KINDS
    theirs = torch.optim.AdamW([{"params": [param]} for param in tensors()])
    theirs.load_state_dict(source.state_dict())
    train(theirs, 0, 1)


@pytest.mark.parametrize(
    ("group", "error", "words"),
    [
        ({"state_dtype": "4bit"}, ValueError, r"^(param_groups\[1\]: )?state_dtype: got '4bit'"),
        ({"state_dtype": "float64"}, ValueError, r"^state_dtype: got 'float64', expected None or one of .* for params\[0\]"),
        ({"master": "24bit"}, ValueError, r"^master: got '24bit', expected None for params\[0\] of float32"),
        (
            {"seed": 1},
            TypeError,
            r"^(param_groups\[1\]: )?seed: got int 1 in a group, expected it as an argument of the optimizer",
        ),
        ({"copy_to": [None]}, TypeError, r"copy_to: got .* in a group, expected it as an argument"),
        ({"max_norm": 1.0}, TypeError, r"max_norm: got float 1.0 in a group"),
        ({"ema_decay": 0.9}, TypeError, r"ema_decay: got float 0.9 in a group"),
    ],
)
@pytest.mark.parametrize("added", [False, True])
def test_keys_that_are_no_groups_are_refused(group: dict[str, Any], error: type[Exception], words: str, added: bool) -> None:
    param = tensors()[0]
    optimizer = fastopt.torch.AdamW(tensors()[1:])
    build = optimizer.add_param_group if added else lambda group: fastopt.torch.AdamW([group])
    with pytest.raises(error, match=words):
        build({"params": [param], **group})
    assert len(optimizer.param_groups) == 1
    fastopt.torch.AdamW([{"params": [param], "lr_scale": 0.5, "name": "decay"}])  # a program's own pass


# Groups of another optimizer


@pytest.mark.parametrize("rule", TORCH_RULES)
def test_groups_of_torchs_optimizer_are_taken(rule: str) -> None:
    """What its groups do not have is what the optimizer was built with."""
    params = tensors()[:2]
    theirs = getattr(torch.optim, rule)(params, lr=0.25)
    optimizer = getattr(fastopt.torch, rule)(tensors()[:2], l1=0.125, ema_decay=0.9)
    train(optimizer, 0, 1)
    optimizer.param_groups = theirs.param_groups
    train(optimizer, 1, 3)
    assert optimizer.param_groups is theirs.param_groups
    assert (optimizer.param_groups[0]["lr"], optimizer.param_groups[0]["l1"]) == (0.25, 0.125)
    train(theirs, 3, 4)


WRONG: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "of another rule": (
        lambda: torch.optim.SGD(tensors()).param_groups,
        KeyError,
        "param_groups: got a group without 'betas', expected Adam's lr, betas, eps, weight_decay, amsgrad",
    ),
    "without hyperparameters": (lambda: [{"params": tensors()}], KeyError, "param_groups: got a group without 'lr'"),
    "no list": (lambda: 3, TypeError, r"^param_groups: got int 3, expected a list of dicts, each with 'params'"),
    "no groups": (lambda: [tensors()], TypeError, r"^param_groups: got list"),
    "no params": (lambda: [{"lr": 0.1}], TypeError, r"^param_groups: got list"),
}


@pytest.mark.parametrize("what", WRONG)
def test_groups_that_are_none_are_refused_by_name(what: str) -> None:
    make, error, words = WRONG[what]
    optimizer = fastopt.torch.Adam(tensors())
    before = optimizer.param_groups
    with pytest.raises(error, match=words):
        optimizer.param_groups = make()
    assert optimizer.param_groups is before
    train(optimizer, 0, 1)
    if error is KeyError:  # a list of groups takes anything: then the step says it
        optimizer.param_groups.append(make()[0])
        with pytest.raises(KeyError, match=words):
            optimizer.step()


@pytest.mark.parametrize("optim", [fastopt.torch, torch.optim], ids=["ours", "torch"])
@pytest.mark.parametrize("arguments", [{}, {"state_dtype": "8bit"}, {"master": "24bit"}], ids=str)
def test_an_empty_group_is_taken(optim: Any, arguments: dict[str, Any]) -> None:
    param = torch.nn.Parameter(random(4, seed=1, dtype=torch.bfloat16))
    own = arguments if optim is fastopt.torch else {}
    optimizer = optim.AdamW([{"params": []}, {"params": [param]}, {"params": []}], **own)
    train(optimizer, 0, 2)
    optimizer.load_state_dict(optimizer.state_dict())
    train(optimizer, 2, 3)
    assert optimizer.state[param]["step"] == 3
    nothing = optim.AdamW([{"params": []}], **own)
    nothing.step()
    nothing.param_groups[0]["params"].append(param)
    nothing.step()
    assert nothing.state[param]["step"] == 1
