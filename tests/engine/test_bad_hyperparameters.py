"""Bad hyperparameters, out of the ranges of the table: an error that names the argument, and nothing changed."""

from __future__ import annotations

import math
import re
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

import fastopt
from fastopt.rules import RULES, Hyperparameter
from tests.support.comparing import digest
from tests.support.scenes import N, Scene

ALL_RULES = pytest.mark.parametrize("rule", RULES)


def numbers_outside(h: Hyperparameter) -> list[float]:
    low, high = (float(end) for end in h.range[1:-1].split(","))
    outside = [math.nan, math.inf, -math.inf, math.nextafter(low, -math.inf)]
    outside += [low] if h.range[0] == "(" else []
    if math.isfinite(high):
        outside += [math.nextafter(high, math.inf)] + ([high] if h.range[-1] == ")" else [])
    return [*outside, -1.0]


def bad_values() -> list[tuple[str, str, Any, Any, str]]:
    """Rule, argument, value, error, the name it must give: out of the ranges and choices of the table."""
    table: list[tuple[str, str, Any, Any, str]] = []
    for rule in RULES.values():
        for h in rule.arguments:
            wrong_types: list[Any] = [[0.5], 1j, np.ones(2)] + ([] if h.optional else [None])
            if h.choices:
                table += [(rule.name, h.name, value, TypeError, h.name) for value in (*wrong_types, 0.5)]
                table += [(rule.name, h.name, value, (TypeError, ValueError), h.name) for value in ("nonsense", 7)]
            elif h.components:
                good = list(h.default)
                for i in range(len(good)):
                    for value in numbers_outside(h):
                        table.append((rule.name, h.name, (*good[:i], value, *good[i + 1 :]), ValueError, f"{h.name}[{i}]"))
                    for wrong in (None, "0.9", True):
                        table.append((rule.name, h.name, (*good[:i], wrong, *good[i + 1 :]), TypeError, f"{h.name}[{i}]"))
                table += [(rule.name, h.name, value, ValueError, h.name) for value in ((), good[:1], (*good, 0.5))]
                table += [
                    (rule.name, h.name, value, TypeError, h.name) for value in (0.9, None, "0.9, 0.99", dict(enumerate(good)))
                ]
            else:
                table += [
                    (rule.name, h.name, value, ValueError, h.name)
                    for value in (*numbers_outside(h), np.float32(-1), Fraction(-1, 3))
                ]
                table += [(rule.name, h.name, value, TypeError, h.name) for value in (*wrong_types, "0.1", True, np.True_, b"1")]
                if h.range.endswith("inf)"):
                    table.append((rule.name, h.name, 10**400, ValueError, h.name))
    return table


@pytest.mark.parametrize(("rule", "name", "value", "error", "named"), bad_values(), ids=lambda v: str(v)[:40])
def test_hyperparameters(rule: str, name: str, value: Any, error: type[Exception], named: str) -> None:
    words = "^" + re.escape(named) + ": got"
    cls = getattr(fastopt, rule)
    with pytest.raises(error, match=words):
        cls(np.ones(2), **{name: value})
    with pytest.raises(error, match=words.replace("^", r"^params\[0\]: ")):
        cls([{"params": np.ones(2), name: value}])
    scene = Scene(rule)
    with scene.refuses(error, words):
        scene.optimizer.groups[0][name] = value
    if name == "lr":
        with scene.refuses(error, words):
            scene.optimizer.lr = value
        with pytest.raises(error, match=words):
            cls(np.ones(2), lr=lambda completed: value)
    param, state = np.ones(N), {slot.name: np.zeros(N) for slot in RULES[rule].slots}
    with pytest.raises(error, match=words):
        getattr(fastopt.functional, rule.lower())(param, np.ones(N), **state, step=1, **{name: value})
    assert param.tolist() == [1.0] * N


