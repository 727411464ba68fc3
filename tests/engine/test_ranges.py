"""Factors and limits that vanish or overflow in the tensors' arithmetic are refused by name; those that it holds act as they did."""

from __future__ import annotations

import math
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import fastopt
from fastopt.rules import RULES
from tests.support.comparing import assert_same_bits
from tests.support.scenes import Scene

LEAST = 2.0**-149
"""The smallest number of float32."""
LARGEST = float(np.finfo(np.float32).max)
VANISH = (LEAST / 2, 1e-60, 1e-300, 5e-324)
OVERFLOW = (LARGEST + 2.0**103, 1e39, 1e300)
HELD = (LEAST, math.nextafter(LEAST / 2, 1.0), 1e-40, 2.0**-126, LARGEST, math.nextafter(LARGEST + 2.0**103, 0.0))
OPTIONS = ("grad_scale", "clip_value", "max_norm")
SINGLE = (np.float32, np.float16, ml_dtypes.bfloat16)


def words(name: str, tensor: str) -> str:
    return rf"^{name}: got .*, which is (-?0|-?inf) in float32, the arithmetic of {tensor}; expected a size of 0, or from 1.4e-45 to 3.4e38"


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("value", [*VANISH, *OVERFLOW])
def test_options_that_float32_does_not_hold(name: str, value: float) -> None:
    for dtype in SINGLE:
        with pytest.raises(ValueError, match=words(name, "params")):
            fastopt.SGD(np.ones(2, dtype), **{name: value})
    scene = Scene("AdamW")
    expected = words(name, r"params\[0\]")
    with scene.refuses(ValueError, expected):
        scene.optimizer.step(scene.grads, **{name: value})
    with scene.refuses(ValueError, expected):
        scene.optimizer.options[name] = value
    with scene.refuses(ValueError, expected):
        scene.optimizer.options.update({"zero_grad": True, name: value})
    if name != "max_norm":
        with scene.refuses(ValueError, expected):
            scene.optimizer.step_part(0, scene.grads[0], **{name: value})
    with scene.refuses(ValueError, f"override: {expected[1:]}"):
        scene.optimizer.load_state_dict(scene.optimizer.state_dict(), override={name: value})
    snapshot = scene.optimizer.state_dict()
    snapshot["options"][name] = value
    with scene.refuses(ValueError, rf"state_dict\['options'\]: {expected[1:]}"):
        scene.optimizer.load_state_dict(snapshot)


@pytest.mark.parametrize("name", OPTIONS)
def test_one_tensor_of_float32_is_enough(name: str) -> None:
    with pytest.raises(ValueError, match=words(name, r"params\[1\]")):
        fastopt.SGD([np.ones(2), np.ones(2, np.float32)], **{name: 1e-60})
    for value in (*VANISH, *OVERFLOW, *HELD):
        fastopt.SGD([np.ones(2), np.ones(2)], **{name: value}).step([np.ones(2), np.ones(2)])


def test_a_negative_grad_scale() -> None:
    fastopt.SGD(np.ones(2, np.float32), grad_scale=-LEAST)
    for value in (-1e-60, -1e39):
        with pytest.raises(ValueError, match=words("grad_scale", "params")):
            fastopt.SGD(np.ones(2, np.float32), grad_scale=value)


@pytest.mark.parametrize("value", HELD)
def test_what_float32_holds_acts_as_its_rounding(value: float) -> None:
    grad, param = np.array([1.0, -1.0, 0.5], np.float32), np.full(3, -0.0, np.float32)
    with np.errstate(over="ignore", under="ignore"):
        fastopt.SGD(param, lr=1.0, grad_scale=value).step(grad)
        assert_same_bits([-param], [grad * np.float32(value)])
        param[...] = -0.0
        fastopt.SGD(param, lr=1.0, clip_value=value).step(grad)
        assert_same_bits([-param], [np.clip(grad, -np.float32(value), np.float32(value))])
    assert fastopt.SGD(param, grad_scale=0.0).options["grad_scale"] == 0.0


def test_clipping_outside_of_a_step() -> None:
    for dtype in SINGLE:
        grads = [np.ones(3), np.ones(3, dtype)]
        for value in (*VANISH, *OVERFLOW):
            with pytest.raises(ValueError, match=words("clip_value", "grads")):
                fastopt.clip_grad_value(grads, value)
            with pytest.raises(ValueError, match=words("max_norm", "grads")):
                fastopt.clip_grad_norm(grads, value)
        assert all((grad == 1).all() for grad in grads)
    grad = np.ones(3)
    fastopt.clip_grad_value(grad, 1e-300)
    assert (grad == 1e-300).all()


@pytest.mark.parametrize("rule", RULES)
def test_hyperparameters_that_float32_does_not_hold(rule: str) -> None:
    numbers = [h for h in RULES[rule].arguments if not (h.choices or h.components or h.constant) and h.name != "lr"]
    for h in numbers:
        low, high = (float(end) for end in h.range[1:-1].split(","))
        expected = rf"{h.name}: got .*, which is (0|inf) in float32, the arithmetic of "
        for value in [*(VANISH if low == 0 else ()), *(OVERFLOW if high == math.inf else ())]:
            with pytest.raises(ValueError, match=rf"^{expected}params"):
                getattr(fastopt, rule)(np.ones(2, np.float32), **{h.name: value})
            with pytest.raises(ValueError, match=rf"^params\[0\]: {expected}params\[0\]\['params'\]"):
                getattr(fastopt, rule)([{"params": np.ones(2, np.float32), h.name: value}, {"params": np.ones(2)}])
            getattr(fastopt, rule)([{"params": np.ones(2), h.name: value}, {"params": np.ones(2, np.float32)}])
            scene = Scene(rule)
            with scene.refuses(ValueError, rf"^{expected}params\[0\]"):
                scene.optimizer.groups[0][h.name] = value
            slots = RULES[rule].variant(RULES[rule].check(RULES[rule].defaults | {h.name: value})).slots
            arrays = {name: np.ones(2, np.float32) for name in ("param", "grad", *slots)}
            with pytest.raises(ValueError, match=rf"^{expected}param"):
                getattr(fastopt.functional, rule.lower())(
                    **arrays,
                    **{name: np.ones(()) for name in RULES[rule].carried},
                    step=1,
                    **{h.name: value},
                )


def test_a_learning_rate_may_vanish_but_not_overflow() -> None:
    """A decay ends in a step of 0; no training wants one of Inf."""
    p = np.ones(2, np.float32)
    optimizer = fastopt.SGD(p, lr=1e-60)
    optimizer.step(np.ones(2, np.float32))
    assert (p == 1).all()
    optimizer.lr = 5e-324
    for change in (lambda: fastopt.SGD(p, lr=1e39), lambda: setattr(optimizer, "lr", 1e39)):
        with pytest.raises(ValueError, match=r"^lr: got 1e\+39, which is inf in float32, the arithmetic of params"):
            change()
    scheduled = fastopt.SGD(p, lr=fastopt.schedules.exponential(1e-30, 1e-30))
    for _ in range(4):
        scheduled.step(np.ones(2, np.float32))
    again = fastopt.SGD(p)
    again.load_state_dict(scheduled.state_dict())
    assert again.lr == scheduled.lr


@pytest.mark.parametrize("value", [*VANISH, *OVERFLOW])
def test_grad_scale_of_a_bare_kernel(value: Any) -> None:
    p, g = np.ones(2, np.float32), np.ones(2, np.float32)
    with pytest.raises(ValueError, match=words("grad_scale", "param")):
        fastopt.functional.sgd(p, g, step=1, grad_scale=value)
    assert (p == 1).all()
