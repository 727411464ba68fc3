"""`MLPClassifier` and `MLPRegressor`: multi-layer perceptrons, trained with any rule of fastopt."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from ..rules.checks import check_choice
from .base import WHOLE_PATIENCE, Data, Estimator
from .classification import Classifier
from .described import described, set_parameters
from .losses import Logistic, Loss, Softmax, SquaredError
from .network import ACTIVATIONS, Network
from .parameters import NETWORK_RATES, Settings, check_whole, rate_words, read_settings
from .regression import Regressor
from .weighting import means

__all__ = ["MLPClassifier", "MLPRegressor"]

Array = np.ndarray[Any, Any]

RATE = 3e-3
LINEAR_RATE = 1e-2
"""The rate without hidden layers."""
BATCHES, LEAST_BATCH, MOST_BATCH = 16, 64, 200
"""Fewer steps in an epoch of small data would take hundreds of epochs."""
PATIENCE = 10

WORDS = {
    "patience": f"{PATIENCE}, or {WHOLE_PATIENCE} if all rows are one batch",
    "batch": f"a {BATCHES}th of the rows, from {LEAST_BATCH} to {MOST_BATCH}",
}

REGRESSION_RATES = {**NETWORK_RATES, "SGD": 3e-3, "Lion": 1e-3}
"""SGD needs small steps, since a squared error's gradient grows with the error.  Lion needs large ones to reach the targets."""


