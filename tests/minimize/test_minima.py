"""`fastopt.minimize` of deterministic objectives: minima, points, gradients, bounds, tolerances, history."""

from __future__ import annotations

import functools
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastopt
from fastopt.rules import RULES
from tests.support.arrays import Array
from tests.support.objectives import FUNCTIONS, SETTINGS, beale, bowl, himmelblau, rosenbrock

scipy_optimize = pytest.importorskip("scipy.optimize", reason="SciPy is not installed")


def value(x: Array) -> float:
    return rosenbrock(x)[0]


def gradient(x: Array) -> Array:
    return rosenbrock(x)[1]


# ---- Minima ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_rule_finds_the_minimum(name: str, rule: str) -> None:
    function, (arguments, errors) = FUNCTIONS[name], SETTINGS[rule]
    result = fastopt.minimize(function.call, function.start, jac=True, method=rule, steps=6000, **arguments)
    error = errors[list(FUNCTIONS).index(name)]
    assert function.error(result.x) <= error
    assert result.fun == function.call(result.x)[0]
    np.testing.assert_array_equal(result.jac, function.call(result.x)[1])


def test_a_tolerance_ends_at_a_minimum() -> None:
    for call, start in ((rosenbrock, (-1.2, 1.0)), (beale, (1, 1)), (himmelblau, (0, 0))):
        result = fastopt.minimize(call, start, jac=True, lr=0.1, steps=6000, tol=1e-7)
        assert (result.success, result.status) == (True, 0)
        assert result.nit < 6000
        assert result.history["grad_norm"][-1] <= 2**0.5 * 1e-7  # of the last point, which need not be the best
        assert np.abs(result.jac).max() <= 1e-6
        assert result.fun < 1e-12
        assert "gtol=1e-07" in result.message


# ---- The steps -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("rule", RULES)
def test_the_points_are_those_of_a_loop(rule: str, dtype: Any, rng: np.random.Generator) -> None:
    start = rng.uniform(-1, 1, 7).astype(dtype)
    arguments: dict[str, Any] = {"lr": fastopt.schedules.cosine(0.01, 40), "l1": 0.01, "max_norm": 2.0, "weight_decay": 0.01}
    result = fastopt.minimize(value, start, jac=gradient, method=rule, steps=30, history="x", **arguments)
    x = start.copy()
    optimizer = getattr(fastopt, rule)(x, **arguments)
    for k in range(30):
        assert result.history["x"][k].tobytes() == x.tobytes()
        assert result.history["fun"][k] == value(x)
        grad = gradient(x)
        assert result.history["grad_norm"][k] == fastopt.global_norm(grad)
        optimizer.step(grad)
        assert result.history["lr"][k] == optimizer.lr
    assert result.history["x"][30].tobytes() == x.tobytes()
    assert result.history["fun"][30] == value(x)
    assert np.isnan(result.history["lr"][30])
    assert result.history["x"].dtype == result.x.dtype == dtype
    assert (result.nit, result.nfev, result.njev, result.status, result.success) == (30, 31, 31, 1, False)
    assert result.message == (
        "Maximum number of iterations has been exceeded, as in every run without a tolerance: raise steps or lr if fun still falls"
        " at the end."
    )


@pytest.mark.parametrize(
    "method",
    [
        "adam",
        "ADAM",
        fastopt.Adam,
        functools.partial(fastopt.Adam, betas=(0.5, 0.9)),
        lambda x, *, lr, betas, eps=1e-8: fastopt.Adam(x, lr, betas, eps),
    ],
    ids=["name", "capitals", "class", "partial", "function"],
)
def test_ways_to_name_a_method(method: Any) -> None:
    result = fastopt.minimize(rosenbrock, [0.5, 0.5], jac=True, method=method, lr=0.01, steps=50, betas=(0.5, 0.9), eps=1e-6)
    expected = fastopt.minimize(rosenbrock, [0.5, 0.5], jac=True, lr=0.01, steps=50, betas=(0.5, 0.9), eps=1e-6)
    assert result.x.tobytes() == expected.x.tobytes()
    bound = fastopt.minimize(rosenbrock, [0.5, 0.5], jac=True, method=functools.partial(fastopt.Adam, lr=0.01), steps=50)
    assert bound.x.tobytes() == fastopt.minimize(rosenbrock, [0.5, 0.5], jac=True, lr=0.01, steps=50).x.tobytes()


