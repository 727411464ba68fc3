"""How the estimators train: batches, seeds, going on, pickles, early stopping, schedules, averages."""

from __future__ import annotations

import copy
import pickle
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits, make_classification, make_multilabel_classification, make_regression
from sklearn.exceptions import ConvergenceWarning, NotFittedError

import fastopt
from fastopt.sklearn import LinearClassifier, LinearRegressor, MLPClassifier, MLPRegressor

ALL = (LinearClassifier, LinearRegressor, MLPClassifier, MLPRegressor)


def data(estimator: type[Any], rows: int = 300) -> tuple[np.ndarray, np.ndarray]:
    if "Classifier" in estimator.__name__:
        return make_classification(rows, 8, n_informative=5, n_classes=3, random_state=0)
    X, y = make_regression(rows, 8, noise=1, random_state=0)
    return X, y / y.std()


def arrays(model: Any) -> list[np.ndarray]:
    return [*model.coefs_, *model.intercepts_] if hasattr(model, "coefs_") else [model.coef_, model.intercept_]


def assert_same(one: Any, other: Any) -> None:
    for a, b in zip(arrays(one), arrays(other), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.fixture(params=ALL, ids=lambda cls: cls.__name__)
def cls(request: pytest.FixtureRequest) -> type[Any]:
    return request.param


def test_the_seed_decides(cls: type[Any]) -> None:
    X, y = data(cls)
    make = lambda seed: cls(batch_size=32, max_iter=5, tol=None, random_state=seed).fit(X, y)  # noqa: E731  # a local of one line
    assert_same(make(0), make(0))
    assert (arrays(make(0))[0] != arrays(make(1))[0]).any()
    assert_same(make(np.random.RandomState(3)), make(np.random.RandomState(3)))


def test_the_data_are_only_read(cls: type[Any]) -> None:
    X, y = data(cls)
    before, targets = X.copy(), y.copy()
    X.flags.writeable = y.flags.writeable = False
    cls(batch_size=32, max_iter=3, tol=None).fit(X, y, np.ones(len(y)))
    np.testing.assert_array_equal(X, before)
    np.testing.assert_array_equal(y, targets)


def test_partial_fit_is_a_fit_in_parts(cls: type[Any]) -> None:
    X, y = data(cls)
    settings = {"batch_size": 32, "random_state": 0, "tol": None, "learning_rate": 0.01, "l2": 1e-3}
    whole, parts = cls(max_iter=7, **settings).fit(X, y), cls(**settings)
    for i in range(7):
        parts.partial_fit(X, y)
        assert (parts.n_iter_, parts.t_) == (i + 1, 10 * (i + 1))
    assert_same(whole, parts)
    assert parts.loss_curve_ == whole.loss_curve_
    assert whole.n_iter_ == 7


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
@pytest.mark.parametrize("optimizer", ["nadam", "adam", "sgd", "adadelta"])
def test_a_copy_goes_on_with_the_same_bits(cls: type[Any], optimizer: str, copied: Callable[[Any], Any]) -> None:
    X, y = data(cls)
    model = cls(optimizer=optimizer, batch_size=32, random_state=0, ema_decay=0.9, l2=1e-3, learning_rate=0.01)
    for _ in range(3):
        model.partial_fit(X, y)
    twin = copied(model)
    assert_same(model, twin)
    np.testing.assert_array_equal(model.predict(X), twin.predict(X))
    for _ in range(3):
        model.partial_fit(X, y)
    assert (arrays(model)[0] != arrays(twin)[0]).any()
    for _ in range(3):
        twin.partial_fit(X, y)
    assert_same(model, twin)
    assert np.shares_memory(arrays(twin)[0], twin._trainer.published.flat.data)


def test_a_pickle_keeps_the_plateau(cls: type[Any]) -> None:
    X, y = data(cls)
    plateau = fastopt.schedules.ReduceOnPlateau(0.05, patience=0, threshold=0.5)
    model = cls(learning_rate=plateau, batch_size=50, random_state=0)
    for _ in range(4):
        model.partial_fit(X, y)
    twin = pickle.loads(pickle.dumps(model))
    assert twin._trainer.optimizer.lr == model._trainer.optimizer.lr
    for each in (model, twin):
        for _ in range(4):
            each.partial_fit(X, y)
    assert_same(model, twin)
    assert model._trainer.lr(0) < 0.05
    assert plateau(0) == 0.05  # the parameter is left as it was


def test_warm_start_goes_on(cls: type[Any]) -> None:
    X, y = data(cls)
    settings = {"batch_size": 32, "random_state": 0, "tol": None, "learning_rate": 0.01}
    once = cls(max_iter=6, **settings).fit(X, y)
    model = cls(max_iter=3, warm_start=True, **settings).fit(X, y).fit(X, y)
    assert_same(once, model)
    assert (model.n_iter_, len(model.loss_curve_)) == (3, 6)
    assert_same(cls(max_iter=3, **settings).fit(X, y).fit(X, y), cls(max_iter=3, **settings).fit(X, y))


def test_warm_start_takes_on_new_parameters(cls: type[Any]) -> None:
    X, y = data(cls)
    model = cls(max_iter=2, warm_start=True, tol=None, random_state=0, batch_size=50, learning_rate=0.01).fit(X, y)
    trainer = model._trainer
    optimizer, average = trainer.optimizer, trainer.optimizer.state[0]["exp_avg"]
    model.set_params(learning_rate=1e-3, l2=0.5, l1=0.25).fit(X, y)
    assert model._trainer.optimizer is optimizer
    assert (optimizer.lr, optimizer.groups[0]["weight_decay"], optimizer.groups[0]["l1"]) == (1e-3, 0.5, 0.25)
    assert optimizer.groups[1]["weight_decay"] == 0
    assert average is optimizer.state[0]["exp_avg"]
    model.set_params(optimizer="sgd", momentum=0.5).fit(X, y)
    assert isinstance(model._trainer.optimizer, fastopt.SGD)
    assert model._trainer.optimizer.steps == model.t_ == 12


def test_arrays_that_were_assigned_are_gone_on_from(cls: type[Any]) -> None:
    X, y = data(cls)
    model = cls(warm_start=True, max_iter=1, tol=None, random_state=0, learning_rate=1e-12).fit(X, y)
    if hasattr(model, "coefs_"):
        model.coefs_ = [np.full_like(array, 0.25) for array in model.coefs_]
    else:
        model.coef_ = np.full_like(model.coef_, 0.25)
    model.fit(X, y)
    np.testing.assert_allclose(arrays(model)[0], 0.25, rtol=1e-6)
    assert np.shares_memory(arrays(model)[0], model._trainer.published.flat.data)


def test_going_on_refuses_other_networks(cls: type[Any]) -> None:
    X, y = data(cls)
    model = cls(warm_start=True, max_iter=2, tol=None).fit(X, y)
    if hasattr(model, "coefs_"):
        with pytest.raises(ValueError, match=r"network of sizes \(8, 5, .*expected \(8, 100,"):
            model.set_params(hidden_layer_sizes=(5,)).fit(X, y)
        with pytest.raises(ValueError, match="network of activation tanh"):
            model.set_params(hidden_layer_sizes=(100,), activation="tanh").fit(X, y)
    with pytest.raises(ValueError, match="features"):
        model.partial_fit(X[:, :5], y)


def test_the_loss_curve_is_the_objective(cls: type[Any]) -> None:
    """The objective of the whole batch before each step: the mean loss and l1*|w|_1 + l2/2*|w|_2**2."""
    X, y = data(cls)
    model = cls(l1=0.01, l2=0.1, batch_size=len(y), warm_start=True, max_iter=5, tol=None, random_state=0).fit(X, y)
    network, scaling = model._trainer.network, model._trainer.scaling
    target = scaling.targets(model._encode(y, None, X.dtype, first=False))
    penalty = sum(0.01 * np.abs(w).sum() + 0.05 * (w**2).sum() for w in network.weights)
    expected = network.loss(scaling.features(X), target) + penalty
    assert model.set_params(max_iter=1).fit(X, y).loss_curve_[-1] == pytest.approx(expected, rel=1e-12)
    assert model.best_loss_ == min(model.loss_curve_)


def test_the_penalty_of_several_steps_is_a_mean(cls: type[Any]) -> None:
    """The mean is that of the penalty before the first step and the penalty after the last."""
    X, y = data(cls)
    model = cls(l1=0.01, l2=0.1, batch_size=50, random_state=0).partial_fit(X, y)
    losses = []
    for penalties in ([0.0, 0.0], [10.0, 20.0]):
        twin = copy.deepcopy(model)
        twin._trainer.penalty = iter(penalties).__next__
        losses.append(twin._trainer.epoch(X, twin._encode(y, None, X.dtype, first=False), None, 50, shuffle=True))
    assert losses[1] == pytest.approx(losses[0] + 15.0)


def test_zero_and_one_are_flags_for_verbose(cls: type[Any], capsys: pytest.CaptureFixture[str]) -> None:
    X, y = data(cls)
    for verbose in (0, 1, np.bool_(True)):
        cls(verbose=verbose, max_iter=1, tol=None).fit(X, y)
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_max_iter_warns(cls: type[Any]) -> None:
    X, y = data(cls)
    with pytest.warns(ConvergenceWarning, match=f"{cls.__name__}: max_iter=2 epochs"):
        cls(max_iter=2).fit(X, y)
    with pytest.warns(ConvergenceWarning, match="max_iter=1 epochs") as caught:
        cls(max_iter=1).fit(X, y)
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cls(max_iter=2, tol=None).fit(X, y)
        cls().partial_fit(X, y)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # so soon a network is worse than a constant prediction
        stopped = cls(tol=10.0, n_iter_no_change=3, learning_rate=0.01).fit(X, y)
        reduced = cls(tol=10.0, n_iter_no_change=3).fit(X, y)
    assert stopped.n_iter_ == 4  # the first is an improvement on nothing
    assert reduced.n_iter_ == 4 + 2 + 1  # a default rate falls twice before, and waits half as long each time


@pytest.mark.parametrize("batch_size", ["auto", 32])
def test_early_stopping_keeps_the_best(cls: type[Any], batch_size: Any) -> None:
    X, y = data(cls)
    model = cls(
        early_stopping=True, batch_size=batch_size, max_iter=500, n_iter_no_change=4, random_state=0, learning_rate=0.03, tol=1e-3
    ).fit(X, y, np.linspace(0.5, 1.5, len(y)))
    assert model.n_iter_ == len(model.validation_scores_) < 500
    assert model.best_validation_score_ == max(model.validation_scores_)
    assert model.best_loss_ is None
    assert model.score(X, y) > 0.5
    with pytest.raises(ValueError, match="early_stopping: got True, expected False"):
        model.partial_fit(X, y)


def test_early_stopping_scores_the_rows_held_out() -> None:
    X, y = data(LinearClassifier)
    model = LinearClassifier(early_stopping=True, random_state=0, max_iter=30, tol=None, validation_fraction=0.3)
    seen = []
    model._validate = lambda X, y, weight, network: seen.append((X, y)) or 0.5  # type: ignore[method-assign]
    model.fit(X, y)
    assert len(seen) == 30
    assert seen[0][0].shape == (90, 8)
    assert np.bincount(seen[0][1]).tolist() == pytest.approx((0.3 * np.bincount(y)).tolist(), abs=1)


def test_a_plateau_of_scores_needs_scores(cls: type[Any]) -> None:
    X, y = data(cls)
    plateau = fastopt.schedules.ReduceOnPlateau(0.01, mode="max", patience=1)
    with pytest.raises(ValueError, match='mode "max", which needs early_stopping=True'):
        cls(learning_rate=plateau).fit(X, y)
    model = cls(learning_rate=plateau, early_stopping=True, max_iter=40, tol=None, random_state=0).fit(X, y)
    assert model._trainer.lr.best == model.best_validation_score_
    assert plateau.best is None


def test_a_schedule_counts_steps(cls: type[Any]) -> None:
    X, y = data(cls)
    asked: list[int] = []

    def schedule(step: int) -> float:
        asked.append(step)
        return 1e-3

    model = cls(learning_rate=schedule, batch_size=100, max_iter=4, tol=None).fit(X, y)
    assert model.t_ == 12
    assert sorted(set(asked)) == list(range(12))


def test_averages_predict(cls: type[Any]) -> None:
    X, y = data(cls)
    settings = {"batch_size": 50, "max_iter": 3, "tol": None, "random_state": 0, "learning_rate": 0.02}
    averaged, last = cls(ema_decay=0.5, **settings).fit(X, y), cls(**settings).fit(X, y)
    for a, b in zip(averaged._trainer.network.flat.views.values(), last._trainer.network.flat.views.values(), strict=True):
        np.testing.assert_array_equal(a, b)  # what is trained is the same
    emas = averaged._trainer.optimizer.ema_params
    np.testing.assert_array_equal(averaged._trainer.published.weights[0], averaged._trainer.folded()[0])
    np.testing.assert_allclose(averaged._trainer.sources()[-1][0][0], emas[0])
    assert (arrays(averaged)[0] != arrays(last)[0]).any()
    assert_same(cls(ema_decay=0.0, **settings).fit(X, y), last)


def test_batches_cover_the_rows(cls: type[Any]) -> None:
    X, y = data(cls, 103)
    model = cls(batch_size=10, max_iter=2, tol=None).fit(X, y)
    assert model.t_ == 2 * 11
    assert cls(batch_size=1000, max_iter=2, tol=None).fit(X, y).t_ == 2
    in_order = cls(batch_size=10, max_iter=3, tol=None, shuffle=False, random_state=0)
    assert_same(in_order.fit(X, y), clone(in_order).fit(X, y))


def test_diverging_is_an_error(cls: type[Any]) -> None:
    X, y = data(cls)
    with pytest.raises(ValueError, match=r"epoch \d+ left numbers that are not finite; try a lower learning_rate"):
        cls(optimizer="sgd", learning_rate=1e30, max_iter=50, l2=1.0).fit(1e3 * X, y)


def test_verbose_prints_a_line_an_epoch(cls: type[Any], capsys: pytest.CaptureFixture[str]) -> None:
    X, y = data(cls)
    cls(verbose=True, max_iter=3, tol=None, early_stopping=True).fit(X, y)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(",")[0] for line in lines] == ["Epoch 1", "Epoch 2", "Epoch 3"]
    assert all("validation score" in line for line in lines)


