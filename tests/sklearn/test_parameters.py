"""The estimators' parameters: every rule by name, class and partial; what does not fit is refused; searches tune them."""

from __future__ import annotations

import functools
import re
from typing import Any

import numpy as np
import pytest
import scipy.stats
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.datasets import load_diabetes, load_iris, make_classification
from sklearn.ensemble import BaggingClassifier
from sklearn.model_selection import GridSearchCV, RandomizedSearchCV, cross_val_score
from sklearn.multioutput import MultiOutputClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import fastopt
from fastopt.rules import RULES
from fastopt.sklearn import LinearClassifier, LinearRegressor, MLPClassifier, MLPRegressor

ALL = (LinearClassifier, LinearRegressor, MLPClassifier, MLPRegressor)
X, Y = make_classification(120, 6, n_informative=4, n_classes=3, random_state=0)


@pytest.mark.parametrize("cls", ALL)
@pytest.mark.parametrize("rule", RULES)
def test_every_rule_trains(cls: type[Any], rule: str) -> None:
    """Trains the same model with a rule's name in any case, its class and a configured class."""
    chosen = getattr(fastopt, rule)
    settings: dict[str, Any] = {"random_state": 0, "max_iter": 30, "tol": None, "batch_size": 30}
    models = [
        cls(optimizer=optimizer, **settings).fit(X, Y) for optimizer in (rule, rule.lower(), chosen, functools.partial(chosen))
    ]
    assert type(models[0]._trainer.optimizer) is chosen
    assert models[0].loss_curve_[-1] < models[0].loss_curve_[0]
    for model in models[1:]:
        assert model.loss_curve_ == models[0].loss_curve_


def test_the_trajectory_is_the_optimizers() -> None:
    """A loop by hand over the same batches, with the hyperparameters that were named."""
    model = LinearRegressor(
        optimizer="NAdam", beta1=0.8, eps=1e-6, learning_rate=0.02, l1=0.01, l2=0.1, max_norm=0.5, clip_value=0.3,
        batch_size=40, shuffle=False, max_iter=3, tol=None, standardize=False,
    ).fit(X, Y)  # fmt: skip
    w, b = np.zeros(6), np.full(1, Y.mean())
    opt = fastopt.NAdam(
        [{"params": [w], "weight_decay": 0.1, "l1": 0.01}, {"params": [b]}],
        lr=0.02, betas=(0.8, 0.999), eps=1e-6, max_norm=0.5, clip_value=0.3,
    )  # fmt: skip
    for _ in range(3):
        for begin in range(0, 120, 40):
            rows, y = X[begin : begin + 40], Y[begin : begin + 40]
            residual = rows @ w + b - y
            opt.step([rows.T @ residual / 40, residual.mean(keepdims=True)])
    np.testing.assert_allclose(model.coef_, w, rtol=1e-9)
    np.testing.assert_allclose(model.intercept_, b, rtol=1e-9)


def derivative(loss: str, raw: np.ndarray, y: np.ndarray, epsilon: float) -> np.ndarray:
    """The derivative by the raw output of each row; `y` is -1 or 1 for a margin, 0 or 1 for "log_loss"."""
    margin, residual = raw * y, raw - y
    return {
        "log_loss": 1 / (1 + np.exp(-raw)) - y,
        "hinge": np.where(margin < 1, -y, 0),
        "squared_hinge": np.where(margin < 1, -2 * y * (1 - margin), 0),
        "modified_huber": np.where(margin < -1, -4 * y, np.where(margin < 1, -2 * y * (1 - margin), 0)),
        "squared_error": residual,
        "huber": np.where(np.abs(residual) <= epsilon, residual, epsilon * np.sign(residual)),
        "epsilon_insensitive": np.where(np.abs(residual) > epsilon, np.sign(residual), 0),
    }[loss]


LOSSES = ("log_loss", "hinge", "squared_hinge", "modified_huber", "squared_error", "huber", "epsilon_insensitive")


