"""What a later call goes on from: assigned arrays, averages, the rows held out; and what one that raises leaves."""

from __future__ import annotations

import copy
import functools
import pickle
import warnings
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import make_classification, make_regression
from sklearn.exceptions import ConvergenceWarning, NotFittedError

import fastopt
from fastopt.sklearn import LinearClassifier, LinearRegressor, MLPClassifier, MLPRegressor
from fastopt.sklearn.training import Trainer

ALL = (LinearClassifier, LinearRegressor, MLPClassifier, MLPRegressor)


def data(estimator: type[Any], rows: int = 300) -> tuple[np.ndarray, np.ndarray]:
    if "Classifier" in estimator.__name__:
        return make_classification(rows, 8, n_informative=5, n_classes=3, random_state=0)
    X, y = make_regression(rows, 8, noise=1, random_state=0)
    return X, y / y.std()


def names(model: Any) -> tuple[str, str]:
    return ("coefs_", "intercepts_") if hasattr(model, "coefs_") else ("coef_", "intercept_")


def arrays(model: Any) -> list[np.ndarray]:
    found = [getattr(model, name) for name in names(model)]
    return [array for part in found for array in part] if isinstance(found[0], list) else found


@pytest.fixture(params=ALL, ids=lambda cls: cls.__name__)
def cls(request: pytest.FixtureRequest) -> type[Any]:
    return request.param


@pytest.fixture(params=[None, 0.5, 0.99], ids=lambda decay: f"ema_{decay}")
def ema_decay(request: pytest.FixtureRequest) -> float | None:
    return request.param


@pytest.mark.parametrize("perceptron", [MLPClassifier, MLPRegressor])
def test_an_element_of_a_list_can_be_replaced(perceptron: type[Any], ema_decay: float | None) -> None:
    X, y = data(perceptron)
    model = perceptron((5,), ema_decay=ema_decay, random_state=0).partial_fit(X, y)
    model.coefs_[0] = np.zeros((8, 5))
    model.intercepts_[1] = np.full_like(model.intercepts_[1], 3.0)
    for each in (model, pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        np.testing.assert_array_equal(each.coefs_[0], 0)
        each.set_params(learning_rate=1e-12).partial_fit(X, y)
        np.testing.assert_allclose(each.coefs_[0], 0, atol=1e-9)
        np.testing.assert_allclose(each.intercepts_[1], 3, atol=1e-9)
        each.set_params(learning_rate=1e-2).partial_fit(X, y)
        assert each.coefs_[0].any()
        assert np.shares_memory(each.coefs_[0], each._trainer.published.flat.data)
        np.testing.assert_array_equal(each._trainer.network.params["weight0"], each._trainer.network.weights[0])


@pytest.mark.parametrize("how", ["assigned", "written"])
def test_what_is_assigned_or_written_is_gone_on_from(cls: type[Any], ema_decay: float | None, how: str) -> None:
    X, y = data(cls)
    model = cls(ema_decay=ema_decay, random_state=0, batch_size=50).partial_fit(X, y).partial_fit(X, y)
    if how == "written":
        for array in arrays(model):
            array[...] = 0.25
    else:
        for name in names(model):
            value = getattr(model, name)
            filled = [np.full(a.shape, 0.25) for a in value] if isinstance(value, list) else np.full(value.shape, 0.25)
            setattr(model, name, filled)
    model.set_params(learning_rate=1e-12).partial_fit(X, y)
    trainer = model._trainer
    folded = [array for source in trainer.sources() for part in trainer.scaling.fold(*source) for array in part]
    for array in (*arrays(model), *folded):  # what trains and what is averaged too
        np.testing.assert_allclose(array, 0.25, rtol=1e-6, atol=1e-7)


def test_a_view_of_the_live_array_can_be_assigned() -> None:
    X, y = data(LinearRegressor)
    model = LinearRegressor(random_state=0).partial_fit(X, y)
    expected = model.coef_[::-1].copy()
    model.coef_ = model.coef_[::-1]
    model.set_params(learning_rate=1e-12).partial_fit(X, y)
    np.testing.assert_allclose(model.coef_, expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("value", "error", "words"),
    [
        (np.ones((1, 1)), ValueError, r"got shape \(1, 1\), expected"),
        (1.0, ValueError, r"got shape \(\), expected"),
        (np.full(8, "a"), TypeError, "got dtype <U1, expected real numbers"),
        (np.full(8, np.nan), ValueError, "got numbers that are not finite"),
    ],
)
def test_arrays_that_do_not_fit(value: Any, error: type[Exception], words: str) -> None:
    X, y = data(LinearRegressor)
    model = LinearRegressor(random_state=0).partial_fit(X, y)
    before = model._trainer.network.flat.data.copy()
    model.coef_ = value
    with pytest.raises(error, match=f"coef_: {words}"):
        model.partial_fit(X, y)
    np.testing.assert_array_equal(model._trainer.network.flat.data, before)
    network = MLPRegressor((3,)).partial_fit(X, y)
    network.coefs_[1] = np.ones((3, 2))
    with pytest.raises(ValueError, match=r"coefs_\[1\]: got shape \(3, 2\), expected \(3, 1\)"):
        network.partial_fit(X, y)
    network.coefs_ = network.coefs_[:1]
    with pytest.raises(ValueError, match="coefs_: got 'list' in its place, expected a list of 2 arrays"):
        network.partial_fit(X, y)


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.9])
def test_averages_are_corrected_for_their_beginning(cls: type[Any], decay: float) -> None:
    """sum of decay**(t - i) * parameter_i, divided by the sum of those powers."""
    X, y = data(cls)
    model = cls(ema_decay=decay, random_state=0, learning_rate=0.02, batch_size=300)
    weighted, total = 0.0, 0.0
    for _ in range(60 if decay == 0.5 else 12):  # with 0.5 past the step from where the correction is below rounding
        model.partial_fit(X, y)
        trainer = model._trainer
        weighted = decay * weighted + trainer.network.weights[0]
        total = decay * total + 1
        average = trainer.scaling.unfold(trainer.published.weights, trainer.published.biases)[0][0]
        np.testing.assert_allclose(average, weighted / total, rtol=1e-9, atol=1e-12)


