"""Arrays of random values: ordinary gradients, and hostile values."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def gradients(shape: int | tuple[int, ...], dtype: Any, rng: np.random.Generator, scale: Any = 1.0) -> Array:
    """Random values of either sign, never zero."""
    magnitude = rng.uniform(0.5, 2.0, shape) * scale
    return np.asarray(magnitude * rng.choice([-1.0, 1.0], shape), dtype)


def hostile(n: int, dtype: Any, rng: np.random.Generator) -> Array:
    """Values over the whole range of the type: most are ordinary, some denormal, NaN, Inf, zero of either sign, or huge."""
    info = np.finfo(dtype)
    ordinary = rng.standard_normal(n) * 10.0 ** rng.uniform(-6, 6, n)
    values = ordinary.astype(dtype)
    tiny = (float(info.tiny) * rng.uniform(-1, 1, n)).astype(dtype)
    root = (float(info.tiny) ** 0.5 * rng.uniform(-4, 4, n)).astype(dtype)  # squares and quotients are denormal
    kind = rng.integers(0, 24, n)
    for number, replacement in enumerate((tiny, tiny, root, root)):
        values = np.where(kind == number, replacement, values)
    specials = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, info.max, -info.max, info.smallest_subnormal, -info.tiny], dtype)
    return np.where((kind == 4) | (kind == 5), specials[rng.integers(0, len(specials), n)], values).astype(dtype)
