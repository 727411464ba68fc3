"""Points: our own copy of the start, and a few functions of arrays that allocate nothing."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from .._arrays import buffers
from .._arrays.device import is_on_device
from .._arrays.memory import Array
from ..rules.words import describe

__all__ = ["as_real", "largest", "read_only", "resolution", "start"]


def start(value: Any) -> Array:
    """A contiguous copy of `x0` in one of the dtypes that an optimizer takes."""
    if value is None:
        raise TypeError("x0: got None, expected an array, a list or a number")
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError("x0: got a masked array, whose mask a step would ignore; expected a plain array")
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(value, torch.Tensor):
        raise TypeError(
            "x0: got a torch tensor, expected an array, since fun is given NumPy's; fastopt.torch has torch's optimizers"
        )
    if is_on_device(value):
        raise TypeError("x0: got an array on a GPU, expected one on the CPU; the classes, such as fastopt.Adam, step it there")
    array = as_real(value, "x0")
    if buffers.dtype_name(array) not in buffers.DTYPES:
        if array.dtype.kind not in "iu":
            raise TypeError(f"x0: got dtype {array.dtype}, expected {', '.join(buffers.DTYPES)} or whole numbers")
        array = array.astype(np.float64)
    point = np.array(array, array.dtype.newbyteorder("="), order="C", copy=True)
    if not np.isfinite(point).all():
        raise ValueError("x0: got Inf or NaN, expected finite numbers")
    return point


def as_real(value: Any, name: str) -> Array:
    """An array of real numbers.  Raises TypeError for anything else."""
    try:
        array = np.asarray(value)
    except Exception as error:  # ragged lists raise, and a foreign class may raise anything
        raise TypeError(f"{name}: got {type(value).__name__}, which is no array of numbers: {error}") from error
    if array.dtype.kind not in "iuf" and array.dtype.name != "bfloat16":
        raise TypeError(f"{name}: got {describe(value)}, expected real numbers")
    return array


def read_only(array: Array) -> Array:
    """A read-only view."""
    view = array.view()
    view.flags.writeable = False
    return view


def largest(array: Array) -> float:
    """The largest magnitude; 0 without elements, NaN if an element is NaN."""
    return max(float(array.max()), -float(array.min())) if array.size else 0.0


def resolution(array: Array) -> float:
    """The machine epsilon of the array's dtype."""
    return 2.0**-7 if array.dtype.name == "bfloat16" else float(np.finfo(array.dtype).eps)
