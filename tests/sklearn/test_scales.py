"""Features and targets of any scale: the same training, folded back into the model; streams of rows; warnings of no use."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import scipy.optimize
import scipy.sparse
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine, make_regression
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LinearRegression
from sklearn.metrics import r2_score
from sklearn.preprocessing import StandardScaler

import fastopt
from fastopt.rules import RULES
from fastopt.sklearn import LinearClassifier, LinearRegressor, MLPClassifier, MLPRegressor, losses
from fastopt.sklearn.scaling import Moments

ALL = (LinearClassifier, LinearRegressor, MLPClassifier, MLPRegressor)
UNEVEN = np.array([1.0, 1e-3, 1e4, 30.0, 0.1])
OFFSETS = np.array([0.0, 1.0, 1e6, -2010.0, 5.0])


def uneven(rows: int = 400, noise: float = 0.3) -> tuple[np.ndarray, np.ndarray]:
    """Features of all scales and offsets, and a target of the deviation 1e5."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((rows, 5))
    y = X @ [1.0, -2.0, 0.5, 3.0, 0.0] + noise * rng.standard_normal(rows)
    return OFFSETS + UNEVEN * X, 2e5 + 1e5 * y / y.std()


def of(cls: type[Any], y: np.ndarray) -> np.ndarray:
    return (y > y.mean()).astype(int) if "Classifier" in cls.__name__ else y


def arrays(model: Any) -> list[np.ndarray]:
    return [*model.coefs_, *model.intercepts_] if hasattr(model, "coefs_") else [model.coef_, model.intercept_]


# ---- The same training for every scale -------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [400, 2000])
@pytest.mark.parametrize("rule", RULES)
def test_the_scale_of_the_targets_changes_nothing(rule: str, rows: int) -> None:
    X, y = make_regression(rows, 10, noise=1, random_state=0)
    y /= y.std()
    epochs = set()
    for scale in (1e-3, 1.0, 1e3, 1e6):
        model = LinearRegressor(optimizer=rule, random_state=0).fit(X, scale * y)
        assert model.score(X, scale * y) > 0.95
        epochs.add(model.n_iter_)
    assert max(epochs) <= 1.2 * min(epochs) + 1  # rounding may move the end of a long training


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "lion", "sgd"])
@pytest.mark.parametrize("cls", ALL)
def test_training_is_that_of_scikit_learns_scaler(cls: type[Any], optimizer: str) -> None:
    """Penalty included: of the same steps without scaling of our own, on data that StandardScaler has scaled."""
    X, y = uneven()
    settings: dict[str, Any] = {"optimizer": optimizer, "learning_rate": 1e-3, "l2": 0.05, "l1": 0.01}
    settings |= {"batch_size": 64, "max_iter": 20, "tol": None, "random_state": 0}
    scaler, unit = StandardScaler().fit(X), StandardScaler().fit(y[:, None])
    target = of(cls, y) if "Classifier" in cls.__name__ else unit.transform(y[:, None])[:, 0]
    outside = cls(standardize=False, **settings).fit(scaler.transform(X), target)
    inside = cls(**settings).fit(X, of(cls, y))
    np.testing.assert_allclose(inside.loss_curve_, outside.loss_curve_, rtol=1e-6)
    expected = outside.predict(scaler.transform(X))
    if "Classifier" in cls.__name__:
        np.testing.assert_allclose(inside.predict_proba(X), outside.predict_proba(scaler.transform(X)), rtol=1e-5, atol=1e-7)
    else:
        np.testing.assert_allclose(inside.predict(X), unit.inverse_transform(expected[:, None])[:, 0], rtol=1e-6)
    if cls is LinearRegressor:
        np.testing.assert_allclose(inside.coef_, outside.coef_ / scaler.scale_ * unit.scale_, rtol=1e-5)


@pytest.mark.parametrize("standardize", [True, False])
def test_outputs_of_other_scales_are_fitted_alike(standardize: bool) -> None:
    X, y = make_regression(500, 5, n_targets=2, noise=5.0, random_state=0)
    y = y / y.std(axis=0) * [1.0, 1e4]
    expected = LinearRegression().fit(X, y)
    model = LinearRegressor(random_state=0, standardize=standardize)
    with warnings.catch_warnings():
        warnings.simplefilter("error" if standardize else "ignore")
        model.fit(X, y)
    found, best = (r2_score(y, each.predict(X), multioutput="raw_values") for each in (model, expected))
    if standardize:
        np.testing.assert_allclose(found, best, atol=1e-4)
        np.testing.assert_allclose(model.coef_ / [[1], [1e4]], expected.coef_ / [[1], [1e4]], atol=5e-3)
    else:
        assert found[1] < best[1] - 0.1  # as it is for data that are taken as they are