@ALL_RULES
def test_numbers_of_every_kind_are_taken(rule: str) -> None:
    for value in (0.5, np.float32(0.5), np.float64(0.5), Fraction(1, 2)):
        assert getattr(fastopt, rule)(np.ones(1), lr=value).lr == 0.5
    assert getattr(fastopt, rule)(np.ones(1), lr=1).lr == 1.0


@ALL_RULES
def test_arguments(rule: str) -> None:
    cls = getattr(fastopt, rule)
    for arguments, words in (({"learning_rate": 0.1}, "learning_rate"), ({"foreach": True}, "foreach")):
        with pytest.raises(TypeError, match=f"{rule}: .*{words}"):
            cls(np.ones(2), **arguments)
    with pytest.raises(TypeError, match=rule):
        cls(np.ones(2), 0.1, lr=0.1)
    with pytest.raises(TypeError, match=rule):
        cls(np.ones(2), *[0.1] * 20)
    with pytest.raises(TypeError):
        cls()
    with pytest.raises(TypeError):
        cls(np.ones(2)).step(np.ones(2), 0.5)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"nesterov": True}, "SGD: nesterov=True needs momentum"),
        ({"nesterov": True, "momentum": 0.9, "dampening": 0.1}, "SGD: nesterov=True needs momentum > 0 and dampening"),
        ({"lr_in_momentum": True}, "SGD: lr_in_momentum=True needs momentum"),
    ],
)
def test_arguments_that_need_each_other(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        fastopt.SGD(np.ones(2), **arguments)
    with pytest.raises(ValueError, match=words):
        fastopt.SGD([{"params": np.ones(2), **arguments}])
    with pytest.raises(ValueError, match=words):
        fastopt.functional.sgd(np.ones(2), np.ones(2), np.ones(2), step=1, **arguments)


def test_values_that_need_state_that_is_not_there() -> None:
    for optimizer, name, value, words in (
        (fastopt.SGD(np.ones(2)), "momentum", 0.9, "momentum_buffer"),
        (fastopt.Adam(np.ones(2)), "amsgrad", True, "max_exp_avg_sq"),
        (fastopt.Adagrad(np.ones(2)), "initial_accumulator_value", 0.5, "initial_accumulator_value"),
    ):
        before = dict(optimizer.groups[0])
        with pytest.raises(ValueError, match=words):
            optimizer.groups[0][name] = value
        assert {k: v for k, v in optimizer.groups[0].items() if k != "params"} == {
            k: v for k, v in before.items() if k != "params"
        }


@pytest.mark.parametrize(
    ("scale", "error"),
    [
        (math.nan, ValueError),
        (math.inf, ValueError),
        (-math.inf, ValueError),
        (10**400, ValueError),
        (np.float32("nan"), ValueError),
    ]
    + [(value, TypeError) for value in ("1", True, 1j, [1.0], np.ones(1))],
    ids=lambda value: str(value)[:20],
)
@ALL_RULES
def test_grad_scale(rule: str, scale: Any, error: type[Exception]) -> None:
    scene = Scene(rule)
    with scene.refuses(error, "^grad_scale: got"):
        scene.optimizer.step(scene.grads, grad_scale=scale)


@ALL_RULES
@pytest.mark.parametrize("value", [math.nan, -1.0, "fast", None, 10**400], ids=lambda value: str(value)[:20])
def test_a_schedule_that_goes_wrong(rule: str, value: Any) -> None:
    param = np.ones(2)
    optimizer = getattr(fastopt, rule)(param, lr=lambda completed: 0.1 if completed == 0 else value)
    optimizer.step(np.ones(2))
    before = digest(param), dict(optimizer.groups[0])["lr"]
    with pytest.raises((TypeError, ValueError), match=r"^lr: got"):
        optimizer.step(np.ones(2))
    assert (digest(param), optimizer.lr) == before
    assert optimizer.steps == 1 == optimizer.state[0]["step"]
