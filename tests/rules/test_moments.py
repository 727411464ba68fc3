"""What the averages and running scalars of some rules must not lose: cases that random gradients do not reach."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastopt
from fastopt.rules import RULES
from tests.support.arrays import Array
from tests.support.cases import DTYPES
from tests.support.comparing import assert_same_bits

WITHOUT_MEMORY: dict[str, dict[str, Any]] = {
    "Adam": {"betas": (0.0, 0.0)},
    "AdamW": {"betas": (0.0, 0.0)},
    "Adamax": {"betas": (0.0, 0.0)},
    "NAdam": {"betas": (0.0, 0.0)},
    "RAdam": {"betas": (0.0, 0.0)},
    "Lion": {"betas": (0.9, 0.0)},
    "RMSprop": {"alpha": 0.0, "centered": True},
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rule", WITHOUT_MEMORY)
def test_an_average_without_memory_is_the_gradient(rule: str, dtype: Any) -> None:
    """Also of a small one after a large one, which m + (g - m) would lose."""
    param = np.zeros(3, dtype)
    optimizer = getattr(fastopt, rule)(param, **WITHOUT_MEMORY[rule])
    slot = "grad_avg" if rule == "RMSprop" else "exp_avg"
    for grad in ([1e4, -1e10, 1.0], [3e-4, 1e-10, -1e-7], [3e-4, 2.0, 1e7]):
        array = np.array(grad, dtype)
        optimizer.step(array)
        assert_same_bits([optimizer.state[0][slot]], [array])


def largest(rule: str) -> tuple[fastopt.Optimizer, str]:
    arguments: dict[str, Any] = {"amsgrad": True} if rule == "Adam" else {}
    return getattr(fastopt, rule)(np.zeros(2), **arguments), {"Adam": "max_exp_avg_sq", "Adamax": "exp_inf"}[rule]


@pytest.mark.parametrize("rule", ["Adam", "Adamax"])
def test_a_maximum_does_not_forget_nan(rule: str) -> None:
    optimizer, slot = largest(rule)
    optimizer.step(np.ones(2))
    optimizer.step(np.array([np.nan, 1.0]))
    for _ in range(3):
        optimizer.step(np.ones(2))
        assert np.isnan(optimizer.state[0][slot]).tolist() == [True, False]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("grad", [0.7, 123.4, -1e-3])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_centered_rmsprop_under_a_steady_gradient(momentum: float, grad: float, dtype: Any) -> None:
    """The variance is then 0 but for rounding, and below 0 its root would be NaN, as torch's is after 138 steps of 0.7."""
    param = np.zeros(5, dtype)
    optimizer = fastopt.RMSprop(param, alpha=0.9, eps=1e-2, centered=True, momentum=momentum)
    for _ in range(400):
        optimizer.step(np.full(5, grad, dtype))
        assert np.isfinite(param).all()


NEARLY_STEADY: dict[Any, dict[str, float]] = {
    np.float32: {"noise": 3e-4, "alpha": 0.99, "eps": 1e-8},
    np.float64: {"noise": 1e-8, "alpha": 0.97, "eps": 1e-16},
}
"""Gradients of 1 with noise whose variance is about one unit of rounding."""


def nearly_steady(dtype: Any, *, floor: float | None, steps: int = 3000, kind: Any = None) -> Array:
    """Where 1,000 elements end that begin at 0: under gradients of one dtype, computed in `kind`."""
    case, rng = NEARLY_STEADY[dtype], np.random.default_rng(17)
    param = np.zeros(1000, kind or dtype)
    optimizer = fastopt.RMSprop(param, lr=1e-3, alpha=case["alpha"], eps=case["eps"], centered=True, variance_floor=floor)
    for _ in range(steps):
        grad = (1 + case["noise"] * rng.standard_normal(1000)).astype(dtype)
        optimizer.step(grad.astype(param.dtype))
    return param


