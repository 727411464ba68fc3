"""`fastopt.minimize` of stochastic objectives: noise, mini-batches, averages; against theory and least squares."""

from __future__ import annotations

import itertools
import unittest.mock
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest

import fastopt
from fastopt._minimization.batches import Batches
from tests.support.arrays import Array
from tests.support.objectives import bowl

scipy_optimize = pytest.importorskip("scipy.optimize", reason="SciPy is not installed")


# ---- Noise -----------------------------------------------------------------------------------------------------------


def test_a_noisy_quadratic_of_a_million_unknowns() -> None:
    """With lr = 1/(1 + t) the point after T steps is the mean of T noises: of the variance sigma^2 / T."""
    sigma, steps = 0.5, 40
    rng = np.random.default_rng(1)
    noise = np.empty(1_000_000, np.float32)

    def fun(x: Array) -> tuple[float, Array]:
        rng.standard_normal(out=noise, dtype=np.float32)
        np.multiply(noise, np.float32(sigma), out=noise)
        np.add(noise, x, out=noise)
        return 0.5 * float(x @ x) / x.size + 0.01 * rng.standard_normal(), noise

    start = np.ones(1_000_000, np.float32)
    lr = fastopt.schedules.inverse_time(1.0, 1.0)
    result = fastopt.minimize(fun, start, jac=True, method="sgd", lr=lr, steps=steps, stochastic=True)
    variance = float(np.mean(result.x.astype(np.float64) ** 2))
    # The estimate of a variance from a million values is off by 1.4e-3 of it (one standard deviation).
    assert variance == pytest.approx(sigma**2 / steps, rel=7e-3)
    assert result.x.dtype == np.float32
    assert (result.nit, result.nfev, result.status) == (steps, steps + 1, 1)
    assert (start == 1).all()


@pytest.mark.parametrize("rule", fastopt.rules.RULES)
def test_every_rule_goes_down_in_noise(rule: str) -> None:
    rng = np.random.default_rng(2)

    def fun(x: Array) -> tuple[float, Array]:
        return bowl(x)[0], x + rng.standard_normal(x.size, dtype=np.float32)

    start = np.full(20_000, 3, np.float32)
    lr = fastopt.schedules.cosine(2.0 if rule == "Adadelta" else 0.3 if rule != "SGD" else 0.2, 200)
    result = fastopt.minimize(fun, start, jac=True, method=rule, lr=lr, steps=200, stochastic=True, seed=3)
    # The root of the mean square falls from 3 to a fifth of the noise; Adadelta's small steps go some of the way.
    assert np.sqrt(np.mean(result.x**2)) < (2.9 if rule == "Adadelta" else 0.2)


def test_the_average_has_the_variance_of_theory() -> None:
    """The theory is that of x' = (1-lr) x - lr noise, and of an exponential average of its points."""
    lr, decay, n = 0.5, 0.9, 100_000
    rng = np.random.default_rng(4)

    def run(**arguments: Any) -> Any:
        def jac(x: Array) -> Array:
            return x + rng.standard_normal(n)

        return fastopt.minimize(
            lambda x: bowl(x)[0], np.zeros(n), jac=jac, method="sgd", lr=lr, steps=150, stochastic=True, **arguments
        )

    last, average = run(), run(ema_decay=decay)
    phi = 1 - lr
    stationary = lr**2 / (1 - phi**2)
    smaller = stationary * (1 - decay) / (1 + decay) * (1 + phi * decay) / (1 - phi * decay)
    assert np.mean(last.x**2) == pytest.approx(stationary, rel=0.03)
    assert np.mean(average.x**2) == pytest.approx(smaller, rel=0.03)
    assert average.fun == bowl(average.x)[0] == average.history["fun"][-1]
    assert average.nfev == 151


def test_the_result_in_noise_is_the_last_point_not_the_luckiest() -> None:
    values = iter([3.0, -9.0, 5.0, 4.0])
    result = fastopt.minimize(
        lambda x: next(values), [1.0], jac=np.ones_like, method="sgd", lr=1.0, steps=3, stochastic=True, history="x"
    )
    assert (result.x[0], result.fun) == (-2.0, 4.0)
    np.testing.assert_array_equal(result.history["x"][:, 0], [1, 0, -1, -2])


def test_skipped_steps() -> None:
    grads = iter([1.0, np.nan, np.inf, 1.0, 1.0])
    result = fastopt.minimize(
        lambda x: float("nan"),
        [5.0],
        jac=lambda x: [next(grads)],
        method="sgd",
        lr=1.0,
        steps=4,
        stochastic=True,
        skip_nonfinite=True,
    )
    assert (result.x[0], result.nit, result.status) == (3.0, 4, 1)


# ---- Mini-batches ----------------------------------------------------------------------------------------------------


