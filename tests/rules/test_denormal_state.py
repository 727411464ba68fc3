"""State below the smallest normal number becomes +0, so that a gradient that stays 0 does not slow the step down for ever."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastopt
from fastopt import _core
from fastopt.rules import RULES
from tests.support.arrays import Array
from tests.support.cases import DTYPES, ISAS
from tests.support.comparing import assert_same_bits
from tests.support.problems import ALL_CASES, ALL_DTYPES, make_problem, subnormal, yardstick

FADING: dict[str, dict[str, Any]] = {
    "SGD": {"momentum": 0.5},
    "Adam": {"betas": (0.5, 0.6)},
    "AdamW": {"betas": (0.5, 0.6)},
    "NAdam": {"betas": (0.5, 0.6)},
    "RAdam": {"betas": (0.5, 0.6)},
    "RMSprop": {"alpha": 0.5, "momentum": 0.6, "centered": True},
    "Adadelta": {"rho": 0.5},
    "Lion": {"betas": (0.6, 0.6)},
}
"""Decays under which all state fades within a few hundred steps; that of Adagrad and Adamax never does."""
STEPS = {np.float32: 400, np.float64: 2500}


@pytest.fixture(params=ISAS)
def isa(request: pytest.FixtureRequest) -> Any:
    active = _core.isa_active()
    assert _core.set_isa(request.param)
    yield request.param
    assert _core.set_isa(active)


@ALL_DTYPES
@ALL_CASES
def test_no_step_leaves_a_denormal(case: tuple[str, dict[str, Any]], dtype: Any, isa: str) -> None:
    """From hostile state and gradients."""
    problem = make_problem(case, 2000, dtype)
    assert sum(int(subnormal(array).sum()) for array in problem.state.values()) > 0 or not problem.state
    results, count = yardstick(problem) if isa == "scalar" else problem.solve(), len(problem.arrays)
    for array in (*results[1:count], *results[count + 1 : 2 * count]):
        assert not subnormal(array).any()


@pytest.mark.parametrize("dtype", DTYPES)
def test_what_stays_and_what_becomes_zero(dtype: Any, isa: str) -> None:
    """A momentum of 1 and gradients of 0 leave a buffer as it is."""
    info = np.finfo(dtype)
    tiny, smallest = info.tiny, info.smallest_subnormal
    below = np.nextafter(tiny, dtype(0))
    before = np.array([tiny, -tiny, below, -below, smallest, -smallest, 0, -0.0, np.inf, -np.inf, 1, info.max], dtype)
    after = np.array([tiny, -tiny, 0, 0, 0, 0, 0, 0, np.inf, -np.inf, 1, info.max], dtype)
    n = 5 * len(before)
    buffer, param = np.resize(before, n), np.zeros(n, dtype)
    fastopt.functional.sgd(param, np.zeros(n, dtype), buffer, step=2, lr=1.0, momentum=1.0)
    assert_same_bits([buffer], [np.resize(after, n)])
    # The step is that of the buffer before it became 0, and a parameter may be denormal.
    np.testing.assert_array_equal(param, -np.resize(before, n))
    nan = np.full(40, -np.nan, dtype)
    fastopt.functional.sgd(np.zeros(40, dtype), np.zeros(40, dtype), nan, step=2, momentum=1.0)
    assert np.isnan(nan).all()


@pytest.mark.parametrize("state_dtype", [None, "bfloat16", "8bit"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rule", FADING)
def test_state_fades_to_zero_under_zero_gradients(rule: str, dtype: Any, state_dtype: str | None) -> None:
    """Which the denormals' rounding to nearest would stop on the way: 0.6 of the smallest is the smallest."""
    if dtype is np.float64 and state_dtype is not None:
        with pytest.raises(ValueError, match=r"state_dtype"):
            fastopt.Adam(np.ones(1), state_dtype=state_dtype)
        return
    param = np.linspace(0.5, 1.0, 300, dtype=dtype)
    optimizer = getattr(fastopt, rule)(param, lr=1e-3, state_dtype=state_dtype, **FADING[rule])
    optimizer.step(np.linspace(-1, 1, 300, dtype=dtype))
    for _ in range(STEPS[dtype]):
        optimizer.step(np.zeros(300, dtype))
        assert not any(subnormal(array).any() for array in states(optimizer))
    assert not any(array.any() for array in states(optimizer))
    assert np.isfinite(param).all()


def states(optimizer: Any) -> list[Array]:
    names = [slot.name for slot in RULES[type(optimizer).__name__].slots]
    return [np.asarray(value) for name, value in optimizer.state[0].items() if name in names]


@pytest.mark.parametrize("dtype", DTYPES)
def test_lion_comes_to_rest_under_zero_gradients(dtype: Any) -> None:
    """Lion steps by the sign, and a momentum that stays at a denormal has one."""
    param = np.ones(50, dtype)
    optimizer = fastopt.Lion(param, lr=1e-3, **FADING["Lion"])
    optimizer.step(np.ones(50, dtype))
    for _ in range(STEPS[dtype]):
        optimizer.step(np.zeros(50, dtype))
    rest = param.copy()
    optimizer.step(np.zeros(50, dtype))
    assert_same_bits([param], [rest])


@pytest.mark.parametrize("dtype", DTYPES)
def test_parameters_and_averages_may_be_denormal(dtype: Any) -> None:
    small = np.full(100, np.finfo(dtype).tiny / 8, dtype)
    param = small.copy()
    optimizer = fastopt.Adam(param, lr=1e-3, ema_decay=0.5)
    for _ in range(3):
        optimizer.step(np.zeros(100, dtype))
    assert_same_bits([param, optimizer.ema_params], [small, small])