def test_not_fitted(cls: type[Any]) -> None:
    with pytest.raises(NotFittedError):
        cls().predict([[1.0]])


def test_classes_of_partial_fit() -> None:
    X, y = data(LinearClassifier)
    for cls in (LinearClassifier, MLPClassifier):
        model = cls(random_state=0).partial_fit(X[y < 2], y[y < 2], classes=[0, 1, 2])
        model.partial_fit(X, y).partial_fit(X[:1], y[:1])
        np.testing.assert_array_equal(model.classes_, [0, 1, 2])
        with pytest.raises(ValueError, match="y: got the class 7, expected one of the classes"):
            model.partial_fit(X[:2], [0, 7])
        with pytest.raises(ValueError, match="classes: got"):
            model.partial_fit(X, y, classes=[0, 1])


def test_several_labels() -> None:
    X, y = make_multilabel_classification(500, 20, n_classes=4, random_state=0)
    model = MLPClassifier(random_state=0, learning_rate=0.01, max_iter=60, tol=None).fit(X, y)
    assert model.predict(X).shape == model.predict_proba(X).shape == y.shape
    assert (model.predict(X) == y).mean() > 0.9
    np.testing.assert_array_equal(model.predict_proba(X) > 0.5, model.predict(X) == 1)
    assert (model.n_layers_, model.n_outputs_, model.out_activation_) == (3, 4, "logistic")
    with pytest.raises(ValueError, match="class_weight: got 'balanced', expected None where"):
        MLPClassifier(class_weight="balanced").fit(X, y)
    with pytest.raises(ValueError, match=r"y: got shape \(500, 4\)"):
        LinearClassifier().fit(X, y)


def test_several_outputs() -> None:
    X, y = make_regression(400, 6, n_targets=2, random_state=0)
    y = 100 + y / y.std()
    model = MLPRegressor(random_state=0, learning_rate=0.01, max_iter=100, tol=None).fit(X, y)
    assert model.predict(X).shape == (400, 2)
    assert model.score(X, y) > 0.99
    assert (model.n_layers_, model.n_outputs_, model.out_activation_) == (3, 2, "identity")


def test_digits_are_told_apart() -> None:
    X, y = load_digits(return_X_y=True)
    X = (X / 16).astype(np.float32)
    train, test = slice(0, 1300), slice(1300, None)
    for model, least in (
        (LinearClassifier(), 0.90),
        (LinearClassifier("hinge"), 0.89),
        (MLPClassifier(learning_rate=3e-3, tol=1e-3), 0.92),
    ):
        assert model.set_params(random_state=0).fit(X[train], y[train]).score(X[test], y[test]) >= least
