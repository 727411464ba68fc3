"""Finite differences: the gradient of a function that gives only its value.

The steps follow Numerical Recipes, section 5.7: the root of the machine epsilon, or the cube root for central differences,
relative to max(1, |x|).  The complex step follows Squire & Trapp, SIAM Review 40 (1998) 110-112.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .._arrays.memory import Array
from .bounds import Box
from .points import read_only

__all__ = ["SCHEMES", "differences"]

EPSILON = float(np.finfo(np.float64).eps)
SCHEMES = {"2-point": EPSILON ** (1 / 2), "3-point": EPSILON ** (1 / 3), "cs": EPSILON ** (1 / 2)}
"""The relative step of each scheme."""

Evaluate = Callable[[Array], Any]


def differences(evaluate: Evaluate, point: Array, value: float, scheme: str, box: Box | None) -> Array:
    """The gradient at `point` (float64), where the function has the value `value`.  Every call stays within the box."""
    moved = np.array(point, np.complex128 if scheme == "cs" else np.float64)
    flat, seen = moved.reshape(-1), read_only(moved)
    grad = np.empty(point.shape)
    slopes = grad.reshape(-1)
    # The bounds of a 16-bit or float32 point are exact in float64 too.
    lower, upper = (None, None) if box is None else (box.lower.reshape(-1), box.upper.reshape(-1))
    for i in range(flat.size):
        origin = float(flat[i].real)
        step = SCHEMES[scheme] * max(1.0, abs(origin))

        def at(x: Any, i: int = i) -> Any:
            flat[i] = x
            return evaluate(seen)

        if scheme == "cs":
            slopes[i] = complex_value(at(complex(origin, step))).imag / step
        else:
            down = np.inf if lower is None else origin - float(lower[i])
            up = np.inf if upper is None else float(upper[i]) - origin
            slopes[i] = (forward if scheme == "2-point" else central)(at, value, origin, step, down, up)
        flat[i] = origin
    return grad


def complex_value(value: Any) -> complex:
    """The value of a complex step.  Raises TypeError if the function has lost the imaginary part."""
    if not isinstance(value, complex):
        raise TypeError(f"fun: got the real number {value} at a complex point, expected a complex one, since jac is 'cs'")
    return value


def forward(at: Callable[[float], Any], value: float, origin: float, step: float, down: float, up: float) -> float:
    """Steps towards larger magnitude, as SciPy does, or to the side with more room if the bounds are nearer than the step."""
    room = {1.0: up, -1.0: down}
    sign = 1.0 if origin >= 0 else -1.0
    if room[sign] < step:
        sign = 1.0 if up >= down else -1.0
    there = origin + sign * min(step, room[sign])
    return (float(at(there)) - value) / (there - origin) if there != origin else 0.0


def central(at: Callable[[float], Any], value: float, origin: float, step: float, down: float, up: float) -> float:
    """Takes a central difference if both sides have room, else three points on the side with more.  Both are of second order."""
    if min(down, up) >= step:
        before, behind = origin - step, origin + step
        return (float(at(behind)) - float(at(before))) / (behind - before)
    sign, room = (1.0, up) if up >= down else (-1.0, down)
    step = sign * min(step, room / 2)
    near, far = origin + step, origin + 2 * step
    if near == origin:
        return 0.0
    ratio = (far - origin) / (near - origin)  # 2 but for rounding
    return ((float(at(near)) - value) * ratio - (float(at(far)) - value) / ratio) / (far - near)
