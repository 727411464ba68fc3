"""Weights of rows, and weighted means."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils import check_array

__all__ = ["checked_weight", "mean_squared_norm", "means", "normalised"]

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


def mean_squared_norm(X: Any, weight: Array | None) -> float:
    """The weighted mean over the rows of their squared norms."""
    if isinstance(X, np.ndarray):
        norms: Array = np.einsum("ij,ij->i", X, X, dtype=np.float64)
    else:
        norms = np.asarray(X.multiply(X).sum(axis=1), np.float64).reshape(-1)
    return float(norms.mean() if weight is None or not weight.any() else weight @ norms / weight.sum(dtype=np.float64))
