"""`Scaling`: centres and scales of features and targets, and weights moved between scaled data and the data as given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["Moments", "Scaling"]

Array = np.ndarray[Any, Any]
Arrays = list[Array]

ROWS = 1024
"""Rows of which squared deviations are computed at a time, so that they stay in the cache."""


@dataclass(frozen=True)
class Moments:
    """The weight, means and summed squared deviations of columns.  Those of further rows can be added.

    Chan, Golub & LeVeque, Updating formulae and a pairwise algorithm for computing sample variances, 1982.
    """

    total: float
    mean: Array
    squares: Array

    @classmethod
    def of(cls, rows: Any, weight: Array | None) -> Moments:
        """The moments of dense or sparse rows; weights of 0 alone count as none."""
        if weight is not None and not weight.any():
            return cls(0.0, np.zeros(rows.shape[1]), np.zeros(rows.shape[1]))
        total = float(rows.shape[0]) if weight is None else float(weight.sum(dtype=np.float64))
        with np.errstate(over="ignore", invalid="ignore"):
            if not isinstance(rows, np.ndarray):
                each = np.ones(rows.shape[0]) if weight is None else weight.astype(np.float64)
                mean = np.asarray(rows.T @ each, np.float64) / total
                return cls(total, mean, np.asarray(rows.multiply(rows).T @ each, np.float64) - total * mean**2)
            # Products in the dtype of the rows, summed in float64: a scale need not be exact, since any is folded back.
            weights = np.ones(rows.shape[0], rows.dtype) if weight is None else weight
            parts = [slice(begin, begin + ROWS) for begin in range(0, rows.shape[0], ROWS)]
            mean, squares, constant = np.zeros(rows.shape[1]), np.zeros(rows.shape[1]), np.ones(rows.shape[1], bool)
            for part in parts:
                mean += weights[part] @ rows[part]
            mean /= total
            for part in parts:
                deviations = rows[part] - mean.astype(rows.dtype)
                deviations *= deviations
                squares += weights[part] @ deviations
                if constant.any():
                    constant &= (rows[part] == rows[0]).all(axis=0)
        mean[constant], squares[constant] = rows[0, constant], 0.0  # their sum is rounded
        return cls(total, mean, squares)

    def added(self, other: Moments) -> Moments:
        if not other.total:
            return self
        if not self.total:
            return other
        total = self.total + other.total
        between, share = other.mean - self.mean, other.total / total
        return Moments(total, self.mean + share * between, self.squares + other.squares + self.total * share * between**2)

    def sizes(self, *, centred: bool) -> Array:
        """The standard deviations, or without centres the roots of the mean squares; 1 for columns without one."""
        with np.errstate(over="ignore", invalid="ignore"):
            variance = self.squares / (self.total or 1.0)
            size = np.sqrt(variance if centred else variance + self.mean**2)
            usable = (size > 1e-30) & (size < 1e30)  # float32 holds it and its inverse
        found: Array = np.where(usable, size, 1.0)
        return found


@dataclass(frozen=True)
class Scaling:
    """What is subtracted from features and targets, and what they are divided by.

    Any centres and scales give the same model after `fold`; those near the data's own let one learning rate suit every column.
    """

    centre: Array
    scale: Array
    target_centre: Array
    target_scale: Array
    plain: bool = False
    """Whether data are taken as they are."""

    @classmethod
    def none(cls, columns: int, outputs: int) -> Scaling:
        return cls(np.zeros(columns), np.ones(columns), np.zeros(outputs), np.ones(outputs), plain=True)

    def renewed(self, features: Moments, targets: Moments | None, *, centred: bool, intercept: bool) -> Scaling:
        """The scaling of these moments, with the old values of each column for which they still do.

        So that the same data, whose moments are rounded otherwise, are scaled with the same bits.
        """
        columns = renewed_columns(self.centre, self.scale, features, centred=centred, first=self.plain)
        outputs = (self.target_centre, self.target_scale)
        if targets is not None:
            outputs = renewed_columns(*outputs, targets, centred=intercept, first=self.plain)
        same = map(np.array_equal, (*columns, *outputs), (self.centre, self.scale, self.target_centre, self.target_scale))
        return self if not self.plain and all(same) else Scaling(*columns, *outputs)

    def features(self, X: Any) -> Any:
        """Scaled rows: a new array, or `X` itself if it is taken as it is."""
        if self.plain:
            return X
        if not isinstance(X, np.ndarray):
            return (X.multiply((1 / self.scale).astype(X.dtype)[None])).tocsr().astype(X.dtype, copy=False)
        scaled = X - self.centre.astype(X.dtype)
        scaled *= (1 / self.scale).astype(X.dtype)
        return scaled

    def targets(self, target: Array) -> Array:
        """Scaled targets.  Those of a classifier, whose scales are 1, stay as they are."""
        if self.plain or (not self.target_centre.any() and (self.target_scale == 1).all()):
            return target
        return ((target - self.target_centre) / self.target_scale).astype(target.dtype)

    def fold(self, weights: Arrays, biases: Arrays) -> tuple[Arrays, Arrays]:
        """Weights and biases for data as given, in float64, from those for scaled data."""
        weights, biases = [w.astype(np.float64) for w in weights], [b.astype(np.float64) for b in biases]
        weights[0] /= self.scale[:, None]
        biases[0] -= self.centre @ weights[0]
        weights[-1] *= self.target_scale
        biases[-1] = biases[-1] * self.target_scale + self.target_centre
        return weights, biases

    def unfold(self, weights: Arrays, biases: Arrays) -> tuple[Arrays, Arrays]:
        """Weights and biases for scaled data, in float64, from those for data as given."""
        weights, biases = [w.astype(np.float64) for w in weights], [b.astype(np.float64) for b in biases]
        weights[-1] /= self.target_scale
        biases[-1] = (biases[-1] - self.target_centre) / self.target_scale
        biases[0] += self.centre @ weights[0]
        weights[0] *= self.scale[:, None]
        return weights, biases


def renewed_columns(centre: Array, scale: Array, moments: Moments, *, centred: bool, first: bool) -> tuple[Array, Array]:
    """Centres and scales of these moments; the old ones where the deviation is within a factor of 2, and the mean within half of it."""
    size, mean = moments.sizes(centred=centred), moments.mean if centred else np.zeros_like(moments.mean)
    if first:
        return mean, size
    keeps = (size < 2 * scale) & (scale < 2 * size) & (np.abs(mean - centre) <= size / 2)
    keeps |= moments.squares == 0
    if not centred:
        keeps &= centre == 0
    return np.where(keeps, centre, mean), np.where(keeps, scale, size)