def test_a_plateau_reduces_the_rate_of_a_copy() -> None:
    plateau = fastopt.schedules.ReduceOnPlateau(1.0, patience=2, factor=0.5)
    results = [
        fastopt.minimize(lambda x: (abs(float(x)), np.sign(x)), 0.3, jac=True, method=method, steps=40, **lr)
        for method, lr in (("sgd", {"lr": plateau}), ("sgd", {"lr": plateau}), (functools.partial(fastopt.SGD, lr=plateau), {}))
    ]
    assert plateau.best is None
    for result in results:
        assert abs(result.x) < 1e-2
        assert list(np.unique(result.history["lr"][:-1])[-4:]) == [0.125, 0.25, 0.5, 1.0]
        assert result.x == results[0].x


# ---- The point -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("start", "dtype", "shape"),
    [
        (3, np.float64, ()),
        (np.float32(3), np.float32, ()),
        (np.array(3.0), np.float64, ()),
        ([3], np.float64, (1,)),
        ([], np.float64, (0,)),
        ([[1, 2, 3], [4, 5, 6]], np.float64, (2, 3)),
        (np.asfortranarray(np.ones((3, 4), np.float32)), np.float32, (3, 4)),
        (np.arange(20.0)[::-2], np.float64, (10,)),
        (np.arange(4, dtype=np.uint8), np.float64, (4,)),
        (np.ones(4, ">f4"), np.float32, (4,)),
        (np.ones(4, np.float16), np.float16, (4,)),
        (np.ones(4, ml_dtypes.bfloat16), ml_dtypes.bfloat16, (4,)),
        (np.ones((1, 0, 2)), np.float64, (1, 0, 2)),
    ],
    ids=str,
)
def test_shapes_and_dtypes(start: Any, dtype: Any, shape: tuple[int, ...]) -> None:
    before = np.array(start)
    seen = set()

    def fun(x: Array) -> tuple[Any, Array]:
        seen.add((x.shape, x.dtype, x.flags.c_contiguous, x.flags.writeable))
        return (x.astype(np.float64) ** 2).sum(), 2 * x.astype(np.float64)

    result = fastopt.minimize(fun, start, jac=True, lr=0.01, steps=20)
    assert seen == {(shape, np.dtype(dtype), True, False)}
    assert (result.x.shape, result.x.dtype) == (shape, dtype)
    assert result.jac.shape == shape
    assert result.jac.dtype == (np.float64 if dtype == np.float64 else np.float32)
    assert result.fun < (before.astype(np.float64) ** 2).sum() or before.size == 0
    assert np.array(start).tobytes() == before.tobytes()
    assert type(result.fun) is float


@pytest.mark.parametrize(
    "wrap", [float, np.float32, np.array, lambda v: np.array([[v]]), int], ids=["float", "f4", "0-d", "1x1", "int"]
)
def test_what_an_objective_may_return(wrap: Any) -> None:
    result = fastopt.minimize(lambda x: wrap(bowl(x)[0]), np.full(3, 4.0), jac=list, lr=0.1, steps=5)
    assert result.fun == wrap(bowl(result.x)[0])


@pytest.mark.parametrize(
    "convert",
    [
        lambda g: g,
        lambda g: g.astype(np.float64),
        lambda g: g.astype(np.longdouble),
        lambda g: np.repeat(g, 2, axis=0)[::2],
        np.asfortranarray,
        lambda g: g.astype(">f4"),
        lambda g: g.tolist(),
    ],
    ids=["view of x", "float64", "longdouble", "strided", "Fortran", "big-endian", "lists"],
)
def test_gradients_of_every_layout(convert: Any) -> None:
    start = np.linspace(-1, 1, 6, dtype=np.float32).reshape(2, 3)
    result = fastopt.minimize(lambda x: bowl(x)[0], start, jac=convert, lr=0.1, steps=20)
    expected = fastopt.minimize(bowl, start, jac=True, lr=0.1, steps=20)
    assert result.x.tobytes() == expected.x.tobytes()
    assert result.jac.tobytes() == result.x.tobytes()


