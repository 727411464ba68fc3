"""Linear estimators: the optima of scikit-learn's solvers, weights, classes, probabilities, sparse data."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
import scipy.optimize
import scipy.sparse
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris, make_classification, make_regression
from sklearn.linear_model import HuberRegressor, LogisticRegression, Ridge, SGDClassifier
from sklearn.preprocessing import StandardScaler

import fastopt
from fastopt.sklearn import LinearClassifier, LinearRegressor

# A whole batch, momentum and a rate that falls to nothing: what the solvers of scikit-learn reach, a first-order method reaches too.
EXACT: dict[str, Any] = {
    "optimizer": functools.partial(fastopt.Adam, amsgrad=True),
    "learning_rate": fastopt.schedules.cosine(0.1, steps=4000),
    "batch_size": 10**6,
    "max_iter": 4000,
    "tol": None,
    "l2": 1e-2,
    "standardize": False,  # the penalties of the references are on the weights for the data as given
}


def scaled(load: Any) -> tuple[np.ndarray, np.ndarray]:
    X, y = load(return_X_y=True)
    return StandardScaler().fit_transform(X), y


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("load", [load_breast_cancer, load_iris])
def test_logistic_regression(load: Any, weighted: bool, rng: np.random.Generator) -> None:
    X, y = scaled(load)
    weight = rng.random(len(y)) + 0.1 if weighted else None
    total = len(y) if weight is None else weight.sum()
    expected = LogisticRegression(C=1 / (1e-2 * total), tol=1e-10, max_iter=10_000).fit(X, y, weight)
    model = LinearClassifier(**EXACT).fit(X, y, weight)
    np.testing.assert_allclose(model.predict_proba(X), expected.predict_proba(X), atol=2e-5)
    coef = expected.coef_ - expected.coef_.mean(axis=0) if len(expected.coef_) > 1 else expected.coef_
    np.testing.assert_allclose(model.coef_, coef, atol=1e-3)
    np.testing.assert_array_equal(model.predict(X), expected.predict(X))


def test_ridge(rng: np.random.Generator) -> None:
    X, y = scaled(load_diabetes)
    y, weight = y / y.std(), rng.random(len(y)) + 0.1
    expected = Ridge(1e-2 * weight.sum(), tol=1e-12).fit(X, y, weight)
    model = LinearRegressor(**EXACT).fit(X, y, weight)
    np.testing.assert_allclose(model.coef_, expected.coef_, atol=1e-4)
    assert model.intercept_[0] == pytest.approx(expected.intercept_, abs=1e-4)


def test_huber_regression() -> None:
    """scikit-learn's finds a scale of its own: ours is given it."""
    X, y = make_regression(200, 5, noise=10, random_state=0)
    y = y / y.std()
    y[:10] += 20
    expected = HuberRegressor(epsilon=1.35, alpha=0.0, tol=1e-10, max_iter=10_000).fit(X, y)
    model = LinearRegressor("huber", epsilon=1.35 * expected.scale_, **{**EXACT, "l2": 0.0}).fit(X, y)
    np.testing.assert_allclose(model.coef_, expected.coef_, atol=1e-4)


@pytest.mark.parametrize("loss", ["hinge", "squared_hinge", "modified_huber"])
def test_margin_losses_reach_the_optimum(loss: str) -> None:
    X, y = make_classification(300, 8, n_informative=5, flip_y=0.1, random_state=0)
    sign = 2 * y - 1

    def objective(theta: np.ndarray) -> float:
        margin = sign * (X @ theta[:-1] + theta[-1])
        short = np.maximum(0, 1 - margin)
        losses = {"hinge": short, "squared_hinge": short**2, "modified_huber": np.where(margin >= -1, short**2, -4 * margin)}
        return float(losses[loss].mean() + 0.5e-2 * theta[:-1] @ theta[:-1])

    model = LinearClassifier(loss, **EXACT).fit(X, y)
    found = np.append(model.coef_[0], model.intercept_)
    least = scipy.optimize.minimize(objective, found, method="Powell", options={"xtol": 1e-8, "ftol": 1e-12}).fun
    assert objective(found) <= least + 1e-4
    assert model.loss_curve_[-1] == pytest.approx(objective(found), abs=1e-4)