@pytest.mark.parametrize("dtype", DTYPES)
def test_centered_rmsprop_does_not_run_away_under_a_nearly_steady_gradient(dtype: Any) -> None:
    """The variance of rounded averages may come out as 0; no step is longer than the resolution of the dtype allows."""
    most = 3000 * 1e-3 * 1.01 / np.sqrt(np.finfo(dtype).eps)
    param = nearly_steady(dtype, floor=None)
    assert (param < 0).all()
    assert (-param < most).all()
    assert (np.abs(nearly_steady(dtype, floor=0.0)) > 2 * most).any()  # as torch's runs


def test_centered_rmsprop_in_float32_ends_near_float64() -> None:
    single, double = nearly_steady(np.float32, floor=None), nearly_steady(np.float32, floor=None, kind=np.float64)
    ratio = single / double
    assert ((ratio > 0.2) & (ratio < 1)).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_a_variance_above_the_resolution_is_left_alone(momentum: float, dtype: Any) -> None:
    rng = np.random.default_rng(3)
    params = [np.zeros(1000, dtype), np.zeros(1000, dtype)]
    optimizers = [
        fastopt.RMSprop(param, centered=True, momentum=momentum, variance_floor=floor)
        for param, floor in zip(params, (None, 0.0), strict=True)
    ]
    for _ in range(50):
        grad = (0.1 + rng.standard_normal(1000)).astype(dtype)
        for optimizer in optimizers:
            optimizer.step(grad)
    assert_same_bits(params[:1], params[1:])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_centered_rmsprop_does_not_hide_a_bad_gradient(bad: float) -> None:
    param = np.zeros(2)
    fastopt.RMSprop(param, centered=True).step(np.array([bad, 1.0]))
    assert np.isfinite(param).tolist() == [False, True]


def test_tensors_with_different_products_of_mu_step_as_alone() -> None:
    """The same count of steps and the same group, but another way there."""
    params, alone = [np.zeros(3), np.ones(3)], [np.zeros(3), np.ones(3)]
    together = fastopt.NAdam(params, momentum_decay=1.0)
    separate = [fastopt.NAdam(array, momentum_decay=1.0) for array in alone]
    g = np.array([0.5, -1.0, 2.0])
    for grads, decay in (((g, None), 1.0), ((None, g), 0.01), ((g, -g), 0.1), ((-g, g), None)):
        together.groups[0]["momentum_decay"] = decay
        together.step(list(grads))
        for optimizer, grad in zip(separate, grads, strict=True):
            optimizer.groups[0]["momentum_decay"] = decay
            if grad is not None:
                optimizer.step(grad)
    assert together.state[0]["mu_product"] != together.state[1]["mu_product"]
    assert_same_bits(params, alone)


def test_nadam_without_a_schedule_corrects_by_powers_of_the_present_beta() -> None:
    """A schedule of betas (OneCycle's) rules out running products of them."""
    param, m, v, expected = np.zeros(1), 0.0, 0.0, 0.0
    optimizer = fastopt.NAdam(param, lr=0.01, momentum_decay=None)
    for t, b1 in enumerate((0.5, 0.6, 0.7), start=1):
        optimizer.groups[0]["betas"] = (b1, 0.9)
        optimizer.step(np.ones(1))
        m, v = b1 * m + (1 - b1), 0.9 * v + 0.1
        expected -= 0.01 * (b1 * m / (1 - b1 ** (t + 1)) + (1 - b1) / (1 - b1**t)) / (np.sqrt(v / (1 - 0.9**t)) + 1e-8)
    assert param[0] == pytest.approx(expected, rel=1e-12)


def test_only_none_is_no_schedule() -> None:
    """However fast the schedule's start fades."""
    with pytest.raises(ValueError, match="momentum_decay=None"):
        fastopt.NAdam(np.zeros(1), momentum_decay=1e6, lookahead_correction="same")


def test_running_scalars_begin_where_the_table_says() -> None:
    for rule in RULES.values():
        state = getattr(fastopt, rule.name)(np.zeros(1)).state[0]
        assert [state[scalar.name] for scalar in rule.running] == [scalar.initial for scalar in rule.running]