def test_one_buffer_for_all_gradients() -> None:
    """Keeps the best gradient, though the caller writes every gradient to one buffer to save memory."""
    buffer = np.empty(2)

    def jac(x: Array) -> Array:
        buffer[...] = gradient(x)
        return buffer

    result = fastopt.minimize(value, [-1.2, 1.0], jac=jac, lr=0.5, steps=22)
    assert result.fun == result.history["fun"].min() < result.history["fun"][-1]
    np.testing.assert_array_equal(result.jac, gradient(result.x))


@settings(deadline=None, max_examples=60)
@given(
    rule=st.sampled_from(list(RULES)),
    start=st.lists(st.floats(-3, 3, width=32), min_size=2, max_size=5),
    lr=st.floats(1e-4, 3.0),
    steps=st.integers(0, 25),
    single=st.booleans(),
)
def test_the_result_is_the_best_point_seen(rule: str, start: list[float], lr: float, steps: int, single: bool) -> None:
    x0 = np.array(start, np.float32 if single else np.float64)
    seen: list[tuple[float, bytes]] = []

    def fun(x: Array) -> tuple[float, Array]:
        with np.errstate(all="ignore"):
            f, g = rosenbrock(x)
        if np.isfinite(f) and np.isfinite(g).all():
            seen.append((f, x.tobytes()))
        return f, g

    before = x0.copy()
    result = fastopt.minimize(fun, x0, jac=True, method=rule, lr=lr, steps=steps)
    least = min(f for f, _ in seen)
    assert result.fun == least
    assert (least, result.x.tobytes()) == [entry for entry in seen if entry[0] == least][-1]
    np.testing.assert_array_equal(result.jac, rosenbrock(result.x)[1])
    assert x0.tobytes() == before.tobytes()
    assert result.status in ((1,) if result.nit == steps else (2, 3)) or not np.isfinite(result.history["fun"][-1])


# ---- Tolerances ------------------------------------------------------------------------------------------------------


def test_ftol_looks_back() -> None:
    values = iter([5.0, 4.0, 4.5, 3.99, 4.2, 3.985, 3.98, 1.0, 0.0])
    result = fastopt.minimize(lambda x: next(values), 0.0, jac=lambda x: 1.0, steps=8, ftol=0.01, patience=4)
    assert (result.nit, result.status, result.fun) == (5, 0, 3.985)
    assert result.message == "Optimization terminated successfully: 4 values without a decrease by ftol=0.01."
    assert list(result.history["fun"]) == [5.0, 4.0, 4.5, 3.99, 4.2, 3.985]


def test_a_warm_up_does_not_end_a_run() -> None:
    lr = fastopt.schedules.constant(0.1, warmup=5)
    result = fastopt.minimize(bowl, [4.0], jac=True, lr=lr, steps=2000, ftol=1e-9, xtol=1e-7)
    assert result.success
    assert abs(result.x[0]) < 1e-2


def test_xtol_is_of_steps() -> None:
    result = fastopt.minimize(
        bowl, np.array([10.0, 1.0]), jac=True, method="sgd", lr=0.5, steps=100, xtol=1e-3, patience=3, history="x"
    )
    moved = np.abs(np.diff(result.history["x"], axis=0)).max(axis=1)
    small = moved <= 1e-3 * np.maximum(1, np.abs(result.history["x"][1:]).max(axis=1))
    assert small[-3:].all()
    assert not small[:-3].any()
    assert "3 steps within xtol=0.001" in result.message


def test_xtol_is_relative_to_large_unknowns() -> None:
    result = fastopt.minimize(lambda x: (1.0, x - x), [1e6, 0.0], jac=True, steps=20, xtol=0.0, patience=1)
    assert result.nit == 1  # nothing moves
    moving = fastopt.minimize(
        lambda x: (float(x[0]), np.ones(2)), [1e6, 0.0], jac=True, method="sgd", lr=1.0, steps=20, xtol=2e-6, patience=3
    )
    assert (moving.nit, moving.status) == (3, 0)


def test_gtol_goes_before_tol_and_the_start_may_do() -> None:
    result = fastopt.minimize(bowl, [1e-3], jac=True, steps=10, tol=0.0, gtol=1e-3)
    assert (result.nit, result.nfev, result.success) == (0, 1, True)


