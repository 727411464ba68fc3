"""scikit-learn's own checks of the estimators: all of them for each class, and for every rule those whose answer it may change."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.estimator_checks import estimator_checks_generator

import fastopt
from fastopt.rules import RULES
from fastopt.sklearn import LinearClassifier, LinearRegressor, MLPClassifier, MLPRegressor

ALL = (LinearClassifier, LinearRegressor, MLPClassifier, MLPRegressor)

WHOLE = [cls() for cls in ALL]
"""All checks: each class with its defaults."""

RULED = [LinearClassifier(optimizer=rule) for rule in RULES if rule != "Adam"]
"""Every rule with one class (Adam is its default): all but those of REPEATED."""

REPEATED = {"check_estimator_sparse_array", "check_estimator_sparse_matrix"}
"""Every format of sparse matrices, which become rows of one format before a rule sees any."""

RATES: dict[tuple[str, str], Any] = {
    ("LinearRegressor", "RMSprop"): fastopt.schedules.exponential(0.1, 0.5, 20),
    ("LinearRegressor", "Adadelta"): fastopt.schedules.exponential(1.0, 0.5, 100),
}
"""Rates under which rounding stays small for two rules that would make it large: the checks compare to 1e-7."""

CONFIGURED = [
    LinearClassifier("hinge"),
    LinearClassifier("modified_huber", optimizer=fastopt.Adamax),
    LinearClassifier(optimizer=functools.partial(fastopt.SGD, momentum=0.9), max_norm=1.0),
    LinearClassifier(standardize=False),
    LinearRegressor("huber", optimizer="adamax"),
    LinearRegressor("epsilon_insensitive"),
    LinearRegressor(standardize=False),
    MLPClassifier((20,), "tanh", optimizer="adamw", l2=1e-2),
    MLPRegressor((20,), "logistic", optimizer="radam", learning_rate=fastopt.schedules.exponential(1e-2, 0.9, 100)),
    MLPClassifier(()),
    MLPRegressor(()),
    *(cls(ema_decay=0.99) for cls in ALL),
    *(cls(optimizer=rule, learning_rate=RATES.get((cls.__name__, rule))) for cls in ALL[1:] for rule in RULES if rule != "Adam"),
]
"""The checks of TRAINING in float64.  Read-only memory and float32 are tested with the default rule."""

TRAINING = {
    "check_classifiers_classes",
    "check_classifiers_one_label_sample_weights",
    "check_classifiers_train",
    "check_estimators_pickle",
    "check_fit2d_1sample",
    "check_fit_idempotent",
    "check_methods_sample_order_invariance",
    "check_regressors_int",
    "check_regressors_train",
    "check_sample_weight_equivalence_on_dense_data",
    "check_sample_weight_equivalence_on_sparse_data",
}
"""Other checks ask how arguments, tags, names, dtypes, shapes and errors are handled, which no rule and no loss takes part in."""


def checks() -> Iterator[Any]:
    for estimators, wanted in (
        (WHOLE, lambda name, given: True),
        (RULED, lambda name, given: name not in REPEATED and not given),
        (CONFIGURED, lambda name, given: name in TRAINING and not given),
    ):
        for estimator in estimators:
            for model, check in estimator_checks_generator(estimator):
                function, given = getattr(check, "func", check), getattr(check, "keywords", {})
                given = {name: value for name, value in given.items() if name != "name"}
                if wanted(function.__name__, given):
                    arguments = ",".join(f"{name}={value}" for name, value in given.items())
                    yield pytest.param(model, check, id=f"{estimator!r}-{function.__name__}({arguments})".replace("\n", ""))


@pytest.mark.parametrize(("estimator", "check"), list(checks()))
def test_check(estimator: Any, check: Callable[[Any], None]) -> None:
    with warnings.catch_warnings():
        # Some checks give max_iter=1 or data without a pattern: a training that is not over is what they ask for.
        warnings.simplefilter("ignore", ConvergenceWarning)
        check(estimator)


def test_every_check_of_training_is_run() -> None:
    """The names are scikit-learn's."""
    names = {getattr(check, "func", check).__name__ for cls in ALL for _, check in estimator_checks_generator(cls())}
    assert names >= TRAINING