@pytest.mark.parametrize("loss", ["huber", "epsilon_insensitive"])
def test_epsilon_is_in_the_units_of_each_target(loss: str) -> None:
    """The loss of the data as given has no lower value than the model's, by a search of SciPy's from there."""
    X, y = make_regression(300, 3, n_targets=2, noise=20.0, random_state=0)
    y = y / y.std(axis=0) * [1.0, 100.0] + [5.0, -300.0]
    epsilons = {"huber": 0.3, "epsilon_insensitive": 0.3}
    model = LinearRegressor(
        loss, epsilon=epsilons[loss], l2=0.0, learning_rate=fastopt.schedules.cosine(0.1, 3000), max_iter=3000, tol=None
    ).fit(X, y)
    for i in range(2):
        unit = y[:, i].std()

        def objective(theta: np.ndarray, i: int = i) -> float:
            far = np.abs(X @ theta[:3] + theta[3] - y[:, i])
            if loss == "huber":
                return float(np.where(far <= 0.3, far**2 / 2, 0.3 * far - 0.045).mean())
            return float(np.maximum(far - 0.3, 0).mean())

        found = np.append(model.coef_[i], model.intercept_[i])
        least = scipy.optimize.minimize(objective, found, method="Powell", options={"xtol": 1e-9, "ftol": 1e-13}).fun
        assert objective(found) <= least + 1e-4 * unit * min(unit, 1.0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_raw_data_are_fitted_as_least_squares_does(dtype: Any) -> None:
    X, y = uneven(2000)
    scaler = StandardScaler().fit(X)  # LinearRegression drops the second feature of the raw ones as rounding
    expected = LinearRegression().fit(scaler.transform(X), y)
    if dtype == np.float32:
        X = X - OFFSETS  # which float32 could not hold beside the deviation
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = LinearRegressor(random_state=0).fit(X.astype(dtype), y.astype(dtype))
    assert model.score(X.astype(dtype), y) > expected.score(scaler.transform(uneven(2000)[0]), y) - 1e-3
    assert model.coef_.dtype == dtype
    np.testing.assert_allclose(model.coef_ * scaler.scale_ / 1e5, expected.coef_ / 1e5, atol=0.01)


@pytest.mark.parametrize("kind", [np.asarray, scipy.sparse.csr_array])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_what_is_not_centred(kind: Any, fit_intercept: bool) -> None:
    """Sparse features keep their zeros, and a model without an intercept its origin."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((400, 6)) * (rng.random((400, 6)) < 0.3) * [1e3, 1.0, 1e-3, 5.0, 1e4, 0.1]
    y = X @ (1 / np.array([1e3, 1.0, 1e-3, 5.0, 1e4, 0.1])) + (40.0 if fit_intercept else 0.0)
    expected = LinearRegression(fit_intercept=fit_intercept).fit(X, y)
    model = LinearRegressor(fit_intercept=fit_intercept, l2=0.0, random_state=0).fit(kind(X), y)
    assert model.score(kind(X), y) > 0.999
    np.testing.assert_allclose(model.intercept_, expected.intercept_, atol=0.05)
    assert fit_intercept or not model.intercept_.any()
    np.testing.assert_allclose(model.coef_ * [1e3, 1.0, 1e-3, 5.0, 1e4, 0.1], 1, atol=0.05)


@pytest.mark.parametrize("cls", ALL)
def test_constant_features_have_no_say(cls: type[Any]) -> None:
    X, y = uneven()
    wide = np.hstack([X, np.full((400, 1), 0.1), np.zeros((400, 1))])
    model = cls(random_state=0, max_iter=20, tol=None, l2=0.0).fit(wide, of(cls, y))
    assert np.isfinite(model.predict(wide)).all()
    if cls is LinearRegressor:
        np.testing.assert_allclose(model.coef_[5:], 0, atol=1e-6)


# ---- Streams, and going on -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [1, 10, 50])
def test_streams_of_uneven_rows(rows: int) -> None:
    X, y = uneven(3000, noise=0.0)
    model = LinearRegressor(random_state=0)
    for _ in range(3 if rows == 50 else 1):
        for begin in range(0, 3000, rows):
            model.partial_fit(X[begin : begin + rows], y[begin : begin + rows])
    assert model.score(X, y) > 0.9


def test_a_first_call_of_equal_targets() -> None:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((3000, 3))
    y = 1e4 * X @ [1.0, 2.0, 3.0]
    model = LinearRegressor(random_state=0).partial_fit(X[:50], np.full(50, 0.1))
    np.testing.assert_allclose(model.coef_, 0, atol=1e-9)
    for _ in range(20):
        model.partial_fit(X, y)
    assert model.score(X, y) > 0.95


@pytest.mark.parametrize("ema_decay", [None, 0.9])
@pytest.mark.parametrize("cls", ALL)
def test_new_scales_leave_the_predictions(cls: type[Any], ema_decay: float | None) -> None:
    X, y = uneven()
    model = cls(random_state=0, learning_rate=1e-2, ema_decay=ema_decay, batch_size=50)
    for _ in range(5):
        model.partial_fit(X, of(cls, y))
    before, scaling = [array.copy() for array in arrays(model)], model._trainer.scaling
    target = None if "Classifier" in cls.__name__ else Moments.of(1e3 * y[:, None], None)
    model._trainer.rescale(scaling.renewed(Moments.of(100 * X, None), target, centred=True, intercept=True))
    assert model._trainer.scaling is not scaling
    for array, old in zip(arrays(model), before, strict=True):
        np.testing.assert_allclose(array, old, rtol=1e-6, atol=1e-9 * np.abs(old).max())


@pytest.mark.parametrize("cls", ALL)
def test_scaling_can_be_switched_off_and_on(cls: type[Any]) -> None:
    X, y = uneven()
    X = X / UNEVEN - OFFSETS / UNEVEN
    y = of(cls, y if "Classifier" in cls.__name__ else y / 1e5)
    model = cls(random_state=0, learning_rate=1e-2, batch_size=50)
    for standardize in (True, False, True):
        model.set_params(standardize=standardize).partial_fit(X, y)
        assert (model._trainer.published is model._trainer.network) is not standardize
        before = model.predict(X)
        model.set_params(learning_rate=1e-300, standardize=not standardize).partial_fit(X, y)
        np.testing.assert_allclose(model.predict(X), before, rtol=1e-6)
        model.set_params(learning_rate=1e-2)
    assert model.score(X, y) > 0.1


@pytest.mark.parametrize("weighted", [False, True])
def test_the_moments_of_parts_are_those_of_the_whole(weighted: bool, rng: np.random.Generator) -> None:
    target = 1e6 + rng.standard_normal((100, 2)) * [1.0, 7.0]
    weight = rng.random(100) if weighted else None
    whole = Moments.of(target, weight)
    parts = Moments.of(target[:1], None if weight is None else weight[:1])
    for part in (slice(1, 2), slice(2, 40), slice(40, 100)):
        parts = parts.added(Moments.of(target[part], None if weight is None else weight[part]))
    assert parts.total == pytest.approx(whole.total)
    np.testing.assert_allclose(parts.mean, whole.mean, rtol=1e-12)
    np.testing.assert_allclose(parts.sizes(centred=True), whole.sizes(centred=True), rtol=1e-6)
    centre = np.average(target, axis=0, weights=weight)
    expected = np.sqrt(np.average((target - centre) ** 2, axis=0, weights=weight))
    np.testing.assert_allclose(whole.sizes(centred=True), expected, rtol=1e-6)
    sparse = Moments.of(scipy.sparse.csr_array(target), weight)
    np.testing.assert_allclose(sparse.sizes(centred=False), np.sqrt(np.average(target**2, axis=0, weights=weight)), rtol=1e-12)


def test_moments_of_equal_rows_and_of_no_weight() -> None:
    equal = Moments.of(np.full((7, 1), 0.1), None)
    assert (equal.mean[0], equal.squares[0], equal.sizes(centred=True)[0]) == (0.1, 0.0, 1.0)
    assert equal.sizes(centred=False)[0] == pytest.approx(0.1)
    nothing, some = Moments.of(np.arange(3.0)[:, None], np.zeros(3)), Moments.of(np.arange(5.0)[:, None], None)
    assert some.added(nothing) is nothing.added(some) is some


# ---- Warnings --------------------------------------------------------------------------------------------------------


def caught(model: Any, X: np.ndarray, y: np.ndarray) -> str:
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always", ConvergenceWarning)
        model.fit(X, y)
    return " ".join(str(each.message) for each in found)


@pytest.mark.parametrize("load", [load_wine, load_breast_cancer])
@pytest.mark.parametrize("loss", ["log_loss", "hinge", "squared_hinge", "modified_huber", None])
def test_raw_features_are_learnt(load: Any, loss: str | None) -> None:
    X, y = load(return_X_y=True)
    model = MLPClassifier(random_state=0) if loss is None else LinearClassifier(loss, random_state=0)
    assert not caught(model, X, y)
    assert model.score(X, y) > 0.97


@pytest.mark.parametrize("loss", ["squared_error", "huber", "epsilon_insensitive", None])
def test_raw_features_of_a_regression_are_learnt(loss: str | None) -> None:
    X, y = load_diabetes(return_X_y=True, scaled=False)
    model = MLPRegressor(random_state=0) if loss is None else LinearRegressor(loss, random_state=0)
    assert not caught(model, X, y)
    assert model.score(X, y) > 0.45


@pytest.mark.parametrize("cls", ALL)
def test_a_fit_no_better_than_a_constant_says_so(cls: type[Any]) -> None:
    X, y = uneven(2000)
    quick: dict[str, Any] = {"learning_rate": 1e-9, "random_state": 0, "l2": 0.0}
    if cls is MLPClassifier or cls is MLPRegressor:
        quick |= {"hidden_layer_sizes": (), "learning_rate": 1e-12}
    words = caught(cls(**quick), X, of(cls, y))
    assert "is no better than that of the same prediction for every row" in words or cls in (MLPClassifier, MLPRegressor)
    raw = cls(standardize=False, optimizer="adam", random_state=0)
    assert "try standardize=True, or another learning_rate" in caught(raw, X, of(cls, y))


def test_rare_classes_alone_are_no_success() -> None:
    """Outputs that know only how rare a class is have a loss below that of equal chances."""
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((5000, 3)), (rng.random(5000) < 0.05).astype(int)
    words = caught(LinearClassifier(random_state=0, l1=0.1), X, y)
    share = y.mean()
    entropy = -share * np.log(share) - (1 - share) * np.log(1 - share)
    assert f"the same prediction for every row, {entropy:.4g}: try another learning_rate, a smaller l1 or l2" in words


@pytest.mark.parametrize("share", [0.02, 0.3, 0.5, 0.9])
@pytest.mark.parametrize("loss", [losses.Logistic(), losses.Hinge(), losses.SquaredHinge(), losses.ModifiedHuber()])
def test_the_loss_of_a_constant_is_the_least(loss: Any, share: float) -> None:
    """SciPy searches for the best constant."""
    rows = 1000
    positive = np.arange(rows)[:, None] < share * rows
    target = positive.astype(float) if isinstance(loss, losses.Logistic) else np.where(positive, 1.0, -1.0)

    def mean(constant: float) -> float:
        return float(loss.mean_gradient(np.full((rows, 1), constant), target, None, rows, np.empty(rows)))

    expected = scipy.optimize.minimize_scalar(mean, bounds=(-6, 6), options={"xatol": 1e-9}).fun
    assert loss.at_shares(np.array([share]))[0] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("cls", [LinearRegressor, MLPRegressor])
@pytest.mark.parametrize(("dtype", "size"), [(np.float64, 1e200), (np.float32, 1e25)])
def test_targets_whose_squares_overflow(cls: type[Any], dtype: Any, size: float) -> None:
    X, y = make_regression(50, 3, random_state=0)
    with pytest.raises(ValueError, match=r"y: got numbers up to .*, expected smaller ones: their squares overflow float"):
        cls().fit(X.astype(dtype), size * y)


@pytest.mark.parametrize("standardize", [True, False])
@pytest.mark.parametrize("kind", [np.asarray, scipy.sparse.csr_array])
def test_the_default_rate_of_sgd_does_not_diverge(kind: Any, standardize: bool) -> None:
    rng = np.random.default_rng(0)
    for size in (1.0, 30.0, 1e4):
        X = size * rng.standard_normal((400, 5))
        y = X @ np.arange(5.0)
        model = LinearRegressor(optimizer="sgd", random_state=0, l2=0.0, standardize=standardize, max_iter=300, tol=None)
        model.fit(kind(X), y)
        assert model.score(kind(X), y) > 0.9
        norm = 5 if standardize else (X**2).sum() / 400
        assert model._trainer.optimizer.lr == pytest.approx(min(0.1, 1 / (1 + norm)), rel=1e-6)
