"""`fastopt.minimize` without a learning rate: it finds one, reaches the minimum, or says why not and what to do."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest

import fastopt
import fastopt.scipy
from fastopt.rules import RULES
from tests.support.arrays import Array
from tests.support.objectives import FUNCTIONS, bowl, himmelblau, rosenbrock

so = pytest.importorskip("scipy.optimize", reason="SciPy is not installed")


def sphere(x: Array) -> tuple[float, Array]:
    """The minimum is 0, at (10, -5)."""
    far = x - np.array([10, -5])
    return float(far @ far), 2 * far


def booth(x: Array) -> tuple[float, Array]:
    """The minimum is 0, at (1, 3)."""
    u, v = x[0] + 2 * x[1] - 7, 2 * x[0] + x[1] - 5
    return float(u * u + v * v), np.array([2 * u + 4 * v, 4 * u + 2 * v])


def matyas(x: Array) -> tuple[float, Array]:
    """The minimum is 0, at 0."""
    return float(0.26 * x @ x - 0.48 * x[0] * x[1]), 0.52 * x - 0.48 * x[::-1]


def ellipsoid(x: Array) -> tuple[float, Array]:
    """A quadratic of condition 1,000; the minimum is 0, at 0."""
    turned = TURN.T @ x
    return 0.5 * float(AXES @ turned**2), TURN @ (AXES * turned)


AXES = np.logspace(0, 3, 10)
TURN = np.linalg.qr(np.random.default_rng(0).standard_normal((10, 10)))[0]

MINIMA: dict[str, tuple[Any, Any]] = {
    "sphere": (sphere, [(10, -5)]),
    "Booth": (booth, [(1, 3)]),
    "Matyas": (matyas, [(0, 0)]),
    "Himmelblau": (himmelblau, FUNCTIONS["Himmelblau"].minima),
    "Beale": (FUNCTIONS["Beale"].call, FUNCTIONS["Beale"].minima),
    "ellipsoid": (ellipsoid, [(0,) * 10]),
    "Rosenbrock": (rosenbrock, [(1, 1)]),
}
DISTANCES = (1, 10, 100, 1000)


def start(minima: Any, distance: float) -> Array:
    direction = np.random.default_rng(0).standard_normal(len(minima[0]))
    away: Array = minima[0] + distance * direction / np.linalg.norm(direction)
    return away


def check(name: str, distance: float, **arguments: Any) -> None:
    fun, minima = MINIMA[name]
    result = fastopt.minimize(fun, start(minima, distance), jac=True, history=False, **arguments)
    assert (result.success, result.status) == (True, 0), result.message
    assert min(np.abs(result.x - minimum).max() for minimum in np.array(minima)) < 2e-3
    assert result.fun < 1e-6


def test_the_first_call_of_a_newcomer_succeeds() -> None:
    result = fastopt.minimize(lambda x: (x[0] - 10) ** 2 + (x[1] + 5) ** 2, [0.0, 0.0])
    assert result.success
    np.testing.assert_allclose(result.x, [10, -5], atol=1e-4)
    reference = so.minimize(lambda x: (x[0] - 10) ** 2 + (x[1] + 5) ** 2, [0.0, 0.0])
    np.testing.assert_allclose(result.x, reference.x, atol=1e-4)
    assert result.message == "Optimization terminated successfully: the gradient is within gtol=1e-05."


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("name", MINIMA)
def test_the_default_method(name: str, distance: float) -> None:
    if (name, distance) != ("Rosenbrock", 1000):  # its valley is a million long
        check(name, distance)


@pytest.mark.parametrize("distance", [1, 1000])
@pytest.mark.parametrize("name", ["sphere", "Booth", "Matyas", "Himmelblau"])
@pytest.mark.parametrize("rule", RULES)
def test_every_rule(rule: str, name: str, distance: float) -> None:
    check(name, distance, method=rule)


@pytest.mark.parametrize("rule", RULES)
def test_every_method_of_scipy(rule: str) -> None:
    result = so.minimize(sphere, [0.0, 0.0], jac=True, method=getattr(fastopt.scipy, rule.lower()))
    assert result.success
    np.testing.assert_allclose(result.x, [10, -5], atol=1e-4)
    direct = fastopt.minimize(sphere, [0.0, 0.0], jac=True, method=rule)
    assert result.x.tobytes() == direct.x.tobytes()


@pytest.mark.parametrize("scale", [1e-12, 1e-4, 1e6])
def test_objectives_of_any_scale(scale: float) -> None:
    result = fastopt.minimize(lambda x: (scale * sphere(x)[0], scale * sphere(x)[1]), [0.0, 0.0], jac=True)
    assert result.success
    np.testing.assert_allclose(result.x, [10, -5], atol=1e-3)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_narrow_points(dtype: Any) -> None:
    result = fastopt.minimize(sphere, np.zeros(2, dtype), jac=True)
    assert result.success
    np.testing.assert_allclose(result.x, [10, -5], rtol=2 * np.finfo(dtype).eps ** 0.5)


def test_bounds_hold() -> None:
    result = fastopt.minimize(rosenbrock, [0.0, 0.0], jac=True, bounds=[(-2, 0.5), (-2, 2)])
    expected = so.minimize(rosenbrock, [0.0, 0.0], jac=True, bounds=[(-2, 0.5), (-2, 2)])
    assert result.success
    np.testing.assert_allclose(result.x, expected.x, atol=1e-4)


def test_too_few_steps_say_what_to_raise() -> None:
    result = fastopt.minimize(rosenbrock, [-1.2, 1.0], jac=True, method="sgd", steps=50)
    assert (result.success, result.status, result.nit) == (False, 1, 50)
    assert result.message == (
        f"Maximum number of iterations has been exceeded: raise steps or take another method; at fun={result.fun:.6g} the largest"
        f" element of the gradient is {np.abs(result.jac).max():.3g}."
    )


@pytest.mark.parametrize(
    ("fun", "jac"),
    [(lambda x: float(x @ x), lambda x: -2 * x), (lambda x: float(np.abs(x).sum()), np.sign)],
    ids=["a wrong gradient", "a kink"],
)
def test_a_run_that_is_stuck_says_why(fun: Any, jac: Any) -> None:
    result = fastopt.minimize(fun, [3.0, -2.0], jac=jac)
    assert (result.success, result.status) == (False, 4)
    assert result.nit < 3000
    assert "No step lowers the objective any more, but the largest element of its gradient is" in result.message
    assert "the gradient is wrong, or the objective is not smooth there" in result.message


def test_rounding_ends_a_run() -> None:
    """The value is so large that the last steps change nothing in it."""
    result = fastopt.minimize(lambda x: (float(1e9 + x @ x), 2 * x), [3.0, -2.0], jac=True, gtol=0.0)
    assert result.success
    assert result.message == "Optimization terminated successfully: no step lowers the objective any more."
    np.testing.assert_allclose(result.x, 0, atol=2e-3)


def test_steps_that_leave_the_domain_are_taken_back() -> None:
    with np.errstate(all="ignore"):
        result = fastopt.minimize(lambda x: float(np.log(x[0]) + 1 / x[0]), [5.0])
    assert result.success
    assert result.x[0] == pytest.approx(1, abs=1e-3)
    at_once = fastopt.minimize(lambda x: (np.nan, x), [3.0], jac=True)
    assert (at_once.status, at_once.nit) == (2, 0)


def test_a_tolerance_by_name_replaces_the_default() -> None:
    loose = fastopt.minimize(bowl, [3.0], jac=True, gtol=1e-1)
    assert "gtol=0.1" in loose.message
    by_value = fastopt.minimize(bowl, [3.0], jac=True, ftol=1e-3)
    assert "ftol=0.001" in by_value.message


def test_the_history_has_each_point_and_rate() -> None:
    seen: list[float] = []
    result = fastopt.minimize(rosenbrock, [-1.2, 1.0], jac=True, callback=lambda x: seen.append(rosenbrock(x)[0]), history="x")
    assert result.nfev == result.nit + 1 == len(result.history["fun"]) == len(result.history["x"])
    np.testing.assert_array_equal(result.history["fun"][1:], seen)
    assert result.fun == result.history["fun"].min()
    rates = result.history["lr"][:-1]
    assert rates.min() < rates[0] < rates.max()


def test_a_rate_of_the_methods_own_is_kept() -> None:
    for method in (functools.partial(fastopt.SGD, lr=0.125), lambda x: fastopt.SGD(x, lr=0.125)):
        result = fastopt.minimize(bowl, [3.0], jac=True, method=method, steps=5)
        np.testing.assert_array_equal(result.history["lr"][:-1], 0.125)
        assert (result.nit, result.status) == (5, 1)
    without = fastopt.minimize(bowl, [3.0], jac=True, method=functools.partial(fastopt.SGD, momentum=0.5))
    assert without.success


def test_weight_decay_is_off_unless_it_is_named() -> None:
    free = fastopt.minimize(sphere, [0.0, 0.0], jac=True, method="adamw")
    np.testing.assert_allclose(free.x, [10, -5], atol=1e-4)
    decayed = fastopt.minimize(sphere, [0.0, 0.0], jac=True, method="sgd", weight_decay=2.0)
    assert not decayed.success  # the steps lead to half of it


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule != "RAdam"])
@pytest.mark.parametrize("scale", [1.0, 100.0])
def test_mini_batches_reach_least_squares(rule: str, scale: float, rng: np.random.Generator) -> None:
    X = rng.standard_normal((1000, 5))
    y = scale * (X @ np.arange(5.0) + 0.1 * rng.standard_normal(1000))

    def fun(x: Array, X: Array, y: Array) -> tuple[float, Array]:
        residual = X @ x - y
        return float(residual @ residual) / (2 * len(y)), X.T @ residual / len(y)

    result = fastopt.minimize(fun, np.zeros(5), jac=True, method=rule, data=(X, y), batch_size=64)
    solution = np.linalg.lstsq(X, y)[0]
    np.testing.assert_allclose(result.x, solution, atol=0.05 * scale)
    assert result.fun < 1.2 * fun(solution, X, y)[0]
    assert result.nfev > 1001, "the trials' calls are counted"
    assert result.history["lr"][-2] < 1e-4 * result.history["lr"][0]
    assert "raise steps" in result.message