@pytest.mark.parametrize("seed", range(60))
def test_random_settings_have_the_trajectory_of_a_loop_by_hand(seed: int) -> None:
    rng = np.random.default_rng(seed)
    loss, rule = str(rng.choice(LOSSES)), str(rng.choice(list(RULES)))
    rows, columns, batch = int(rng.integers(2, 90)), int(rng.integers(1, 9)), int(rng.integers(1, 100))
    X, weight = rng.standard_normal((rows, columns)), rng.random(rows) + 0.01
    l1, l2, lr, clip, epsilon = 0.1 * rng.random(5)
    stages: dict[str, Any] = {"max_norm": 0.5 + rng.random(), "clip_value": 0.5 + clip}
    given: dict[str, Any] = {"optimizer": rule, "learning_rate": lr, "l1": l1, "l2": l2, "batch_size": batch, "shuffle": False}
    given |= {"max_iter": 3, "tol": None, "standardize": False, **stages}
    regression = loss in LOSSES[4:]
    model: Any
    if regression:
        y = rng.standard_normal(rows)
        target = y
        model = LinearRegressor(loss, epsilon=epsilon, **given)
    else:
        y = rng.permutation(np.arange(rows) % 2)
        target = y if loss == "log_loss" else 2 * y - 1
        model = LinearClassifier(loss, **given)
    model.fit(X, y, weight)

    w, b = np.zeros(columns), np.zeros(1)
    if regression:
        b += weight @ y / weight.sum()
    groups = [{"params": [w], "weight_decay": l2, "l1": l1}, {"params": [b], "weight_decay": 0.0}]
    opt = getattr(fastopt, rule)(groups, lr=lr, **stages)
    scaled = weight / weight.mean()
    for _ in range(3):
        for part in np.array_split(np.arange(rows), -(-rows // batch)):
            delta = scaled[part] * derivative(loss, X[part] @ w + b, target[part], epsilon) / len(X[part])
            opt.step([X[part].T @ delta, delta.sum(keepdims=True)])
    np.testing.assert_allclose(model.coef_.ravel(), w, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(model.intercept_, b, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(
    ("given", "group"),
    [
        ({"optimizer": "sgd", "momentum": 0.9, "nesterov": True}, {"momentum": 0.9, "nesterov": True}),
        ({"optimizer": "rmsprop", "rho": 0.8, "centered": np.True_, "momentum": np.float32(0.5)}, {"alpha": 0.8, "centered": True, "momentum": 0.5}),
        ({"optimizer": "adadelta", "rho": 0.8}, {"rho": 0.8}),
        ({"optimizer": "adam", "beta2": np.float64(0.9), "amsgrad": True}, {"betas": (0.9, 0.9), "amsgrad": True}),
        ({"optimizer": np.str_("lion"), "beta1": 0.5}, {"betas": (0.5, 0.99)}),
        ({"optimizer": functools.partial(fastopt.Adam, betas=(0.8, 0.99)), "beta1": 0.7}, {"betas": (0.7, 0.99)}),
        ({"optimizer": functools.partial(functools.partial(fastopt.SGD, lr=0.5), momentum=0.25)}, {"lr": 0.5, "momentum": 0.25}),
        ({"optimizer": "adamw", "l2": 0.3, "learning_rate": 0.01}, {"weight_decay": 0.3, "decoupled_weight_decay": True}),
        ({"learning_rate": np.int64(1)}, {"lr": 1.0}),
    ],
)  # fmt: skip
@pytest.mark.parametrize("cls", ALL)
def test_hyperparameters_reach_the_rule(cls: type[Any], given: dict[str, Any], group: dict[str, Any]) -> None:
    model = cls(max_iter=1, tol=None, **given).fit(X, Y)
    found = model._trainer.optimizer.groups[0]
    assert {name: found[name] for name in group} == group


@pytest.mark.parametrize("cls", ALL)
@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ({"optimizer": "adamm"}, ValueError, "optimizer: got 'adamm', expected one of 'sgd'"),
        ({"optimizer": 3}, TypeError, "optimizer: got 3, expected a rule's name"),
        ({"optimizer": fastopt.Optimizer}, TypeError, "optimizer: got <class"),
        ({"optimizer": fastopt.Adam(np.zeros(1))}, TypeError, "optimizer: got Adam"),
        ({"optimizer": functools.partial(print)}, TypeError, "optimizer: got <built-in"),
        ({"optimizer": functools.partial(fastopt.Adam, [1])}, ValueError, "by name alone"),
        ({"optimizer": functools.partial(fastopt.Adam, momentun=1)}, ValueError, "optimizer: got Adam with momentun"),
        (
            {"optimizer": functools.partial(fastopt.Adam, weight_decay=1)},
            ValueError,
            "expected the parameter l2 of the estimator",
        ),
        ({"optimizer": functools.partial(fastopt.Adam, l1=1)}, ValueError, "expected the parameter l1 of the estimator"),
        ({"optimizer": functools.partial(fastopt.Adam, maximize=True)}, ValueError, "maximize=True"),
        ({"optimizer": functools.partial(fastopt.SGD, momentum=0.5), "momentum": 0.9}, ValueError, "already has momentum=0.5"),
        ({"optimizer": functools.partial(fastopt.SGD, lr=0.5), "learning_rate": 0.9}, ValueError, "already has lr=0.5"),
        ({"momentum": 0.9}, ValueError, "momentum: got 0.9, expected None, since Adam has no momentum"),
        ({"rho": 0.9}, ValueError, "rho: got 0.9, expected None, since Adam has no rho"),
        ({"optimizer": "sgd", "beta1": 0.9}, ValueError, "beta1: got 0.9, expected None, since SGD has no betas"),
        ({"optimizer": "sgd", "momentum": -1}, ValueError, "momentum: got -1"),
        ({"optimizer": "sgd", "nesterov": True}, ValueError, "SGD: "),
        ({"beta1": 1.0}, ValueError, "beta1: got 1.0"),
        ({"eps": "x"}, TypeError, "eps: got str 'x'"),
        ({"max_norm": 0}, ValueError, "max_norm: got 0"),
        ({"ema_decay": 1}, ValueError, "ema_decay: got 1"),
        ({"learning_rate": -1}, ValueError, "learning_rate: got -1"),
        ({"learning_rate": "constant"}, TypeError, "learning_rate: got str 'constant'"),
        ({"learning_rate": lambda step: -1.0}, ValueError, "lr: got -1.0"),
        ({"l1": -1}, ValueError, "l1: got -1"),
        ({"l2": None}, TypeError, "l2: got NoneType"),
        ({"batch_size": 0}, ValueError, "batch_size: got 0, expected 'auto' or a whole number from 1"),
        ({"batch_size": "all"}, TypeError, "batch_size: got 'all'"),
        ({"batch_size": 1.5}, TypeError, "batch_size: got 1.5"),
        ({"max_iter": 0}, ValueError, "max_iter: got 0"),
        ({"max_iter": True}, TypeError, "max_iter: got True"),
        ({"tol": -1}, ValueError, "tol: got -1"),
        ({"n_iter_no_change": 0}, ValueError, "n_iter_no_change: got 0"),
        ({"validation_fraction": 1}, ValueError, "validation_fraction: got 1"),
        ({"standardize": 1}, TypeError, "standardize: got 1, expected True or False"),
        ({"shuffle": 1}, TypeError, "shuffle: got 1, expected True or False"),
        ({"early_stopping": "yes"}, TypeError, "early_stopping: got 'yes'"),
        ({"warm_start": None}, TypeError, "warm_start: got None"),
        ({"verbose": 2}, TypeError, "verbose: got 2"),
        ({"verbose": None}, TypeError, "verbose: got None"),
        ({"verbose": "yes"}, TypeError, "verbose: got 'yes'"),
        (
            {"optimizer": functools.partial(fastopt.Adam, betas=0.9), "beta1": 0.5},
            TypeError,
            "optimizer: got Adam with betas=0.9",
        ),
        ({"optimizer": functools.partial(fastopt.Adam, betas=(0.9,)), "beta2": 0.5}, TypeError, "expected a pair of numbers"),
        ({"optimizer": functools.partial(fastopt.Adam, state_dtype="int3")}, ValueError, "optimizer: state_dtype: got 'int3'"),
    ],
)
def test_wrong_parameters(cls: type[Any], given: dict[str, Any], error: type[Exception], words: str) -> None:
    model = cls(**given)  # as scikit-learn asks, what is wrong shows in fit
    with pytest.raises(error, match=re.escape(words)):
        model.fit(X, Y)
    assert not [name for name in vars(model) if name.endswith("_")]


@pytest.mark.parametrize(
    ("model", "error", "words"),
    [
        (LinearClassifier("log"), ValueError, "loss: got 'log', expected one of 'log_loss'"),
        (LinearClassifier(None), TypeError, "loss: got None"),
        (LinearRegressor("hinge"), ValueError, "loss: got 'hinge', expected one of 'squared_error'"),
        (LinearRegressor(epsilon=-1), ValueError, "epsilon: got -1"),
        (LinearClassifier(fit_intercept=0), TypeError, "fit_intercept: got 0"),
        (MLPClassifier(activation="swish"), ValueError, "activation: got 'swish'"),
        (MLPClassifier((10, 0)), ValueError, "hidden_layer_sizes: got 0"),
        (MLPRegressor("100"), TypeError, "hidden_layer_sizes: got '100'"),
        (LinearClassifier(class_weight="equal"), ValueError, "class_weight: got 'equal'"),
        (LinearClassifier(class_weight=[1, 2, 3]), TypeError, "class_weight: got [1, 2, 3]"),
        (LinearClassifier(class_weight={9: 1}), ValueError, "class_weight: got the key 9, expected one of the classes [0, 1, 2]"),
        (MLPClassifier(class_weight={0: -1}), ValueError, "class_weight[0]: got -1"),
    ],
)
def test_wrong_parameters_of_a_class(model: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=re.escape(words)):
        model.fit(X, Y)


@pytest.mark.parametrize("cls", ALL)
@pytest.mark.parametrize(
    ("weight", "words"),
    [
        (np.ones(119), "sample_weight: got shape (119,), expected (120,)"),
        (np.ones((120, 1)), "sample_weight: got shape (120, 1)"),
        (-np.ones(120), "sample_weight: got negative weights"),
        (np.zeros(120), "sample_weight: got zero for every weight"),
        (np.full(120, np.nan), "sample_weight contains NaN"),
    ],
)
def test_wrong_weights(cls: type[Any], weight: np.ndarray, words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        cls().fit(X, Y, weight)


def test_balanced_weights_need_all_rows() -> None:
    with pytest.raises(ValueError, match="class_weight: got 'balanced', expected a dict or None, since partial_fit"):
        LinearClassifier(class_weight="balanced").partial_fit(X, Y)
    with pytest.raises(ValueError, match="y: got 1 class, expected at least two"):
        MLPClassifier().fit(X, np.zeros(120))


@pytest.mark.parametrize("cls", ALL)
def test_clones_have_the_parameters(cls: type[Any]) -> None:
    partial = functools.partial(fastopt.Adam, betas=(0.5, 0.9))
    plateau = fastopt.schedules.ReduceOnPlateau(0.1)
    model = cls(optimizer=partial, learning_rate=plateau, l2=0.5)
    twin = clone(model)
    assert twin.get_params().keys() == model.get_params().keys()
    assert (twin.optimizer.func, twin.optimizer.keywords) == (partial.func, partial.keywords)
    assert repr(twin.learning_rate) == repr(plateau)
    schedule = fastopt.schedules.cosine(0.1, steps=10)
    assert clone(model.set_params(learning_rate=schedule, optimizer="sgd")).get_params() == model.get_params()
    assert model.optimizer == "sgd"
    assert "cosine" in repr(model)


def test_grid_search() -> None:
    grid = {
        "optimizer": ["sgd", "adam", fastopt.Adagrad, functools.partial(fastopt.RMSprop, centered=True)],
        "learning_rate": [1e-3, 0.1, fastopt.schedules.exponential(0.1, 0.9, 50)],
        "l2": [0.0, 1e-2],
    }
    search = GridSearchCV(LinearClassifier(max_iter=60, tol=None, random_state=0), grid, cv=3, error_score="raise")
    search.fit(*load_iris(return_X_y=True))
    assert search.best_score_ > 0.95
    assert len(search.cv_results_["params"]) == 24


def test_randomized_search() -> None:
    distributions = {
        "mlpclassifier__learning_rate": scipy.stats.loguniform(1e-4, 1e-1),
        "mlpclassifier__momentum": scipy.stats.uniform(0.5, 0.49),
        "mlpclassifier__l2": scipy.stats.loguniform(1e-6, 1e-2),
        "mlpclassifier__batch_size": scipy.stats.randint(8, 64),
        "mlpclassifier__hidden_layer_sizes": [(8,), (16, 8)],
        "mlpclassifier__nesterov": [False, True],
    }
    model = make_pipeline(StandardScaler(), MLPClassifier(optimizer="sgd", max_iter=30, tol=None, random_state=0))
    search = RandomizedSearchCV(model, distributions, n_iter=8, cv=3, random_state=0, error_score="raise")
    search.fit(*load_iris(return_X_y=True))
    assert search.best_score_ > 0.9


def test_other_tools_of_scikit_learn() -> None:
    iris, kinds = load_iris(return_X_y=True)
    quick: dict[str, Any] = {"max_iter": 50, "tol": None, "random_state": 0}
    assert cross_val_score(make_pipeline(StandardScaler(), LinearClassifier(**quick)), iris, kinds).mean() > 0.9
    assert BaggingClassifier(LinearClassifier(**quick), 3, random_state=0).fit(iris, kinds).score(iris, kinds) > 0.9
    several = MultiOutputClassifier(LinearClassifier(**quick)).fit(iris, np.column_stack([kinds, kinds == 1]))
    assert several.predict(iris).shape == (150, 2)
    people, disease = load_diabetes(return_X_y=True)
    scaled = TransformedTargetRegressor(
        make_pipeline(StandardScaler(), MLPRegressor(**quick, learning_rate=0.01)), transformer=StandardScaler()
    )
    assert scaled.fit(people, disease).score(people, disease) > 0.4


def test_data_frames() -> None:
    pandas = pytest.importorskip("pandas")
    frame, kinds = load_iris(return_X_y=True, as_frame=True)
    names = kinds.map({0: "setosa", 1: "versicolor", 2: "virginica"}).astype(object)
    model = LinearClassifier(max_iter=50, tol=None).fit(frame, names, sample_weight=pandas.Series(np.ones(150)))
    assert list(model.feature_names_in_) == list(frame.columns)
    assert model.score(frame, names) > 0.9
    with pytest.raises(ValueError, match="feature names"):
        model.predict(frame.rename(columns={frame.columns[0]: "other"}))