def squares(x: Array, rows: Any, targets: Array) -> tuple[float, Array]:
    """Half the mean of the squared residuals."""
    residual = rows @ x - targets
    return 0.5 * float(residual @ residual) / len(targets), rows.T @ residual / len(targets)


def problem(rng: np.random.Generator, noise: float) -> tuple[Array, Array]:
    rows = rng.standard_normal((600, 8))
    return rows, rows @ rng.standard_normal(8) + noise * rng.standard_normal(600)


@pytest.mark.parametrize("method", ["sgd", "adam", "nadam", "rmsprop"])
def test_mini_batches_lead_to_least_squares(method: str, rng: np.random.Generator) -> None:
    data = problem(rng, 0.1)
    solution = np.linalg.lstsq(*data)[0]
    lr = fastopt.schedules.cosine(0.1 if method == "sgd" else 0.03, 2000)
    result = fastopt.minimize(squares, np.zeros(8), jac=True, method=method, data=data, batch_size=32, steps=2000, lr=lr)
    np.testing.assert_allclose(result.x, solution, atol=2e-3)
    assert result.fun == squares(result.x, *data)[0]
    np.testing.assert_array_equal(result.jac, squares(result.x, *data)[1])
    assert (result.nfev, result.nit) == (2001, 2000)


def test_full_batches_are_deterministic(rng: np.random.Generator) -> None:
    data = problem(rng, 0.1)
    solution = np.linalg.lstsq(*data)[0]
    for size in (None, 600):
        seen = set()

        def fun(x: Array, rows: Array, targets: Array, seen: set[int] = seen) -> tuple[float, Array]:
            assert not rows.flags.writeable
            seen.add(rows.ctypes.data)
            return squares(x, rows, targets)

        result = fastopt.minimize(fun, np.zeros(8), jac=True, data=data, batch_size=size, steps=3000, lr=0.05, gtol=1e-9)
        np.testing.assert_allclose(result.x, solution, atol=1e-8)
        assert result.success
        assert seen == {data[0].ctypes.data}  # no copy


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("batch_size", [1, 3, 7, 9])
def test_each_epoch_has_every_row_once(batch_size: int, shuffle: bool) -> None:
    rows = np.arange(20).reshape(10, 2)
    batches: list[Array] = []

    def fun(x: Array, batch: Array, names: Array) -> float:
        np.testing.assert_array_equal(batch[:, 0], 2 * names.astype(int))
        batches.append(batch.copy())
        return 0.0

    names = np.array([str(i) for i in range(10)])
    per_epoch = -(-10 // batch_size)
    result = fastopt.minimize(
        fun,
        [0.0],
        jac=lambda x, *_: np.ones(1),
        data=(rows, names),
        batch_size=batch_size,
        shuffle=shuffle,
        steps=3 * per_epoch,
        lr=0.1,
    )
    epochs = [np.concatenate(batches[i * per_epoch : (i + 1) * per_epoch]) for i in range(3)]
    for epoch in epochs:
        np.testing.assert_array_equal(np.sort(epoch, axis=0), rows)
    assert (epochs[0].tolist() != epochs[1].tolist() and epochs[0].tolist() != rows.tolist()) == shuffle
    np.testing.assert_array_equal(batches[-1], rows)  # of the result
    assert result.nit == 3 * per_epoch


@pytest.mark.parametrize(("rows", "batch_size"), [(1025, 512), (401, 200), (10, 9), (7, 3), (600, 70), (12, 4)])
def test_batches_are_near_even(rows: int, batch_size: int) -> None:
    """Batches are as few as `batch_size` allows, and have the sizes that NumPy's array_split gives."""
    sizes: list[int] = []

    def fun(x: Array, batch: Array) -> float:
        sizes.append(len(batch))
        return 0.0

    fewest = -(-rows // batch_size)
    arguments: dict[str, Any] = {"data": np.arange(rows), "batch_size": batch_size, "steps": 2 * fewest, "lr": 0.1}
    fastopt.minimize(fun, [0.0], jac=lambda x, _: np.ones(1), **arguments)
    assert sizes[:-1] == 2 * [len(part) for part in np.array_split(np.arange(rows), fewest)]
    assert sizes[-1] == rows  # of the result


def test_the_seed_decides(rng: np.random.Generator) -> None:
    data = problem(rng, 0.1)

    def run(**seed: Any) -> bytes:
        return fastopt.minimize(squares, np.zeros(8), jac=True, data=data, batch_size=50, steps=30, **seed).x.tobytes()

    assert run(seed=5) == run(seed=5)
    assert run() == run(seed=None) == run(seed=0) != run(seed=5)


@pytest.mark.parametrize("kind", ["csr_array", "csc_matrix", "coo_array"])
def test_sparse_rows(kind: str, rng: np.random.Generator) -> None:
    sparse = pytest.importorskip("scipy.sparse")
    rows, targets = problem(rng, 0.0)
    rows[rng.uniform(size=rows.shape) < 0.7] = 0
    arguments: dict[str, Any] = {"jac": True, "batch_size": 64, "steps": 100, "lr": 0.01}
    result = fastopt.minimize(squares, np.zeros(8), data=(getattr(sparse, kind)(rows), targets), **arguments)
    expected = fastopt.minimize(squares, np.zeros(8), data=(rows, targets), **arguments)
    np.testing.assert_allclose(result.x, expected.x, rtol=1e-9)


def test_a_list_is_one_array_and_args_come_last() -> None:
    def fun(x: Array, batch: Array, power: int) -> float:
        assert batch.shape in ((2, 3), (4, 3))
        return float((x - batch.mean()) ** power)

    result = fastopt.minimize(fun, 0.0, (2,), data=[[1, 2, 3]] * 4, batch_size=2, steps=400, lr=0.1)
    assert result.x == pytest.approx(2, abs=1e-3)


def test_differences_of_mini_batches(rng: np.random.Generator) -> None:
    data = problem(rng, 0.1)
    arguments: dict[str, Any] = {"data": data, "batch_size": 32, "steps": 50, "lr": 0.05}
    by_differences = fastopt.minimize(lambda *a: squares(*a)[0], np.zeros(8), jac="3-point", **arguments)
    expected = fastopt.minimize(squares, np.zeros(8), jac=True, **arguments)
    np.testing.assert_allclose(by_differences.x, expected.x, atol=1e-6)


def test_ftol_and_plateau_see_the_means_of_epochs(rng: np.random.Generator) -> None:
    data = problem(rng, 0.1)
    plateau = fastopt.schedules.ReduceOnPlateau(0.3, patience=0, factor=0.1)
    result = fastopt.minimize(
        squares, np.zeros(8), jac=True, method="sgd", data=data, batch_size=70, lr=plateau, ftol=1e-3, patience=4, steps=5000
    )
    assert result.success
    assert "4 values without a decrease by ftol=0.001" in result.message
    rates = result.history["lr"][:-1]
    assert set(np.flatnonzero(np.diff(rates)) % 9) <= {7}  # at the 9th batch of an epoch, for the step from it
    assert result.nit % 9 == 8
    assert len(set(rates)) > 1
    weights = np.tile([len(part) for part in np.array_split(np.arange(600), 9)], len(rates))[: len(rates)]
    means = [np.average(result.history["fun"][i : i + 9], weights=weights[i : i + 9]) for i in range(0, result.nit - 8, 9)]
    assert min(means[:-3]) < min(means[-3:]) + 1e-3
    assert result.fun == squares(result.x, *data)[0] == result.history["fun"][-1]


class Listener(fastopt.schedules.ReduceOnPlateau):
    """Keeps what it is told, for all copies."""

    heard: ClassVar[list[float]] = []

    def step(self, metric: Any) -> None:
        self.heard.append(metric)
        super().step(metric)


def test_a_mean_counts_each_row_once() -> None:
    Listener.heard.clear()
    rows = np.arange(10.0)
    arguments: dict[str, Any] = {"jac": lambda x, batch: np.ones(1), "data": rows, "batch_size": 4, "shuffle": False}
    fastopt.minimize(lambda x, batch: batch.mean(), [0.0], lr=Listener(0.1), steps=8, **arguments)
    assert Listener.heard == [4.5, 4.5]
    Listener.heard.clear()
    values = iter([3.0, -np.inf, np.nan, np.inf, 2.0])
    fastopt.minimize(
        lambda x: next(values), [0.0], jac=np.ones_like, lr=Listener(0.1), steps=4, stochastic=True, skip_nonfinite=True
    )
    np.testing.assert_array_equal(Listener.heard, [3.0, np.nan, np.nan, np.nan, 2.0])


def test_a_callback_stops_between_batches(rng: np.random.Generator) -> None:
    data = problem(rng, 0.1)
    points: list[Array] = []

    def stop(x: Array) -> None:
        points.append(x)
        if len(points) == 5:
            raise StopIteration

    result = fastopt.minimize(squares, np.zeros(8), jac=True, data=data, batch_size=7, steps=50, callback=stop)
    assert (result.status, result.nit) == (99, 5)
    np.testing.assert_array_equal(result.x, points[-1])
    assert result.fun == squares(result.x, *data)[0] == result.history["fun"][-1]
    assert len(result.history["fun"]) == 6


def test_the_average_over_mini_batches(rng: np.random.Generator) -> None:
    data = problem(rng, 1.0)
    solution = np.linalg.lstsq(*data)[0]
    arguments: dict[str, Any] = {"jac": True, "method": "sgd", "data": data, "batch_size": 8, "steps": 3000, "lr": 0.1}
    last = fastopt.minimize(squares, np.zeros(8), **arguments)
    average = fastopt.minimize(squares, np.zeros(8), ema_decay=0.998, **arguments)
    assert 3 * np.linalg.norm(average.x - solution) < np.linalg.norm(last.x - solution)
    assert average.fun < last.fun


def test_other_orders_are_gathered_row_by_row(rng: np.random.Generator) -> None:
    """np.take would bring the whole array into C's order at each step."""
    data = problem(rng, 0.1)
    expected = fastopt.minimize(squares, np.zeros(8), jac=True, data=data, batch_size=32, steps=50)
    wide = np.repeat(data[0], 2, axis=1)
    for rows in (np.asfortranarray(data[0]), wide[:, ::2], pd.DataFrame(data[0])):
        batches = Batches((rows, data[1]), 32, True, 0)
        with unittest.mock.patch("numpy.take", wraps=np.take) as take:
            batches.take()
        assert [call.args[0].ndim for call in take.call_args_list] == [1]  # of the targets alone
        result = fastopt.minimize(squares, np.zeros(8), jac=True, data=(rows, data[1]), batch_size=32, steps=50)
        np.testing.assert_allclose(result.x, expected.x, rtol=1e-12)


@pytest.mark.parametrize("told", ["callback", "progress"])
def test_who_watches_may_use_the_objective(told: str, rng: np.random.Generator) -> None:
    """A validation loss in a callback, by a function that gives the same array for every gradient."""
    data, held_out = problem(rng, 0.1), problem(rng, 5.0)
    memory = np.empty(8)

    def reusing(x: Array, rows: Array, targets: Array) -> tuple[float, Array]:
        value, memory[...] = squares(x, rows, targets)
        return value, memory

    arguments: dict[str, Any] = {"jac": True, "data": data, "batch_size": 32, "steps": 60, "lr": 0.01, "method": "sgd"}
    expected = fastopt.minimize(reusing, np.zeros(8), **arguments)
    watch = {
        "callback": lambda x: reusing(x, *held_out),
        "progress": lambda step, steps, value: reusing(np.ones(8), *held_out),
    }[told]
    result = fastopt.minimize(reusing, np.zeros(8), **arguments, **{told: watch})
    np.testing.assert_array_equal(result.x, expected.x)


def test_a_nan_in_a_batch_is_shown(rng: np.random.Generator) -> None:
    calls = itertools.count()

    def fun(x: Array, rows: Array, targets: Array) -> tuple[float, Array]:
        value, grad = squares(x, rows, targets)
        return (np.nan if next(calls) == 6 else value), grad

    result = fastopt.minimize(fun, np.zeros(8), jac=True, data=problem(rng, 0.1), batch_size=32, steps=50, lr=0.1)
    assert (result.status, result.nit, result.message) == (2, 6, "The objective is nan after 6 steps.")
    assert np.isnan(result.fun)
    assert np.isnan(result.history["fun"]).tolist() == [False] * 6 + [True]


def test_a_seed_for_batches_alone(rng: np.random.Generator) -> None:
    data = problem(rng, 0.1)
    arguments: dict[str, Any] = {"jac": True, "data": data, "batch_size": 32, "steps": 20}
    results = [
        fastopt.minimize(squares, np.zeros(8), method=lambda p: fastopt.SGD(p, lr=0.1), seed=seed, **arguments).x
        for seed in (1, 1, 2)
    ]
    assert np.array_equal(results[0], results[1])
    assert not np.array_equal(results[0], results[2])
    with pytest.raises(TypeError, match="seed: <lambda> does not take it"):
        fastopt.minimize(lambda x: x @ x, np.ones(3), method=lambda p: fastopt.SGD(p, lr=0.1), seed=1)


def test_the_callers_data_are_not_written(rng: np.random.Generator) -> None:
    def greedy(x: Array, rows: Array, targets: Array) -> tuple[float, Array]:
        rows -= 0.1
        return squares(x, rows, targets)

    data = problem(rng, 0.1)
    before = data[0].copy()
    for arguments in ({}, {"batch_size": 32}, {"batch_size": 32, "shuffle": False}):
        with pytest.raises(ValueError, match="read-only"):
            fastopt.minimize(greedy, np.zeros(8), jac=True, data=data, steps=3, **arguments)
    assert np.array_equal(data[0], before)


def test_differences_of_noise_are_refused_with_data_too(rng: np.random.Generator) -> None:
    with pytest.raises(ValueError, match="jac: got None, expected a callable or True, since differences of a stochastic fun"):
        fastopt.minimize(lambda x, *rows: float(x @ x), np.ones(8), data=problem(rng, 0.1), batch_size=32, stochastic=True)
