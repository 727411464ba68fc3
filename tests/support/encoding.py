"""Storage formats through the extension's own functions: formats, noises of stochastic rounding, values that each format allows."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest

from fastopt import _core
from tests.support import reference_formats as reference
from tests.support.arrays import Array

Noise = tuple[int, int, int, int] | None

NOISES: tuple[Noise, ...] = (
    None,
    (0, 1, 0, 0),
    (1, 2, 1, 77),
    (2**63 + 12345, 1000, 2, 2**32 - 100),
    (2**64 - 1, 2**32 - 1, 3, 2**40 + 3),
    (7, 2**31 + 5, -1, 255),
    (11, 3, 4, 0),
    (2**40, 2**20, 5, 100),
)
"""Seed, step, stream, offset of the first element: all streams, and an offset whose low half wraps."""
SMALLEST_HALF, HALF_TO_INF = 0x38800000, 0x477FF000
"""2^-14, from which float16 is normal, and 65520, from which it is Inf."""
ALL_FORMATS = pytest.mark.parametrize("name", reference.FORMATS)
ALL_NOISES = pytest.mark.parametrize("noise", NOISES, ids=str)


def allowed(name: str, values: Array) -> Array:
    """`values` as the format takes them: without signs if the format has none, except that a NaN may have a sign."""
    if name.endswith("non-negative"):
        values = np.where(np.isnan(values), values, np.abs(values))
    return np.ascontiguousarray(values, np.float32)


def empty(name: str, n: int) -> tuple[Array, Array | None]:
    """Data and extra for `n` elements, filled with values that must be overwritten."""
    data, extra, span = reference.FORMATS[name]

    def full(length: int, dtype: Any) -> Array:
        return np.full(length * np.dtype(dtype).itemsize, 0x5A, np.uint8).view(dtype)

    return full(n, data), None if extra is None else full(-(-n // span), extra)


def encode(name: str, values: Array, noise: Noise = None) -> tuple[Array, Array | None]:
    data, extra = empty(name, len(values))
    _core.encode(name, values, data, extra, noise)
    return data, extra


@functools.cache
def mantissas() -> Array:
    """Every mantissa, in an order in which a block goes through the whole octave."""
    return np.ascontiguousarray(np.arange(1 << 23, dtype=np.uint32).reshape(256, -1).T).ravel()
