"""Numbers to predict: what `LinearRegressor` and `MLPRegressor` share."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.metrics import r2_score

from .base import Estimator
from .network import Network

__all__ = ["Regressor"]

Array = np.ndarray[Any, Any]


class Regressor(RegressorMixin, Estimator):  # type: ignore[misc]  # scikit-learn has no types
    """An estimator with an output for each column of `y`; its biases begin at the targets' means."""

    def _encode(self, y: Array, classes: Any, dtype: np.dtype[Any], *, first: bool) -> Array:
        if first:
            self._one_output = y.ndim == 1
        elif self._one_output != (y.ndim == 1):
            raise ValueError(f"y: got shape {y.shape}, expected {1 if self._one_output else 2} dimensions as in the first call")
        return np.ascontiguousarray(y.reshape(len(y), -1), dtype)

    def _weigh(self, y: Array, weight: Array | None, dtype: np.dtype[Any], *, incremental: bool) -> Array | None:
        return weight

    def _unit(self, target: Array, weight: Array | None) -> float:
        """The loss of the targets' means; 1 where that is 0."""
        raw = np.repeat(np.average(target, axis=0, weights=weight)[None].astype(target.dtype), len(target), axis=0)
        each = np.empty(len(target), target.dtype)
        return self._loss().mean_gradient(raw, target, weight, len(target), each) or 1.0

    def _stratified(self, y: Array) -> Array | None:
        return None

    def _validate(self, X: Any, y: Array, weight: Array | None, network: Network) -> float:
        return float(r2_score(y, network.forward(X).reshape(y.shape), sample_weight=weight))

    def predict(self, X: Any) -> Array:
        """The predicted values: shape (rows,), or (rows, outputs) where `y` had columns."""
        raw = self._raw(self._checked(X))
        return raw[:, 0] if self._one_output else raw
