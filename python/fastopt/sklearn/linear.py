"""`LinearClassifier` and `LinearRegressor`: linear models with several losses, trained with any rule of fastopt."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.utils.metaestimators import available_if

from ..rules.checks import check_choice, check_flag, check_number
from .base import WHOLE_PATIENCE, Data, Estimator
from .classification import Classifier
from .described import described, set_parameters
from .losses import EpsilonInsensitive, Hinge, Huber, Logistic, Loss, ModifiedHuber, Softmax, SquaredError, SquaredHinge
from .network import Network
from .parameters import LINEAR_RATES, Settings, bounded, plain, rate_words, read_optimizer, read_settings
from .regression import Regressor
from .weighting import mean_squared_norm, means

__all__ = ["LinearClassifier", "LinearRegressor"]

Array = np.ndarray[Any, Any]

MARGIN_LOSSES: dict[str, Callable[[], Loss]] = {"hinge": Hinge, "squared_hinge": SquaredHinge, "modified_huber": ModifiedHuber}
CLASSIFIER_LOSSES = ("log_loss", *MARGIN_LOSSES)
REGRESSOR_LOSSES = ("squared_error", "huber", "epsilon_insensitive")

RATE = 1e-2
WHOLE_RATE = 0.2
"""The rate if all rows are one batch: without noise, larger steps reach the minimum sooner."""
WHOLE_ROWS, BATCHES, LEAST_BATCH, MOST_BATCH = 512, 50, 64, 1024
"""Smaller batches have more noise or need more epochs, and are slower."""
PATIENCE = 5

WORDS = {
    "patience": f"{PATIENCE}, or {WHOLE_PATIENCE} if all rows are one batch",
    "batch": f"all rows if at most {WHOLE_ROWS}, else a {BATCHES}th of them, from {LEAST_BATCH} to {MOST_BATCH:,}",
}
REGRESSION_RATES = {**LINEAR_RATES, "Lion": 1e-3}
"""With larger steps Lion's momentum carries it past the minimum for so long that the training stops there."""