def test_epsilon_insensitive_reaches_the_optimum() -> None:
    X, y = make_regression(100, 4, noise=5, random_state=0)
    y = y / y.std()
    model = LinearRegressor("epsilon_insensitive", epsilon=0.05, **{**EXACT, "l2": 0.0}).fit(X, y)

    # The same as a linear programme: the least sum of s with |y - Xw - b| <= epsilon + s, s >= 0.
    rows, columns = X.shape
    left = np.hstack([X, np.ones((rows, 1))])
    programme = scipy.optimize.linprog(
        np.append(np.zeros(columns + 1), np.full(rows, 1 / rows)),
        A_ub=np.vstack([np.hstack([left, -np.eye(rows)]), np.hstack([-left, -np.eye(rows)])]),
        b_ub=np.append(y + 0.05, 0.05 - y),
        bounds=[(None, None)] * (columns + 1) + [(0, None)] * rows,
    )
    loss = np.maximum(0, np.abs(y - model.predict(X)) - 0.05).mean()
    assert loss == pytest.approx(programme.fun, abs=2e-4)


def test_l1_is_in_the_objective() -> None:
    X, y = make_classification(300, 10, n_informative=3, n_redundant=0, random_state=0)
    model = LinearClassifier(**{**EXACT, "l2": 0.0, "l1": 0.05}).fit(X, y)

    # A smooth problem with the same solution: weights as the difference of two parts from 0.
    def objective(parts: np.ndarray) -> tuple[float, np.ndarray]:
        raw = X @ (parts[:10] - parts[10:20]) + parts[20]
        delta = (1 / (1 + np.exp(-raw)) - y) / 300
        slope = X.T @ delta
        loss = np.logaddexp(0, raw).mean() - (y * raw).mean() + 0.05 * parts[:20].sum()
        return loss, np.concatenate([slope + 0.05, 0.05 - slope, [delta.sum()]])

    bounds = [(0, None)] * 20 + [(None, None)]
    found = scipy.optimize.minimize(objective, np.zeros(21), jac=True, bounds=bounds, options={"ftol": 1e-14, "gtol": 1e-9}).x
    expected = found[:10] - found[10:20]
    assert 0 < np.count_nonzero(expected) < 10
    # The subgradient comes near zero: within the last steps' size.
    np.testing.assert_allclose(model.coef_[0], expected, atol=2e-3)


