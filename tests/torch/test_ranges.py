"""Factors, limits and hyperparameters that vanish or overflow in the arithmetic of the parameters are refused by name, with nothing written."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

import fastopt.torch
from fastopt.rules import RULES
from tests.support.torch_checkpoints import bits, everything
from tests.support.torch_programs import one_thread

__all__ = ["one_thread"]

LEAST = 2.0**-149
"""The smallest number of float32."""
LARGEST = float(torch.finfo(torch.float32).max)
VANISH = (LEAST / 2, 1e-60, 5e-324)
OVERFLOW = (LARGEST + 2.0**103, 1e300)
OPTIONS = ("grad_scale", "clip_value", "max_norm")
SINGLE = (torch.float32, torch.float16, torch.bfloat16, torch.complex64)
DOUBLE = (torch.float64, torch.complex128)


def words(name: str, tensor: str) -> str:
    return rf"{name}: got .*, which is (-?0|-?inf) in float32, the arithmetic of {tensor}; expected a size of "


FIRST = r"param_groups\[0\]\['params'\]\[0\]"
SECOND = r"param_groups\[1\]\['params'\]\[0\]"


def parameter(dtype: torch.dtype = torch.float32) -> torch.nn.Parameter:
    made = torch.nn.Parameter(torch.ones(3, dtype=dtype))
    made.grad = torch.full_like(made, 0.5)
    return made


def assert_refused(optimizer: Any, action: Callable[[], Any], match: str) -> None:
    before, steps = everything(optimizer), optimizer._book.steps
    with pytest.raises(ValueError, match=match):
        action()
    assert everything(optimizer) == before
    assert optimizer._book.steps is steps


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("value", [*VANISH, *OVERFLOW])
def test_options_that_float32_does_not_hold(name: str, value: float) -> None:
    for dtype in SINGLE:
        with pytest.raises(ValueError, match=f"^{words(name, FIRST)}"):
            fastopt.torch.AdamW([parameter(dtype)], **{name: value})
    optimizer = fastopt.torch.AdamW([("w", parameter())])
    optimizer.step()
    match = f"^{words(name, chr(39).join(('parameter ', 'w', '')))}"
    assert_refused(optimizer, lambda: optimizer.step(**{name: value}), match)
    assert_refused(optimizer, lambda: optimizer.options.update({"zero_grad": True, name: value}), match)
    assert_refused(optimizer, lambda: optimizer.options.__setitem__(name, value), match)
    saved = copy.deepcopy(optimizer.state_dict())
    saved["fastopt"]["options"][name] = value
    assert_refused(optimizer, lambda: optimizer.load_state_dict(saved), rf"^state_dict\['fastopt'\]: {match[1:]}")


@pytest.mark.parametrize("name", OPTIONS)
def test_double_precision_holds_them(name: str) -> None:
    for dtype in DOUBLE:
        for value in (*VANISH, *OVERFLOW):
            fastopt.torch.SGD([parameter(dtype)], **{name: value}).step()


@pytest.mark.parametrize("name", OPTIONS)
def test_one_parameter_of_float32_is_enough(name: str) -> None:
    second = r"param_groups\[1\]\['params'\]\[1\]"
    groups = [{"params": [parameter(torch.float64)]}, {"params": [parameter(torch.float64), parameter()]}]
    with pytest.raises(ValueError, match=f"^{words(name, second)}"):
        fastopt.torch.SGD(groups, **{name: 1e-60})
    optimizer = fastopt.torch.SGD(groups[:1], **{name: 1e-60})
    with pytest.raises(ValueError, match=f"^{words(name, second)}"):
        optimizer.add_param_group(groups[1])
    assert len(optimizer.param_groups) == 1
    optimizer.step()


@pytest.mark.parametrize("name", OPTIONS)
def test_a_parameter_whose_dtype_changes(name: str) -> None:
    """A model's `float()` and `double()` keep its parameters."""
    model = torch.nn.Linear(2, 1).double()
    optimizer = fastopt.torch.SGD(model.parameters(), **{name: 1e-60})
    model(torch.ones(1, 2, dtype=torch.float64)).backward()
    optimizer.step()
    model.float()
    model(torch.ones(1, 2)).backward()
    before = bits(list(model.parameters()))
    with pytest.raises(ValueError, match=f"^{words(name, FIRST)}"):
        optimizer.step()
    optimizer.options[name] = 1.0
    optimizer.step()
    assert bits(list(model.parameters())) != before
    model.double()
    model(torch.ones(1, 2, dtype=torch.float64)).backward()
    optimizer.step()
    model.float()
    model(torch.ones(1, 2)).backward()
    with pytest.raises(ValueError, match=f"^{words(name, FIRST)}"):
        optimizer.step(**{name: 1e-60})


