"""Targets that are numbers: what `LinearRegressor` and `MLPRegressor` share."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.sparse import issparse
from sklearn.base import RegressorMixin
from sklearn.metrics import r2_score

from .base import Estimator
from .losses import Loss
from .network import Network
from .weighting import means

__all__ = ["Regressor"]

Array = np.ndarray[Any, Any]


class Regressor(RegressorMixin, Estimator):  # type: ignore[misc]  # scikit-learn has no types
    """An estimator with an output for each column of `y`; its biases begin at the targets' means."""

    def _dense(self, y: Any) -> Any:
        if issparse(y):
            raise TypeError(f"y: got a sparse {type(y).__name__}, expected an array of numbers, such as y.toarray()")
        return y

    def _encode(self, y: Array, classes: Any, dtype: np.dtype[Any], *, first: bool) -> Array:
        if first:
            self._one_output = y.ndim == 1
        elif self._one_output != (y.ndim == 1):
            raise ValueError(f"y: got shape {y.shape}, expected {1 if self._one_output else 2} dimensions as in the first call")
        with np.errstate(over="ignore"):
            target = np.ascontiguousarray(y.reshape(len(y), -1), dtype)
            largest = np.abs(target).max()
            if not np.isfinite(largest * largest * dtype.type(target.size)):
                raise ValueError(
                    f"y: got numbers up to {np.abs(y).max():.3g}, expected smaller ones: their squares overflow {dtype}"
                )
        return target

    def _weigh(self, y: Array, weight: Array | None, dtype: np.dtype[Any], *, incremental: bool) -> Array | None:
        return weight

    def _targets(self, target: Array) -> Array | None:
        return target

    def _constant_loss(self, loss: Loss, target: Array, weight: Array | None) -> float:
        """The loss of the targets' means."""
        raw = np.repeat(means(target, weight)[None].astype(target.dtype), len(target), axis=0)
        each = np.empty(len(target), target.dtype)
        return loss.mean_gradient(raw, target, weight, len(target), each)

    def _unit(self, constant: float) -> float:
        return constant or 1.0

    def _stratified(self, y: Array) -> Array | None:
        return None

    def _validate(self, X: Any, y: Array, weight: Array | None, network: Network) -> float:
        return float(r2_score(y, network.forward(X).reshape(y.shape), sample_weight=weight))

    def predict(self, X: Any) -> Array:
        """The predicted values: shape (rows,), or (rows, outputs) if `y` had columns."""
        raw = self._raw(self._checked(X))
        return raw[:, 0] if self._one_output else raw
