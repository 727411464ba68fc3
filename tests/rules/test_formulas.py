"""Every rule under every combination of its arguments, 100 steps, against float64 references of its formula."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastopt
from fastopt.rules import RULES
from tests.support import reference
from tests.support.cases import DTYPES, case_id, combinations, label, stage_arguments
from tests.support.side_by_side import compare

pytestmark = pytest.mark.kernel


def test_every_rule_has_a_reference() -> None:
    assert set(RULES) == set(reference.REFERENCES)


def cases() -> list[tuple[str, dict[str, Any]]]:
    rng = np.random.default_rng(1)
    result = []
    for rule in RULES.values():
        for own in combinations(rule, rng):
            stages = stage_arguments(rng)
            result += [(rule.name, own | stages[0]), (rule.name, own | stages[int(rng.integers(1, len(stages)))])]
    return result


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", cases(), ids=case_id)
def test_arguments(case: tuple[str, dict[str, Any]], dtype: Any) -> None:
    compare(*case, dtype, n=61, seed=len(label(case[1])))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("stages", stage_arguments(np.random.default_rng(2)), ids=label)
@pytest.mark.parametrize("rule", RULES)
def test_stages(rule: str, stages: dict[str, Any], dtype: Any) -> None:
    compare(rule, {"lr": 0.01} | stages, dtype, n=61, seed=3, grad_scale=1 / 1024)
    compare(rule, {"lr": 0.01} | stages, dtype, n=61, seed=4, grad_scale=-3.7)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rule", RULES)
def test_defaults(rule: str, dtype: Any) -> None:
    lr = RULES[rule].defaults["lr"]
    compare(rule, {}, dtype, n=61, seed=5, expected_arguments={"lr": lr})


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    data=st.data(),
    rule=st.sampled_from(sorted(RULES)),
    dtype=st.sampled_from(DTYPES),
    n=st.integers(0, 300),
    seed=st.integers(0, 2**32),
)
def test_random_arguments_and_sizes(data: st.DataObject, rule: str, dtype: Any, n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    own = data.draw(st.sampled_from(list(combinations(RULES[rule], rng))))
    stages = data.draw(st.sampled_from(stage_arguments(rng)))
    # The slack is for a gradient and its penalties that cancel, and leave an average that no longer shows what was rounded.
    compare(rule, own | stages, dtype, n, seed, steps=data.draw(st.integers(1, 30)), slack=4)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scheduled", [True, False], ids=["callable", "assigned"])
@pytest.mark.parametrize(
    ("rule", "arguments"),
    [(rule, {}) for rule in RULES]
    + [
        ("SGD", {"momentum": 0.9, "lr_in_momentum": lr_in_momentum, "nesterov": n})
        for lr_in_momentum in (False, True)
        for n in (False, True)
    ],
    ids=str,
)
def test_changing_lr(rule: str, arguments: dict[str, Any], scheduled: bool, dtype: Any) -> None:
    def schedule(completed: int) -> float:
        return 0.1 / (1 + completed)

    lr = schedule if scheduled else 1.0
    compare(rule, arguments | {"lr": lr}, dtype, 61, 6, expected_arguments=dict(arguments), lr_at=lambda t: schedule(t - 1))


def test_averaging_momentum_needs_the_zero_start() -> None:
    """The reason for momentum_init: under a constant gradient the average reaches 1 - b**t of it, not all at once."""
    paths = {}
    for init in ("gradient", "zero"):
        param = np.zeros(1)
        optimizer = fastopt.SGD(param, lr=1.0, momentum=0.9, dampening=0.9, momentum_init=init)
        optimizer.step(np.ones(1))
        paths[init] = float(param[0])
    assert paths == {"gradient": -1.0, "zero": pytest.approx(-0.1)}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("eps", [0.0, 1e-7])
def test_adagrad_makes_no_update_where_the_sum_is_zero(dtype: Any, eps: float) -> None:
    param, grad = np.array([1.0, 2.0, 3.0], dtype), np.array([0.0, -0.0, 4.0], dtype)
    fastopt.Adagrad(param, lr=0.5, eps=eps, eps_in_root=True).step(grad)
    assert param.tolist()[:2] == [1.0, 2.0]
    assert param[2] == pytest.approx(2.5)
    fastopt.Adagrad(param, eps=0.0).step(grad)
    assert np.isnan(param[:2]).all(), "torch's form divides 0 by 0"


def test_the_order_of_the_stages() -> None:
    """One step of plain SGD by hand: scale, sign, L1, L2; decay acts on the parameter alone."""
    param = np.array([2.0, -2.0, 0.0])
    fastopt.SGD(param, lr=0.1, l1=0.5, weight_decay=0.25, maximize=True).step(np.array([8.0, 8.0, 8.0]), grad_scale=0.5)
    assert param == pytest.approx(np.array([2.0, -2.0, 0.0]) - 0.1 * np.array([-4 + 0.5 + 0.5, -4 - 0.5 - 0.5, -4.0]))
    param = np.array([2.0])
    fastopt.SGD(param, lr=0.1, l1=0.5, weight_decay=0.25, decoupled_weight_decay=True).step(np.array([8.0]))
    assert param == pytest.approx(2.0 * (1 - 0.1 * 0.25) - 0.1 * (8.0 + 0.5))