def test_a_step_in_backward() -> None:
    model = torch.nn.Linear(2, 1).double()
    optimizer = fastopt.torch.SGD(model.parameters(), clip_value=1e-60)
    fastopt.torch.fused_in_backward(model, optimizer)
    model.float()
    before = bits(list(model.parameters()))
    with pytest.raises(ValueError, match=words("clip_value", r"param_groups\[0\]\['params'\]\[[01]\]")):
        model(torch.ones(1, 2)).backward()
    assert bits(list(model.parameters())) == before


@pytest.mark.parametrize("rule", RULES)
def test_hyperparameters_that_float32_does_not_hold(rule: str) -> None:
    numbers = [h for h in RULES[rule].arguments if not (h.choices or h.components or h.constant) and h.name != "lr"]
    for h in numbers:
        low, high = (float(end) for end in h.range[1:-1].split(","))
        for value in [*(VANISH if low == 0 else ()), *(OVERFLOW if high == math.inf else ())]:
            with pytest.raises(ValueError, match=f"^{words(h.name, FIRST)}"):
                getattr(fastopt.torch, rule)([parameter()], **{h.name: value})
            getattr(fastopt.torch, rule)([parameter(torch.float64)], **{h.name: value})
            optimizer = getattr(fastopt.torch, rule)([parameter()])
            optimizer.step()
            with pytest.raises(ValueError, match=rf"^param_groups\[1\]: {words(h.name, SECOND)}"):
                optimizer.add_param_group({"params": [parameter()], h.name: value})
            saved = copy.deepcopy(optimizer.state_dict())
            saved["param_groups"][0][h.name] = value
            match = rf"^state_dict\['param_groups'\]\[0\]: {words(h.name, FIRST)}"
            assert_refused(optimizer, lambda optimizer=optimizer, saved=saved: optimizer.load_state_dict(saved), match)
            optimizer.param_groups[0][h.name] = value
            assert_refused(optimizer, optimizer.step, f"^{words(h.name, FIRST)}")


@pytest.mark.parametrize("tensor", [False, True], ids=["number", "tensor"])
def test_a_learning_rate_may_vanish_but_not_overflow(tensor: bool) -> None:
    """A decay ends in a step of 0."""

    def number(value: float) -> Any:
        return torch.tensor(value, dtype=torch.float64) if tensor else value

    p = parameter()
    optimizer = fastopt.torch.SGD([p], lr=number(1e-60))
    optimizer.step()
    optimizer.param_groups[0]["lr"] = number(5e-324)
    optimizer.step()
    assert (p == 1).all()
    optimizer.param_groups[0]["lr"] = number(1e39)
    assert_refused(optimizer, optimizer.step, rf"^lr: got 1e\+39, which is inf in float32, the arithmetic of {FIRST}")
    with pytest.raises(ValueError, match=rf"^lr: got 1e\+39, which is inf in float32, the arithmetic of {FIRST}"):
        fastopt.torch.SGD([p], lr=number(1e39))
    double = fastopt.torch.SGD([parameter(torch.float64)], lr=number(1e-3))
    double.step()
    double.param_groups[0]["lr"] = number(1e39)
    double.step()