def test_early_stopping_restores_what_trains_too(
    cls: type[Any], ema_decay: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    X, y = data(cls)
    kept: list[Any] = []
    snapshot = Trainer.snapshot
    monkeypatch.setattr(Trainer, "snapshot", lambda self: kept.append(snapshot(self)) or kept[-1])
    model = cls(
        ema_decay=ema_decay, early_stopping=True, random_state=0, max_iter=40, tol=None, batch_size=50, learning_rate=0.05
    )
    model.fit(X, y)
    trainer = model._trainer
    assert len(kept) < 40
    for array, best_of_all in zip(snapshot(trainer), kept[-1], strict=True):
        np.testing.assert_array_equal(array, best_of_all)
    for array, shown in zip(trainer.folded(), (*trainer.published.weights, *trainer.published.biases), strict=True):
        np.testing.assert_array_equal(array, shown)
    best = [array.copy() for array in arrays(model)]
    model.set_params(early_stopping=False, learning_rate=1e-12, ema_decay=None).partial_fit(X, y)
    if ema_decay is None:
        for array, before in zip(arrays(model), best, strict=True):
            np.testing.assert_allclose(array, before, rtol=1e-6, atol=1e-9)


def test_a_warm_start_holds_out_the_same_rows(cls: type[Any], ema_decay: float | None) -> None:
    X, y = data(cls)
    model = cls(
        warm_start=True, early_stopping=True, max_iter=5, tol=None, random_state=0, learning_rate=0.03, ema_decay=ema_decay
    )
    held: list[Any] = []
    score = model._validate
    model._validate = functools.partial(_spied, held, score)
    for i in range(4):
        model.fit(X, y)
        assert len(model.validation_scores_) == 5 * (i + 1)
        assert model.best_validation_score_ == max(model.validation_scores_)
        assert score(held[-1], *_targets(model, X, y, held[-1]), None, model._trainer.published) == model.best_validation_score_
        if i == 1:
            del model._validate
            model = pickle.loads(pickle.dumps(model))
            score = model._validate
            model._validate = functools.partial(_spied, held, score)
    for rows in held:
        np.testing.assert_array_equal(rows, held[0])


def _spied(held: list[Any], score: Any, X: Any, *rest: Any) -> Any:
    held.append(X)
    return score(X, *rest)


def _targets(model: Any, X: np.ndarray, y: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray]:
    """The targets of rows of `X`."""
    index = [int(np.flatnonzero((row == X).all(axis=1))[0]) for row in rows]
    return (y[index],)


def test_an_intercept_can_be_switched_off_and_on() -> None:
    for cls in (LinearClassifier, LinearRegressor):
        X, y = data(cls)
        for ema in (None, 0.9):
            model = cls(random_state=0, ema_decay=ema).partial_fit(X, y + (10 if cls is LinearRegressor else 0))
            assert model.intercept_.any()
            y_ = y + (10 if cls is LinearRegressor else 0)
            model.set_params(fit_intercept=False).partial_fit(X, y_).partial_fit(X, y_)
            assert not model.intercept_.any()
            model.set_params(fit_intercept=True).partial_fit(X, y_)
            assert model.intercept_.all()
            assert copy.deepcopy(model).partial_fit(X, y_).intercept_.all()


FAILURES: list[dict[str, Any]] = [
    {"optimizer": "sgd", "learning_rate": 1e200, "l2": 1.0, "tol": None},
    {"optimizer": "adamm"},
    {"eps": -1.0},
    {"l1": -1.0},
    {"beta1": 0.5, "optimizer": "sgd"},
    {"max_iter": 0},
]


@pytest.mark.parametrize("warm_start", [False, True])
@pytest.mark.parametrize("failure", FAILURES, ids=repr)
def test_a_fit_that_raises_leaves_the_estimator_as_it_was(cls: type[Any], failure: dict[str, Any], warm_start: bool) -> None:
    X, y = data(cls)
    model = cls(random_state=0, max_iter=5, tol=None, batch_size=50, learning_rate=0.01, warm_start=warm_start).fit(X, y)
    params, twin, state = model.get_params(), copy.deepcopy(model), {k: v for k, v in vars(model).items() if k != "_trainer"}
    state = copy.deepcopy(state)
    with pytest.raises((TypeError, ValueError)):
        model.set_params(**failure).fit(X[:, :8] * 1e150, y)
    with pytest.raises(ValueError, match="features"):
        model.set_params(**params).partial_fit(X[:, :3], y)
    with pytest.raises(ValueError):  # noqa: PT011  # whatever the first check of the targets says
        model.fit(X, np.full(len(y), np.nan))
    assert set(vars(model)) == set(vars(twin))
    for name, value in state.items():
        if name.endswith("_") and name not in names(model):
            np.testing.assert_equal(getattr(model, name), value)
    for array, before in zip(arrays(model), arrays(twin), strict=True):
        np.testing.assert_array_equal(array, before)
    model.partial_fit(X, y)
    twin.partial_fit(X, y)
    for array, before in zip(arrays(model), arrays(twin), strict=True):
        np.testing.assert_array_equal(array, before)


def test_an_interrupt_leaves_the_model_before(cls: type[Any]) -> None:
    X, y = data(cls)
    model = cls(random_state=0, max_iter=5, tol=None).fit(X, y)
    before, curve = model.predict(X), list(model.loss_curve_)

    def interrupted(step: int) -> float:
        if step == 3:
            raise KeyboardInterrupt
        return 0.1

    for warm_start in (False, True):
        with pytest.raises(KeyboardInterrupt):
            model.set_params(learning_rate=interrupted, batch_size=10, warm_start=warm_start, optimizer="nadam").fit(X, y)
        np.testing.assert_array_equal(model.predict(X), before)
        assert model.loss_curve_ == curve


def test_a_partial_fit_that_diverges_leaves_nothing_that_predicts(cls: type[Any]) -> None:
    X, y = data(cls)
    model = cls(random_state=0).partial_fit(X, y)
    model.set_params(optimizer="sgd", learning_rate=1e300, l2=1.0)
    X = 1e150 * X
    with pytest.raises(ValueError, match="the estimator is not fitted any more"):
        model.partial_fit(X, y)
    with pytest.raises(NotFittedError):
        model.predict(X)
    with pytest.raises(ValueError, match=r"standardize=True if it is False$"):
        model.set_params(max_iter=1).fit(X, y)
    assert not [name for name in vars(model) if name.endswith("_") and not name.startswith("_")]
    model.set_params(optimizer="adam", learning_rate=None, l2=0.0).partial_fit(X, y).predict(X)


def test_what_is_reserved_for_batches_is_given_up(cls: type[Any]) -> None:
    X, y = data(cls)
    model = cls(random_state=0, max_iter=2, tol=None, batch_size=64).fit(X, y)
    assert not model._trainer.network._work
    for rows in (300, 100, 7):
        model.partial_fit(X[:rows], y[:rows])
    assert list(model._trainer.network._work) == [7]


def test_the_best_loss_is_the_least_of_all_calls(cls: type[Any]) -> None:
    X, y = data(cls)
    model = cls(random_state=0, learning_rate=0.3, batch_size=20)
    for _ in range(6):
        model.partial_fit(X, y)
        assert model.best_loss_ == min(model.loss_curve_)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.set_params(warm_start=True, max_iter=3).fit(X, y)
    assert model.best_loss_ == min(model.loss_curve_)
    assert len(model.loss_curve_) == 9


def test_a_state_in_float64_fits_float64_data() -> None:
    X, y = data(LinearClassifier)
    partial = functools.partial(fastopt.Adam, state_dtype="float64")
    model = LinearClassifier(optimizer=partial, max_iter=3, tol=None).fit(X, y)
    assert model._trainer.optimizer.state[0]["exp_avg"].dtype == np.float64
    with pytest.raises((TypeError, ValueError), match="optimizer: state_dtype"):
        LinearClassifier(optimizer=partial, max_iter=3, tol=None).fit(X.astype(np.float32), y)
