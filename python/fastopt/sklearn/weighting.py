"""Weights of rows, and weighted means and standard deviations of targets, over one call or several."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from sklearn.utils import check_array

__all__ = ["Spread", "checked_weight", "means", "normalised"]

Array = np.ndarray[Any, Any]


def checked_weight(sample_weight: Any, X: Any) -> Array | None:
    """Weights of the rows of `X`, in its dtype.  Raises ValueError if they are not."""
    if sample_weight is None:
        return None
    rows = X.shape[0]
    weight: Array = check_array(sample_weight, ensure_2d=False, dtype=X.dtype, order="C", input_name="sample_weight")
    if weight.ndim == 0:
        weight = np.full(rows, weight)
    if weight.shape != (rows,):
        raise ValueError(f"sample_weight: got shape {weight.shape}, expected ({rows},), a weight for each row of X")
    if (weight < 0).any():
        raise ValueError("sample_weight: got negative weights, expected numbers from 0")
    return weight


def normalised(weight: Array | None) -> Array | None:
    """Weights with mean 1, so that a batch's weighted sum over its number of rows is on average the weighted mean over all rows."""
    if weight is None:
        return None
    total = weight.sum(dtype=np.float64)
    if not total > 0:
        raise ValueError(f"sample_weight: got zero for every weight in {weight.dtype}, expected some above 0")
    wide = weight.astype(np.float64, copy=False)
    with np.errstate(over="ignore"):
        factor = len(weight) / total
    scaled: Array = wide * factor if np.isfinite(factor) else wide / total * len(weight)  # the product rounds once
    return scaled.astype(weight.dtype)


def means(target: Array, weight: Array | None) -> Array:
    """The mean of each column, shape (outputs,), in float64; equal targets have exactly their value as the mean."""
    if weight is not None and not weight.any():
        weight = None
    found: Array = np.average(target.astype(np.float64, copy=False), axis=0, weights=weight)
    return np.clip(found, target.min(axis=0), target.max(axis=0))


@dataclass(frozen=True)
class Spread:
    """The number, means and summed squared deviations of targets.  Those of further calls can be added.

    Chan, Golub & LeVeque, Updating formulae and a pairwise algorithm for computing sample variances, 1982.
    """

    total: float
    mean: Array
    squares: Array
    curvature: float = 1.0
    """The largest mean squared norm of a call's rows, with the intercept's 1: a bound on the squared error's curvature."""

    @classmethod
    def of(cls, target: Array, weight: Array | None, X: Any = None) -> Spread:
        mean = means(target, weight)
        total = len(target) if weight is None else float(weight.sum(dtype=np.float64))
        deviations = (target - mean) ** 2
        norms = np.zeros(1) if X is None else squared_norms(X)
        curvature = float(norms.mean() if weight is None or X is None or not total else weight @ norms / total)
        return cls(total, mean, deviations.sum(axis=0) if weight is None else weight @ deviations, 1 + curvature)

    def added(self, other: Spread) -> Spread:
        total = self.total + other.total
        curvature = max(self.curvature, other.curvature)
        if not other.total:
            return replace(self, curvature=curvature)
        between = other.mean - self.mean
        share = other.total / total
        squares = self.squares + other.squares + self.total * share * between**2
        return Spread(total, self.mean + share * between, squares, curvature)

    @property
    def scale(self) -> float:
        """The root of the columns' mean variance.  Equal targets have their size as the scale, zeros 1."""
        deviation = float(np.sqrt((self.squares / (self.total or 1.0)).mean()))
        return deviation or float(np.abs(self.mean).max()) or 1.0


def squared_norms(X: Any) -> Array:
    """The squared norm of each row, dense or sparse, in float64."""
    if isinstance(X, np.ndarray):
        norms: Array = np.einsum("ij,ij->i", X, X, dtype=np.float64)
        return norms
    return np.asarray(X.multiply(X).sum(axis=1), np.float64).reshape(-1)
