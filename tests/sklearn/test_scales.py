"""Targets and features of any scale: default rates, streams of rows, and warnings where the features want scaling."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import scipy.sparse
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine, make_classification, make_regression
from sklearn.exceptions import ConvergenceWarning

import fastopt
from fastopt.rules import RULES
from fastopt.sklearn import LinearClassifier, LinearRegressor, MLPClassifier, MLPRegressor
from fastopt.sklearn.parameters import Settings, undivided_steps
from fastopt.sklearn.weighting import Spread, means


@pytest.mark.parametrize("rows", [400, 2000])
@pytest.mark.parametrize("rule", RULES)
def test_default_rates_follow_the_scale_of_the_targets(rule: str, rows: int) -> None:
    X, y = make_regression(rows, 10, noise=1, random_state=0)
    y /= y.std()
    epochs = []
    # Adadelta's eps, inside both roots, is of the gradient's scale: small gradients make it slow.
    for scale in (1.0, 1e3, 1e6) if rule == "Adadelta" else (1e-3, 1.0, 1e3, 1e6):
        model = LinearRegressor(optimizer=rule, random_state=0).fit(X, scale * y)
        assert model.score(X, scale * y) > 0.95
        epochs.append(model.n_iter_)
    assert max(epochs) <= 1.1 * min(epochs) + 1


@pytest.mark.parametrize("decoupled", [False, True])
@pytest.mark.parametrize("rule", RULES)
def test_the_decay_of_a_step_does_not_carry_the_scale(rule: str, decoupled: bool) -> None:
    """lr * weight_decay of decoupled decay, and weight_decay of coupled, are those of targets of scale 1."""
    X, y = make_regression(100, 3, random_state=0)
    y /= y.std()
    chosen = getattr(fastopt, rule)
    products = []
    for scale in (1.0, 1e4):
        if decoupled and rule not in ("AdamW", "Lion"):
            return
        model = LinearRegressor(optimizer=chosen, l2=0.3, max_iter=1, tol=None).fit(X, scale * y)
        group = model._trainer.optimizer.groups[0]
        products.append(group["weight_decay"] * (group["lr"] if decoupled else 1.0))
    assert rule in ("AdamW", "Lion") or products == [0.3, 0.3]
    if decoupled:
        assert products[1] == pytest.approx(products[0], rel=1e-9)


@pytest.mark.parametrize(("beta2", "threshold"), [(0.999, 5.0), (0.99, 4.0), (0.9, 10.0), (0.7, 5.0), (0.7, 6.0), (0.0, 5.0)])
def test_the_undivided_steps_of_radam(beta2: float, threshold: float) -> None:
    """Counts the steps whose size follows the gradient's."""
    arguments = {"betas": (0.9, beta2), "threshold": threshold}
    sizes = []
    for scale in (1.0, 4.0):
        p = np.zeros(1)
        opt = fastopt.RAdam(p, lr=1e-3, **arguments)
        before, steps = 0.0, []
        for _ in range(40):
            opt.step(np.full(1, scale))
            steps.append(before - p[0])
            before = p[0]
        sizes.append(steps)
    follows = [large > 2 * small for small, large in zip(*sizes, strict=True)]
    found = undivided_steps(Settings(fastopt.RAdam, 1e-3, 0.0, 0.0, arguments))
    assert follows == [True] * 40 if found is None else follows == [True] * found + [False] * (40 - found)


@pytest.mark.parametrize("rows", [1, 10, 50])
def test_streams_of_large_targets(rows: int) -> None:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((3000, 3))
    y = 1e4 * X @ [1.0, 2.0, 3.0]
    model = LinearRegressor(random_state=0)
    for _ in range(3 if rows == 50 else 1):
        for begin in range(0, 3000, rows):
            model.partial_fit(X[begin : begin + rows], y[begin : begin + rows])
    assert model.score(X, y) > 0.9
    assert model._trainer.optimizer.lr == pytest.approx(1e-2 * y.std(), rel=0.05)


def test_a_first_call_of_equal_targets() -> None:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((3000, 3))
    y = 1e4 * X @ [1.0, 2.0, 3.0]
    model = LinearRegressor(random_state=0).partial_fit(X[:50], np.full(50, 0.1))
    assert not model.coef_.any()
    for _ in range(20):
        model.partial_fit(X, y)
    assert model.score(X, y) > 0.95