# ---- What is not finite ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("what", ["objective", "gradient"])
def test_what_is_not_finite_ends_the_run(what: str, bad: float) -> None:
    def fun(x: Array) -> tuple[float, Array]:
        f, g = bowl(x)
        if f < 2:
            return (bad, g) if what == "objective" else (f, np.array([g[0], bad]))
        return f, g

    result = fastopt.minimize(fun, [3.0, 1.0], jac=True, method="sgd", lr=0.1, steps=100)
    assert not result.success
    assert result.status == (2 if what == "objective" else 3)
    assert result.fun == np.min(result.history["fun"][:-1]) >= 2
    assert result.fun == bowl(result.x)[0]
    assert what in result.message
    assert str(result.nit) in result.message
    assert np.isfinite(result.jac).all()
    at_once = fastopt.minimize(lambda x: (np.nan, x + np.nan), [3.0], jac=True)
    assert (at_once.nit, at_once.status, at_once.x[0]) == (0, 2, 3)
    assert np.isnan(at_once.fun)


def test_a_gradient_beyond_float32_is_infinite() -> None:
    result = fastopt.minimize(lambda x: 0.0, np.ones(2, np.float32), jac=lambda x: np.array([1e300, 1.0]))
    assert (result.status, result.nit) == (3, 0)


# ---- Callback, progress, history -------------------------------------------------------------------------------------


def test_callbacks() -> None:
    points: list[Array] = []
    results: list[Any] = []
    first = fastopt.minimize(rosenbrock, [0.5, 0.5], jac=True, steps=5, callback=points.append, history="x")
    np.testing.assert_array_equal(points, first.history["x"][1:])

    buffer = np.empty(2)

    def jac(x: Array) -> Array:
        buffer[...] = gradient(x)
        return buffer

    def keep(intermediate_result: Any) -> bool:
        results.append(intermediate_result)
        return True  # which means nothing, as in SciPy

    second = fastopt.minimize(value, [0.5, 0.5], jac=jac, steps=5, callback=keep)
    assert second.nit == 5
    for k, (result, point) in enumerate(zip(results, points, strict=True), start=1):
        assert isinstance(result, scipy_optimize.OptimizeResult)
        assert result.x.tobytes() == point.tobytes()
        assert (result.nit, result.fun) == (k, rosenbrock(point)[0])
        np.testing.assert_array_equal(result.jac, rosenbrock(point)[1])


def test_a_callback_stops() -> None:
    def stop(intermediate_result: Any) -> None:
        if intermediate_result.nit == 3:
            raise StopIteration

    result = fastopt.minimize(rosenbrock, [0.5, 0.5], jac=True, steps=50, callback=stop)
    assert (result.nit, result.nfev, result.status, result.success) == (3, 4, 99, False)
    assert result.message == "`callback` raised `StopIteration`."
    assert result.fun == result.history["fun"].min()


def test_progress(capsys: pytest.CaptureFixture[str]) -> None:
    calls: list[tuple[int, int, float]] = []
    result = fastopt.minimize(rosenbrock, [0.5, 0.5], jac=True, steps=7, progress=lambda *call: calls.append(call))
    assert calls == [(k, 7, f) for k, f in enumerate(result.history["fun"])]
    pytest.importorskip("rich", reason="rich is not installed")
    fastopt.minimize(rosenbrock, [0.5, 0.5], jac=True, steps=7, progress=True)
    printed = capsys.readouterr()
    assert "7/7" in printed.err
    assert not printed.out


def test_history_may_be_left_out() -> None:
    result = fastopt.minimize(rosenbrock, [0.5, 0.5], jac=True, steps=7, history=False)
    assert "history" not in result
    with_points = fastopt.minimize(rosenbrock, [0.5, 0.5], jac=True, steps=7, history="x").history
    assert {name: array.shape for name, array in with_points.items()} == {"fun": (8,), "grad_norm": (8,), "lr": (8,), "x": (8, 2)}


def test_args() -> None:
    def fun(x: Array, scale: float, shift: float = 0.0) -> tuple[float, Array]:
        return scale * float(((x - shift) ** 2).sum()), 2 * scale * (x - shift)

    assert fastopt.minimize(fun, [3.0], (2.0, 1.0), jac=True, steps=0).fun == 8
    assert fastopt.minimize(fun, [3.0], args=2.0, jac=True, steps=0).fun == 18