class Perceptron(Estimator):
    """What both perceptrons share: hidden layers."""

    _rates = NETWORK_RATES
    _patience = PATIENCE
    hidden_layer_sizes: Any
    activation: str
    coefs_: list[Array]
    intercepts_: list[Array]

    def _check_parameters(self) -> None:
        check_choice(self.activation, "activation", ACTIVATIONS)
        self._hidden()

    def _hidden(self) -> list[int]:
        given = self.hidden_layer_sizes
        sizes = list(given) if isinstance(given, Iterable) and not isinstance(given, (str, bytes)) else [given]
        return [check_whole(size, "hidden_layer_sizes") for size in sizes]

    def _batch(self, rows: int) -> int:
        return min(max(rows // BATCHES, LEAST_BATCH), MOST_BATCH, rows)

    def _settings(self, data: Data, before: float, *, whole: bool) -> tuple[Settings, float]:
        return read_settings(self, self._rates, RATE if self._hidden() else LINEAR_RATE), 0.0

    def _layers(self, columns: int, outputs: int, loss: Loss, dtype: np.dtype[Any], seed: Any) -> Network:
        return Network((columns, *self._hidden(), outputs), activation=self.activation, output=loss, dtype=dtype, seed=seed)

    def _begin(self, network: Network, target: Array, weight: Array | None) -> None:
        pass

    def _arrays(self, network: Network) -> dict[str, Any]:
        return {"coefs_": network.weights.copy(), "intercepts_": network.biases.copy()}

    def _raw(self, X: Any) -> Array:
        return self._trainer.published.forward(X, self.coefs_, self.intercepts_)

    @property
    def n_layers_(self) -> int:
        """The number of layers, inputs and outputs included."""
        return len(self.coefs_) + 1

    @property
    def n_outputs_(self) -> int:
        """The number of outputs."""
        return len(self.intercepts_[-1])


@described(
    **WORDS,
    rates=f"{rate_words(NETWORK_RATES, RATE)}; without hidden layers {LINEAR_RATE:g} instead of {RATE:g}",
    unit="",
    targets="",
    strata=", the same share of each class",
)
class MLPClassifier(Classifier, Perceptron):
    """A multi-layer perceptron that minimises the cross-entropy with any rule over mini-batches.

    The output is the logistic function for two classes and the softmax for more.  If `y` is an indicator matrix of shape
    (rows, labels), each label has a logistic function.

    Parameters
    ----------
    hidden_layer_sizes: the number of units of each hidden layer: a tuple, or one number
    activation: the function of the hidden layers: "relu", "tanh", "logistic" or "identity"
    {parameters}
    class_weight: {class: weight} (others have 1), "balanced" (the same sum for each class; not in partial_fit) or None;
        multiplies sample_weight

    Attributes
    ----------
    coefs_: the weights of each layer, shape (inputs, outputs); intercepts_: its biases, shape (outputs,); both live
    classes_: the classes in order, or the numbers of the labels; n_layers_, n_outputs_, out_activation_
    {attributes}

    {notes}
    """

    def __init__(
        self,
        hidden_layer_sizes: Any = (100,),
        activation: str = "relu",
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
        l2: float = 3e-3,
        max_norm: float | None = None,
        clip_value: float | None = None,
        ema_decay: float | None = None,
        class_weight: Any = None,
        standardize: bool = True,
        batch_size: Any = "auto",
        max_iter: int = 400,
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

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> MLPClassifier:
        """Trains for up to `max_iter` epochs: anew or, with `warm_start`, from where the last call ended.

        `X`: shape (rows, features); `y`: a class for each row, or 0 and 1, shape (rows, labels); `sample_weight`: a number
        from 0 for each row.
        """
        self._fit(X, y, sample_weight)
        return self

    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> MLPClassifier:
        """Trains for one epoch over these rows, from where the last call ended; the first takes `classes`, or those in `y`."""
        self._fit(X, y, sample_weight, incremental=True, classes=classes)
        return self

    def _loss(self) -> Loss:
        return Logistic() if self._outputs() == 1 or self._multilabel else Softmax()

    def _network(self, columns: int, target: Array, dtype: np.dtype[Any], seed: Any) -> Network:
        return self._layers(columns, self._outputs(), self._loss(), dtype, seed)

    @property
    def out_activation_(self) -> str:
        """The function of the outputs: "softmax" or "logistic"."""
        return "softmax" if isinstance(self._loss(), Softmax) else "logistic"

    def predict_proba(self, X: Any) -> Array:
        """The probability of each class, shape (rows, classes), or of each label, shape (rows, labels)."""
        return self._probabilities(X)

    def predict_log_proba(self, X: Any) -> Array:
        """The logarithms of `predict_proba`, finite even for the smallest probabilities."""
        return self._log_probabilities(X)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


@described(
    **WORDS,
    rates=f"{rate_words(REGRESSION_RATES, RATE)}; without hidden layers {LINEAR_RATE:g} instead of {RATE:g}",
    unit=" times the loss of the means of y",
    targets=", and y\n    likewise, each output by itself",
    strata="",
)
class MLPRegressor(Regressor, Perceptron):
    """A multi-layer perceptron that minimises half the squared error with any rule over mini-batches.

    The error is summed over the outputs.  The last layer's biases begin at the means of `y`.

    Parameters
    ----------
    hidden_layer_sizes: the number of units of each hidden layer: a tuple, or one number
    activation: the function of the hidden layers: "relu", "tanh", "logistic" or "identity"
    {parameters}

    Attributes
    ----------
    coefs_: the weights of each layer, shape (inputs, outputs); intercepts_: its biases, shape (outputs,); both live
    n_layers_, n_outputs_, out_activation_
    {attributes}

    {notes}
    """

    _rates = REGRESSION_RATES

    def __init__(
        self,
        hidden_layer_sizes: Any = (100,),
        activation: str = "relu",
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
        l2: float = 1e-2,
        max_norm: float | None = None,
        clip_value: float | None = None,
        ema_decay: float | None = None,
        standardize: bool = True,
        batch_size: Any = "auto",
        max_iter: int = 400,
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

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> MLPRegressor:
        """Trains for up to `max_iter` epochs: anew or, with `warm_start`, from where the last call ended.

        `X`: shape (rows, features); `y`: shape (rows,) or (rows, outputs); `sample_weight`: a number from 0 for each row.
        """
        self._fit(X, y, sample_weight)
        return self

    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> MLPRegressor:
        """Trains for one epoch over these rows, from where the last call ended."""
        self._fit(X, y, sample_weight, incremental=True)
        return self

    def _loss(self) -> Loss:
        return SquaredError()

    def _network(self, columns: int, target: Array, dtype: np.dtype[Any], seed: Any) -> Network:
        return self._layers(columns, target.shape[1], self._loss(), dtype, seed)

    def _begin(self, network: Network, target: Array, weight: Array | None) -> None:
        network.biases[-1][...] = means(target, weight)

    @property
    def out_activation_(self) -> str:
        """The function of the outputs: "identity"."""
        return "identity"

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
