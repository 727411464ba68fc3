"""scikit-learn's own checks of the estimators, every one of them, in several configurations."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any

from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.estimator_checks import parametrize_with_checks

import fastopt
from fastopt.rules import RULES
from fastopt.sklearn import LinearClassifier, LinearRegressor, MLPClassifier, MLPRegressor

ESTIMATORS = [
    LinearClassifier(),
    LinearClassifier("hinge"),
    LinearClassifier("squared_hinge"),
    LinearClassifier("modified_huber", optimizer=fastopt.Adamax),
    LinearClassifier(optimizer="nadam", beta1=0.8),
    LinearClassifier(optimizer=functools.partial(fastopt.SGD, momentum=0.9), max_norm=1.0),
    LinearClassifier(ema_decay=0.9),
    LinearRegressor(),
    LinearRegressor("huber", optimizer="adamax"),
    LinearRegressor("epsilon_insensitive"),
    LinearRegressor(optimizer="sgd", momentum=0.9, nesterov=True),
    MLPClassifier(),
    MLPClassifier((20,), "tanh", optimizer="adamw", l2=1e-2),
    MLPRegressor(),
    MLPRegressor((20,), "logistic", optimizer="radam", learning_rate=fastopt.schedules.exponential(1e-2, 0.9, 100)),
    *(cls(ema_decay=0.99) for cls in (LinearClassifier, LinearRegressor, MLPClassifier, MLPRegressor)),
    MLPClassifier(()),
    MLPRegressor(()),
]

# Some checks have features of a deviation of 20, or compare bits that a rate which does not fall keeps apart.
RATES: dict[tuple[type[Any], str], Any] = {
    (LinearClassifier, "SGD"): 1e-2,
    (LinearClassifier, "Lion"): 1e-2,
    (LinearRegressor, "RMSprop"): fastopt.schedules.exponential(0.1, 0.5, 20),
    (LinearRegressor, "Adadelta"): 1.0,
}
ESTIMATORS += [
    cls(optimizer=rule, learning_rate=RATES.get((cls, rule)))
    for cls in (LinearClassifier, LinearRegressor, MLPClassifier, MLPRegressor)
    for rule in RULES
]


@parametrize_with_checks(ESTIMATORS)
def test_check(estimator: Any, check: Callable[[Any], None]) -> None:
    with warnings.catch_warnings():
        # Some checks give max_iter=1 or data without a pattern: a training that is not over is what they ask for.
        warnings.simplefilter("ignore", ConvergenceWarning)
        check(estimator)
