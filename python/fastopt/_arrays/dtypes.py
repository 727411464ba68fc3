"""The dtypes of parameters and gradients, and the dtype in which a rule computes."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from .memory import BFLOAT16, Array

__all__ = ["DTYPES", "GRADIENTS", "SIZES", "arithmetic", "dtype_name"]

DTYPES = ("float32", "float64", "bfloat16", "float16")
"""The dtypes of parameters, in the order of C's fastopt_dtype."""

SIZES = {"float32": 4, "float64": 8, "bfloat16": 2, "float16": 2}
"""Bytes of an element."""

GRADIENTS = {"float32": ("float32", "bfloat16", "float16"), "float64": ("float64", "float32", "bfloat16", "float16")}
"""The dtypes of gradients that an arithmetic holds without loss."""

SINGLE, DOUBLE = np.dtype(np.float32), np.dtype(np.float64)


def dtype_name(array: Any) -> str:
    return name_of_dtype(array.dtype)


@functools.cache
def name_of_dtype(dtype: np.dtype[Any]) -> str:
    return "bfloat16" if dtype == BFLOAT16 else dtype.newbyteorder("=").name


def arithmetic(param: Array) -> np.dtype[Any]:
    """The dtype in which a rule computes."""
    return DOUBLE if param.dtype == DOUBLE else SINGLE