class Linear(Estimator):
    """What both linear models share: one layer that begins at zero."""

    _rates = LINEAR_RATES
    _patience = PATIENCE
    loss: str
    fit_intercept: bool
    coef_: Array
    intercept_: Array

    def _batch(self, rows: int) -> int:
        return rows if rows <= WHOLE_ROWS else min(max(rows // BATCHES, LEAST_BATCH), MOST_BATCH)

    def _intercepts(self) -> bool:
        return bool(self.fit_intercept)

    def _settings(self, data: Data, before: float, *, whole: bool) -> tuple[Settings, float]:
        return read_settings(self, self._rates, WHOLE_RATE if whole else RATE), 0.0

    def _begin(self, network: Network, target: Array, weight: Array | None) -> None:
        network.flat.data[...] = 0

    def _raw(self, X: Any) -> Array:
        raw: Array = X @ np.atleast_2d(self.coef_).T
        raw += self.intercept_
        return raw


@described(
    **WORDS,
    rates=rate_words(LINEAR_RATES, RATE, WHOLE_RATE),
    unit="",
    targets="",
    strata=", the same share of each class",
)
class LinearClassifier(Classifier, Linear):
    """A linear classifier that minimises a loss with any rule over mini-batches, or over all rows of small data.

    Parameters
    ----------
    loss: "log_loss" (logistic regression; with more than two classes the softmax's cross-entropy), or a loss of the margin of each
        class against the rest: "hinge" (a linear SVM), "squared_hinge", "modified_huber"
    {parameters}
    fit_intercept: whether to train intercepts
    class_weight: {class: weight} (others have 1), "balanced" (the same sum for each class; not in partial_fit) or None;
        multiplies sample_weight

    Attributes
    ----------
    coef_: shape (1, features) with two classes, else (classes, features); intercept_: shape (1,) or (classes,); both live
    classes_: the classes in order
    {attributes}

    {notes}
    """

    def __init__(
        self,
        loss: str = "log_loss",
        *,
        optimizer: Any = "adam",
        learning_rate: Any = None,
        momentum: float | None = None,
        nesterov: bool | None = None,
        beta1: float | None = None,
        beta2: float | None = None,
        rho: float | None = None,
        eps: float | None = None,
        amsgrad: Any = None,
        centered: bool | None = None,
        l1: float = 0.0,
        l2: float = 1e-4,
        max_norm: float | None = None,
        clip_value: float | None = None,
        ema_decay: float | None = None,
        fit_intercept: bool = True,
        class_weight: Any = None,
        standardize: bool = True,
        batch_size: Any = "auto",
        max_iter: int = 1000,
        tol: float | None = 1e-3,
        n_iter_no_change: int | None = None,
        shuffle: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        warm_start: bool = False,
        random_state: Any = None,
        verbose: bool = False,
    ) -> None:
        set_parameters(self, locals())

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> LinearClassifier:
        """Trains for up to `max_iter` epochs: from zero or, with `warm_start`, from where the last call ended.

        `X`: shape (rows, features); `y`: a class for each row; `sample_weight`: a number from 0 for each row.
        """
        self._fit(X, y, sample_weight)
        return self

    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> LinearClassifier:
        """Trains for one epoch over these rows, from where the last call ended; the first takes `classes`, or those in `y`."""
        self._fit(X, y, sample_weight, incremental=True, classes=classes)
        return self

    def _check_parameters(self) -> None:
        check_choice(self.loss, "loss", CLASSIFIER_LOSSES)
        check_flag(self.fit_intercept, "fit_intercept")

    def _loss(self) -> Loss:
        if self.loss == "log_loss":
            return Logistic() if len(self.classes_) == 2 else Softmax()
        return MARGIN_LOSSES[self.loss]()

    def _network(self, columns: int, target: Array, dtype: np.dtype[Any], seed: Any) -> Network:
        return Network((columns, self._outputs()), output=self._loss(), dtype=dtype, seed=seed)

    def _arrays(self, network: Network) -> dict[str, Any]:
        return {"coef_": network.weights[0].T, "intercept_": network.biases[0]}

    def decision_function(self, X: Any) -> Array:
        """The score of each class, shape (rows, classes); for two classes the second's score, shape (rows,)."""
        raw = self._raw(self._checked(X))
        return raw[:, 0] if raw.shape[1] == 1 else raw

    def _has_probabilities(self) -> bool:
        if self.loss not in ("log_loss", "modified_huber"):
            raise AttributeError(
                f"predict_proba: there is none with loss={self.loss!r}, only with 'log_loss' and 'modified_huber'"
            )
        return True

    @available_if(_has_probabilities)  # type: ignore[untyped-decorator]  # scikit-learn has no types
    def predict_proba(self, X: Any) -> Array:
        """The probability of each class, shape (rows, classes); only with "log_loss" and "modified_huber".

        With "modified_huber" a row's probabilities are (clip(score, -1, 1) + 1) / 2, divided by their sum, or equal if all are 0
        (Zadrozny & Elkan, Transforming classifier scores into accurate multiclass probability estimates, KDD 2002).
        """
        if self.loss == "log_loss":
            return self._probabilities(X)
        raw = self._raw(self._checked(X))
        np.clip(raw, -1, 1, out=raw)
        raw += 1
        raw /= 2
        if raw.shape[1] == 1:
            return np.hstack([1 - raw, raw])
        raw[(raw == 0).all(axis=1)] = 1
        raw /= raw.sum(axis=1, keepdims=True)
        return raw

    @available_if(_has_probabilities)  # type: ignore[untyped-decorator]  # scikit-learn has no types
    def predict_log_proba(self, X: Any) -> Array:
        """The logarithms of `predict_proba`.  With "log_loss" all are finite; with "modified_huber" the logarithm of 0 is -inf."""
        if self.loss == "log_loss":
            return self._log_probabilities(X)
        with np.errstate(divide="ignore"):
            logarithms: Array = np.log(self.predict_proba(X))
        return logarithms


@described(
    **WORDS,
    rates=f"{rate_words(REGRESSION_RATES, RATE, WHOLE_RATE)}.\n    SGD's is at most 1 / (1 + the mean squared norm of the scaled rows)",
    unit=" times the loss of the means of y",
    targets=", and y\n    likewise, each output by itself",
    strata="",
)
class LinearRegressor(Regressor, Linear):
    """A linear regression that minimises a loss with any rule over mini-batches, or over all rows of small data.

    Parameters
    ----------
    loss: a function of the residual, summed over the outputs: "squared_error" (residual**2 / 2), "huber" (the same up to epsilon,
        then epsilon*|residual| - epsilon**2 / 2, which is linear), "epsilon_insensitive" (max(0, |residual| - epsilon))
    epsilon: the bound in "huber" and "epsilon_insensitive"
    {parameters}
    fit_intercept: whether to train intercepts, which begin at the means of y

    Attributes
    ----------
    coef_: shape (features,), or (outputs, features) if y has columns; intercept_: shape (1,) or (outputs,); both live
    {attributes}

    {notes}
    """

    epsilon: float
    _rates = REGRESSION_RATES

    def __init__(
        self,
        loss: str = "squared_error",
        *,
        epsilon: float = 0.1,
        optimizer: Any = "adam",
        learning_rate: Any = None,
        momentum: float | None = None,
        nesterov: bool | None = None,
        beta1: float | None = None,
        beta2: float | None = None,
        rho: float | None = None,
        eps: float | None = None,
        amsgrad: Any = None,
        centered: bool | None = None,
        l1: float = 0.0,
        l2: float = 1e-4,
        max_norm: float | None = None,
        clip_value: float | None = None,
        ema_decay: float | None = None,
        fit_intercept: bool = True,
        standardize: bool = True,
        batch_size: Any = "auto",
        max_iter: int = 1000,
        tol: float | None = 1e-4,
        n_iter_no_change: int | None = None,
        shuffle: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        warm_start: bool = False,
        random_state: Any = None,
        verbose: bool = False,
    ) -> None:
        set_parameters(self, locals())

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> LinearRegressor:
        """Trains for up to `max_iter` epochs: anew or, with `warm_start`, from where the last call ended.

        `X`: shape (rows, features); `y`: shape (rows,) or (rows, outputs); `sample_weight`: a number from 0 for each row.
        """
        self._fit(X, y, sample_weight)
        return self

    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> LinearRegressor:
        """Trains for one epoch over these rows, from where the last call ended."""
        self._fit(X, y, sample_weight, incremental=True)
        return self

    def _check_parameters(self) -> None:
        check_choice(self.loss, "loss", REGRESSOR_LOSSES)
        check_number(plain(self.epsilon), "epsilon", "[0, inf)")
        check_flag(self.fit_intercept, "fit_intercept")

    def _loss(self) -> Loss:
        epsilon = float(self.epsilon)
        return {"squared_error": SquaredError(), "huber": Huber(epsilon), "epsilon_insensitive": EpsilonInsensitive(epsilon)}[
            self.loss
        ]

    def _settings(self, data: Data, before: float, *, whole: bool) -> tuple[Settings, float]:
        settings, _ = super()._settings(data, before, whole=whole)
        if read_optimizer(self.optimizer)[0].rule.name != "SGD":  # only SGD's rate needs a pass over X
            return settings, 0.0
        curvature = max(before, 1 + mean_squared_norm(data.X, data.weight))
        return bounded(settings, curvature), curvature

    def _network(self, columns: int, target: Array, dtype: np.dtype[Any], seed: Any) -> Network:
        return Network((columns, target.shape[1]), output=self._loss(), dtype=dtype, seed=seed)

    def _begin(self, network: Network, target: Array, weight: Array | None) -> None:
        super()._begin(network, target, weight)
        if self.fit_intercept:
            network.biases[0][...] = means(target, weight)

    def _arrays(self, network: Network) -> dict[str, Any]:
        coefficients = network.weights[0].T
        return {"coef_": coefficients[0] if self._one_output else coefficients, "intercept_": network.biases[0]}

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