@pytest.mark.parametrize("weighted", [False, True])
def test_the_spread_of_parts_is_that_of_the_whole(weighted: bool, rng: np.random.Generator) -> None:
    target = 1e6 + rng.standard_normal((100, 2)) * [1.0, 7.0]
    weight = rng.random(100) if weighted else None
    whole = Spread.of(target, weight)
    parts = Spread.of(target[:1], None if weight is None else weight[:1])
    for part in (slice(1, 2), slice(2, 40), slice(40, 100)):
        parts = parts.added(Spread.of(target[part], None if weight is None else weight[part]))
    assert parts.total == pytest.approx(whole.total)
    np.testing.assert_allclose(parts.mean, whole.mean, rtol=1e-12)
    assert parts.scale == pytest.approx(whole.scale, rel=1e-6)
    centred = target - np.average(target, axis=0, weights=weight)
    assert whole.scale == pytest.approx(np.sqrt(np.average(centred**2, axis=0, weights=weight).mean()), rel=1e-6)


def test_spreads_of_equal_targets_and_of_no_weight() -> None:
    assert Spread.of(np.full((7, 1), 0.1), None).scale == 0.1
    assert Spread.of(np.zeros((7, 1)), None).scale == 1.0
    nothing = Spread.of(np.arange(3.0)[:, None], np.zeros(3))
    some = Spread.of(np.arange(5.0)[:, None], None)
    assert some.added(nothing).scale == some.scale
    assert nothing.added(some).scale == pytest.approx(some.scale)
    assert means(np.full((7, 1), np.float32(7.1)), None)[0] == np.float32(7.1)


CLASSIFIED = [load_wine, load_breast_cancer]


@pytest.mark.parametrize("load", CLASSIFIED)
@pytest.mark.parametrize("loss", ["log_loss", "hinge", "squared_hinge", "modified_huber", None])
def test_raw_features_are_learnt_or_warned_of(load: Any, loss: str | None) -> None:
    X, y = load(return_X_y=True)
    model = MLPClassifier(random_state=0) if loss is None else LinearClassifier(loss, random_state=0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        model.fit(X, y)
    assert caught or model.score(X, y) > np.bincount(y).max() / len(y)
    assert model.loss_curve_[-1] < model.loss_curve_[0] or any("StandardScaler" in str(each.message) for each in caught)


@pytest.mark.parametrize("loss", ["squared_error", "huber", "epsilon_insensitive", None])
def test_raw_features_of_a_regression_are_learnt_or_warned_of(loss: str | None) -> None:
    X, y = load_diabetes(return_X_y=True, scaled=False)
    model = MLPRegressor(random_state=0) if loss is None else LinearRegressor(loss, random_state=0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        model.fit(X, y)
    # The median, which the Huber loss goes towards, is not the mean that R2 compares with.
    assert caught or model.score(X, y) > (-0.1 if loss == "huber" else 0.0)


def test_a_training_does_not_stop_above_its_beginning() -> None:
    """Adam's first steps go far past the minimum here; patience alone would end the training there."""
    X, y = load_diabetes(return_X_y=True, scaled=False)
    model = LinearRegressor(random_state=0)
    with pytest.warns(ConvergenceWarning, match="max_iter=1000"):
        model.fit(X, y)
    assert model.score(X, y) > 0.4
    with pytest.warns(
        ConvergenceWarning, match=r"max_iter=30 .* stopped improving by tol; the last loss, .* features scaled with"
    ):
        model.set_params(max_iter=30).fit(X, y)
    X, y = make_classification(3000, 5, random_state=0)
    with pytest.warns(ConvergenceWarning, match="above that of a constant prediction, 0.6931: features scaled"):
        LinearClassifier(learning_rate=100.0, random_state=0, max_iter=50).fit(1e4 * X, y)


@pytest.mark.parametrize("cls", [LinearRegressor, MLPRegressor])
@pytest.mark.parametrize(("dtype", "size"), [(np.float64, 1e200), (np.float32, 1e25)])
def test_targets_whose_squares_overflow(cls: type[Any], dtype: Any, size: float) -> None:
    X, y = make_regression(50, 3, random_state=0)
    with pytest.raises(ValueError, match=r"y: got numbers up to .*, expected smaller ones: their squares overflow float"):
        cls().fit(X.astype(dtype), size * y)


@pytest.mark.parametrize("kind", [np.asarray, scipy.sparse.csr_array])
def test_the_default_rate_of_sgd_does_not_diverge(kind: Any) -> None:
    rng = np.random.default_rng(0)
    for size in (1.0, 30.0, 1e4):
        X = size * rng.standard_normal((400, 5))
        y = X @ np.arange(5.0)
        model = LinearRegressor(optimizer="sgd", random_state=0, l2=0.0).fit(kind(X), y)
        assert model.score(kind(X), y) > 0.9
        assert model._trainer.optimizer.lr == pytest.approx(min(0.1, 1 / (1 + (X**2).sum() / 400)))
    by_row = LinearRegressor(optimizer="sgd", random_state=0)
    for i in range(400):
        by_row.partial_fit(kind(X[i : i + 1]), y[i : i + 1])
    assert by_row._trainer.optimizer.lr == pytest.approx(1 / (1 + (X**2).sum(axis=1).max()))
