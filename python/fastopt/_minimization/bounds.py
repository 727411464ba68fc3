"""Bounds: the box that holds the point."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .._arrays.memory import Array
from ..rules.words import describe, shown

__all__ = ["Box", "read_bounds"]


@dataclass(frozen=True)
class Box:
    """The least and the greatest value of each unknown, in the shape and dtype of the point."""

    lower: Array
    upper: Array

    def project(self, point: Array) -> None:
        """Moves `point`, in place, to the nearest point of the box; a NaN stays."""
        np.maximum(point, self.lower, out=point)
        np.minimum(point, self.upper, out=point)


def read_bounds(bounds: Any, point: Array) -> Box | None:
    """The box of SciPy's `Bounds`, or of a pair for each unknown; None for no bounds."""
    if bounds is None:
        return None
    if hasattr(bounds, "lb") and hasattr(bounds, "ub"):
        sides = [spread(side, f"bounds.{name}", point) for side, name in ((bounds.lb, "lb"), (bounds.ub, "ub"))]
    else:
        sides = from_pairs(bounds, point)
    lower, upper = inside(sides[0], sides[1], point)
    wrong = np.flatnonzero(~(lower <= upper))  # also true for a NaN
    if wrong.size:
        i = int(wrong[0])
        least, most = float(sides[0].reshape(-1)[i]), float(sides[1].reshape(-1)[i])
        raise ValueError(
            f"bounds: got ({least}, {most}) for unknown {i}, expected least <= most with a {point.dtype} between them"
        )
    return Box(lower, upper)


def spread(side: Any, name: str, point: Array) -> Array:
    """One side of SciPy's `Bounds`, with an entry for each unknown."""
    try:
        return np.broadcast_to(np.asarray(side, np.float64), point.shape)
    except (TypeError, ValueError):
        raise ValueError(f"{name}: got {describe(side)}, expected numbers that broadcast to {point.shape} as x0 has") from None


def from_pairs(bounds: Any, point: Array) -> list[Array]:
    try:
        pairs = [tuple(pair) for pair in bounds]
    except TypeError:
        raise TypeError(f"bounds: got {describe(bounds)}, expected scipy.optimize.Bounds or a pair for each unknown") from None
    if len(pairs) != point.size:
        raise ValueError(f"bounds: got {len(pairs)}, expected {point.size}, a pair for each unknown of x0")
    for i, pair in enumerate(pairs):
        if len(pair) != 2:
            raise ValueError(f"bounds[{i}]: got {shown(pair)}, expected a pair (least, most), None for no bound")
    sides = []
    for which, without in ((0, -np.inf), (1, np.inf)):
        try:
            side = np.array([without if pair[which] is None else pair[which] for pair in pairs], np.float64)
        except (TypeError, ValueError):
            raise TypeError(f"bounds: got {shown(bounds)}, expected numbers or None in each pair") from None
        sides.append(side.reshape(point.shape))
    return sides


def inside(lower: Array, upper: Array, point: Array) -> tuple[Array, Array]:
    """Both bounds in the dtype of `point`, rounded inwards, so that a value between them lies within the bounds as given."""
    rounded = []
    for side, inwards in ((lower, np.inf), (upper, -np.inf)):
        with np.errstate(over="ignore"):
            near = side.astype(point.dtype)
        outside = near.astype(np.float64) < side if inwards > 0 else near.astype(np.float64) > side
        rounded.append(np.ascontiguousarray(np.where(outside, np.nextafter(near, np.asarray(inwards, point.dtype)), near)))
    return rounded[0].reshape(point.shape), rounded[1].reshape(point.shape)
