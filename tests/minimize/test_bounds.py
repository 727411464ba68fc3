"""`fastopt.minimize`: finite differences, bounds, and differences within bounds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastopt
from fastopt.rules import RULES
from tests.support.arrays import Array
from tests.support.objectives import bowl

scipy_optimize = pytest.importorskip("scipy.optimize", reason="SciPy is not installed")


# ---- Gradients by differences ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("jac", "error", "calls"), [(None, 1e-5, 6), (False, 1e-5, 6), ("2-point", 1e-5, 6), ("3-point", 1e-8, 11), ("cs", 1e-12, 6)]
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_differences(jac: Any, error: float, calls: int, dtype: Any, rng: np.random.Generator) -> None:
    start = rng.uniform(-2, 2, 5).astype(dtype)

    def smooth(x: Array) -> Any:
        return np.exp(x[0]) * np.sin(x[1]) + x[2] ** 3 * x[3] - np.cos(x[4] * x[0])

    result = fastopt.minimize(smooth, start, jac=jac, steps=0)
    x = start.astype(np.float64)
    expected = np.array(
        [
            np.exp(x[0]) * np.sin(x[1]) + x[4] * np.sin(x[4] * x[0]),
            np.exp(x[0]) * np.cos(x[1]),
            3 * x[2] ** 2 * x[3],
            x[2] ** 3,
            x[0] * np.sin(x[4] * x[0]),
        ]
    )
    rounding = 1e-6 if dtype == np.float32 else 0  # of the gradient that is given to the step
    np.testing.assert_allclose(result.jac, expected, rtol=error + rounding, atol=error + rounding)
    assert (result.nfev, result.njev) == (calls, 1)


@pytest.mark.parametrize("jac", ["2-point", "3-point", "cs"])
def test_differences_lead_where_the_gradient_does(jac: Any) -> None:
    result = fastopt.minimize(lambda x: ((x - [[1, -2], [3, 4]]) ** 2).sum(), np.zeros((2, 2)), jac=jac, lr=0.1, steps=600)
    np.testing.assert_allclose(result.x, [[1, -2], [3, 4]], atol=1e-6)


@pytest.mark.parametrize("jac", ["2-point", "3-point"])
@pytest.mark.parametrize("width", [0.0, 1e-300, 1e-9, 1e-6, 1e-3, 1.0])
def test_differences_stay_within_bounds(jac: Any, width: float) -> None:
    bounds = [(1.0, 1.0 + width), (-width, 0.0), (-width / 2, width / 2), (None, 2.0)]

    def fun(x: Array) -> float:
        for number, (least, most) in zip(x, bounds, strict=True):
            assert least is None or number >= least
            assert number <= most
        return float((x**2).sum())

    result = fastopt.minimize(fun, [5.0, 5.0, 5.0, 5.0], jac=jac, bounds=bounds, steps=20, lr=0.1)
    if width > 1e-9:
        np.testing.assert_allclose(result.jac, 2 * result.x, atol=1e-3)
    assert np.isfinite(result.jac).all()


# ---- Bounds ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("rule", RULES)
def test_every_point_is_within_bounds(rule: str, dtype: Any) -> None:
    lower, upper = np.array([-0.1, 0.3, -np.inf]), np.array([0.1, 0.7, 0.2])
    centre = np.array([1.0, 0.5, -1.0])

    def fun(x: Array) -> tuple[float, Array]:
        assert (x.astype(np.float64) >= lower).all()
        assert (x.astype(np.float64) <= upper).all()
        return bowl(x - centre.astype(dtype))

    settings = {"lr": fastopt.schedules.linear(1.0 if rule == "Adadelta" else 0.1, 1500), "weight_decay": 0.0}
    bounds = scipy_optimize.Bounds(lower, upper)
    result = fastopt.minimize(fun, np.full(3, 9, dtype), jac=True, method=rule, bounds=bounds, steps=1500, **settings)
    np.testing.assert_allclose(result.x, [0.1, 0.5, -1.0], atol=0.2 if rule == "Adadelta" else 1e-3)
    pairs = [(-0.1, 0.1), (0.3, 0.7), (None, 0.2)]
    again = fastopt.minimize(fun, np.full(3, 9, dtype), jac=True, method=rule, bounds=pairs, steps=1500, **settings)
    assert again.x.tobytes() == result.x.tobytes()


def test_the_tolerance_at_a_bound_is_that_of_the_projected_gradient() -> None:
    result = fastopt.minimize(
        bowl, [3.0, -2.0], jac=True, method="sgd", lr=0.5, bounds=[(1, 5), (-4, None)], steps=200, gtol=1e-6
    )
    assert result.success
    np.testing.assert_allclose(result.x, [1, 0], atol=1e-6)
    assert result.jac[0] == 1