def test_each_class_against_the_rest_is_a_problem_of_its_own() -> None:
    X, y = scaled(load_iris)
    together = LinearClassifier("squared_hinge", tol=None, max_iter=200).fit(X, y)
    for i in range(3):
        alone = LinearClassifier("squared_hinge", tol=None, max_iter=200).fit(X, y == i)
        np.testing.assert_allclose(together.coef_[i], alone.coef_[0], rtol=1e-9)
        np.testing.assert_allclose(together.decision_function(X)[:, i], alone.decision_function(X), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("loss", ["log_loss", "hinge"])
@pytest.mark.parametrize("balanced", [False, True])
def test_whole_weights_are_repeated_rows(loss: str, balanced: bool, rng: np.random.Generator) -> None:
    X, y = scaled(load_iris)
    X, y, weight = X[:120], y[:120], rng.integers(0, 4, 120)
    arguments: dict[str, Any] = {
        "class_weight": "balanced" if balanced else None,
        "tol": None,
        "max_iter": 100,
        "batch_size": 10**6,
        "learning_rate": 0.05,
    }
    weighted = LinearClassifier(loss, **arguments).fit(X, y, weight)
    repeated = LinearClassifier(loss, **arguments).fit(X.repeat(weight, axis=0), y.repeat(weight))
    np.testing.assert_allclose(weighted.coef_, repeated.coef_, rtol=1e-6, atol=1e-7)


def test_class_weights_multiply_those_of_the_rows(rng: np.random.Generator) -> None:
    X, y = scaled(load_iris)
    names = np.array(["setosa", "versicolor", "virginica"])[y]
    weight = rng.random(150)
    given = {"setosa": 2.0, "virginica": 0.5}
    by_class = LinearClassifier(class_weight=given, tol=None, max_iter=50).fit(X, names, weight)
    by_row = LinearClassifier(tol=None, max_iter=50).fit(X, names, weight * np.array([2.0, 1.0, 0.5])[y])
    np.testing.assert_allclose(by_class.coef_, by_row.coef_, rtol=1e-9)
    assert set(by_class.predict(X)) <= set(names)


def test_weights_of_mini_batches_are_unbiased(rng: np.random.Generator) -> None:
    """The rows' weights, not those of a batch, are what a step divides by."""
    X, y = make_regression(2000, 3, noise=1, random_state=0)
    weight = np.where(rng.random(2000) < 0.01, 100.0, 0.01)
    expected = Ridge(1e-8).fit(X, y, weight)
    rate = fastopt.schedules.cosine(1.0, steps=200 * 63)
    model = LinearRegressor(learning_rate=rate, batch_size=32, l2=0.0, tol=None, max_iter=200, random_state=0).fit(X, y, weight)
    np.testing.assert_allclose(model.coef_, expected.coef_, rtol=0.02)


@pytest.mark.parametrize("kind", [scipy.sparse.csr_matrix, scipy.sparse.csr_array, scipy.sparse.coo_array])
@pytest.mark.parametrize("batch_size", [50, "auto"])
def test_sparse_rows_are_dense_ones(kind: Any, batch_size: Any, rng: np.random.Generator) -> None:
    X = rng.standard_normal((400, 30)) * (rng.random((400, 30)) < 0.2)
    y = (X[:, :5].sum(axis=1) > 0).astype(int)
    model, dense = (
        LinearClassifier(batch_size=batch_size, tol=None, max_iter=20, random_state=0, standardize=False).fit(rows, y)
        for rows in (kind(X), X)
    )
    np.testing.assert_allclose(model.coef_, dense.coef_, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(model.decision_function(kind(X)), dense.decision_function(X), rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64, np.float16])
def test_dtypes(dtype: Any) -> None:
    X, y = make_classification(100, random_state=0)
    model = LinearClassifier(random_state=0, tol=None, max_iter=20).fit((10 * X).astype(dtype), y)
    assert model.coef_.dtype == (np.float32 if dtype == np.float32 else np.float64)
    assert model.decision_function((10 * X).astype(np.float32)).dtype == model.coef_.dtype


@pytest.mark.parametrize("classes", [2, 3])
def test_probabilities_of_the_modified_huber_loss_are_scikit_learns(classes: int) -> None:
    X, y = make_classification(300, n_informative=6, n_classes=classes, random_state=0)
    reference = SGDClassifier(loss="modified_huber", random_state=0).fit(X, y)
    model = LinearClassifier("modified_huber", random_state=0).fit(X, y)
    model.coef_, model.intercept_ = reference.coef_, reference.intercept_
    np.testing.assert_allclose(model.decision_function(X), reference.decision_function(X))
    np.testing.assert_allclose(model.predict_proba(X), reference.predict_proba(X))
    np.testing.assert_array_equal(model.predict(X), reference.predict(X))


@pytest.mark.parametrize("loss", ["hinge", "squared_hinge"])
def test_no_probabilities(loss: str) -> None:
    model = LinearClassifier(loss)
    assert not hasattr(model, "predict_proba")
    assert not hasattr(model, "predict_log_proba")
    with pytest.raises(AttributeError):
        model.predict_proba([[0.0]])
    assert hasattr(LinearClassifier(), "predict_proba")


def test_log_probabilities() -> None:
    X, y = scaled(load_iris)
    model = LinearClassifier(random_state=0).fit(X, y)
    np.testing.assert_allclose(np.exp(model.predict_log_proba(X)), model.predict_proba(X))
    np.testing.assert_allclose(model.predict_proba(X).sum(axis=1), 1)


def test_no_intercept() -> None:
    X, y = make_regression(200, 5, bias=50, random_state=0)
    model = LinearRegressor(fit_intercept=False, ema_decay=0.5).fit(X, y)
    assert model.intercept_ == 0
    np.testing.assert_allclose(model.predict(X), X @ model.coef_)


def test_several_outputs() -> None:
    X, y = make_regression(300, 5, n_targets=3, random_state=0)
    model = LinearRegressor(random_state=0).fit(X, y)
    assert (model.coef_.shape, model.intercept_.shape, model.predict(X).shape) == ((3, 5), (3,), (300, 3))
    assert model.score(X, y) > 0.99
    assert LinearRegressor().fit(X, y[:, 0]).coef_.shape == (5,)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e4])
def test_the_default_rate_follows_the_targets_scale(scale: float) -> None:
    X, y = make_regression(2000, 10, noise=1, bias=100, random_state=0)
    model = LinearRegressor(random_state=0).fit(X, scale * y)
    assert model.score(X, scale * y) > 0.999


def test_constant_targets() -> None:
    X, _ = make_regression(50, 3, random_state=0)
    model = LinearRegressor().fit(X, np.full(50, 7.0))
    np.testing.assert_allclose(model.predict(X), 7)
