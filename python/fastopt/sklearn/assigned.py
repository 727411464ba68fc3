"""Arrays that users assign to a fitted estimator: checked, and paired with the arrays that they replace."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..rules.words import shown

__all__ = ["assigned_arrays"]

Array = np.ndarray[Any, Any]


def assigned_arrays(arrays: Mapping[str, Any], values: Mapping[str, Any]) -> list[tuple[Array, Array]]:
    """Pairs of a live array and the array that `values` has in its place.  Raises TypeError or ValueError if one does not fit."""
    found: list[tuple[Array, Array]] = []
    for name, live in arrays.items():
        several = isinstance(live, list)
        given, parts = (values[name], live) if several else ([values[name]], [live])
        if not isinstance(given, (list, tuple)) or len(given) != len(parts):
            raise ValueError(f"{name}: got {shown(type(given).__name__)} in its place, expected a list of {len(parts)} arrays")
        for i, (other, array) in enumerate(zip(given, parts, strict=True)):
            label = f"{name}[{i}]" if several else name
            value = np.asarray(other)
            if value.dtype.kind not in "biuf":
                raise TypeError(f"{label}: got dtype {value.dtype}, expected real numbers")
            if value.shape != array.shape:
                raise ValueError(f"{label}: got shape {value.shape}, expected {array.shape}")
            if value.ctypes.data == array.ctypes.data and value.strides == array.strides and value.dtype == array.dtype:
                continue
            with np.errstate(over="ignore"):
                copied = value.astype(array.dtype)  # `value` may be a view of the live array
            if not np.isfinite(copied).all():
                raise ValueError(f"{label}: got numbers that are not finite in {array.dtype}, expected finite ones")
            found.append((array, copied))
    return found
