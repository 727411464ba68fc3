"""Test functions of optimization with their gradients, and the settings under which each rule finds their minima."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastopt import schedules
from tests.support.arrays import Array

__all__ = ["FUNCTIONS", "SETTINGS", "Function", "beale", "bowl", "himmelblau", "rosenbrock"]


def rosenbrock(x: Array) -> tuple[float, Array]:
    """Rosenbrock's valley, extended to n unknowns; the minimum is 0, at 1."""
    step = x[1:] - x[:-1] ** 2
    grad = np.zeros_like(x)
    grad[1:] += 200 * step
    grad[:-1] -= 400 * x[:-1] * step + 2 * (1 - x[:-1])
    return float(100 * (step @ step) + ((1 - x[:-1]) ** 2).sum()), grad


def beale(x: Array) -> tuple[float, Array]:
    """Beale's function; the minimum is 0, at (3, 0.5)."""
    a, b = map(float, x)
    residuals = (1.5 - a + a * b, 2.25 - a + a * b**2, 2.625 - a + a * b**3)
    by_a = sum(2 * r * (b**k - 1) for k, r in enumerate(residuals, start=1))
    by_b = sum(2 * r * k * a * b ** (k - 1) for k, r in enumerate(residuals, start=1))
    return sum(r * r for r in residuals), np.array([by_a, by_b])


def himmelblau(x: Array) -> tuple[float, Array]:
    """Himmelblau's function; four minima of 0."""
    a, b = map(float, x)
    u, v = a * a + b - 11, a + b * b - 7
    return u * u + v * v, np.array([4 * a * u + 2 * v, 2 * u + 4 * b * v])


def bowl(x: Array) -> tuple[float, Array]:
    """Half the sum of squares, whose gradient is x."""
    return 0.5 * float((x * x).sum()), np.array(x)


@dataclass(frozen=True)
class Function:
    """A function with its start and minima."""

    call: Callable[[Array], tuple[float, Array]]
    start: tuple[float, ...]
    minima: tuple[tuple[float, ...], ...]

    def error(self, x: Array) -> float:
        """The largest difference from the nearest minimum."""
        return min(float(np.abs(x - minimum).max()) for minimum in np.array(self.minima))


FUNCTIONS = {
    "Rosenbrock of 2": Function(rosenbrock, (-1.2, 1.0), ((1.0,) * 2,)),
    "Rosenbrock of 10": Function(rosenbrock, (-1.2, 1.0) * 5, ((1.0,) * 10,)),
    "Beale": Function(beale, (1.0, 1.0), ((3.0, 0.5),)),
    "Himmelblau": Function(
        himmelblau,
        (0.0, 0.0),
        (
            (3.0, 2.0),
            (-2.805118086952745, 3.131312518250573),
            (-3.779310253377747, -3.283185991286170),
            (3.584428340330492, -1.848126526964404),
        ),
    ),
}


def cosine(lr: float) -> Any:
    return schedules.cosine(lr, 6000)


SETTINGS: dict[str, tuple[dict[str, Any], tuple[float, float, float, float]]] = {
    "SGD": ({"lr": 1e-3, "momentum": 0.9}, (1e-8, 1e-8, 1e-6, 1e-12)),
    "Adam": ({"lr": 0.1}, (1e-8, 1e-6, 1e-12, 1e-12)),
    "AdamW": ({"lr": 0.1, "weight_decay": 0.0}, (1e-8, 1e-6, 1e-12, 1e-12)),
    "Adamax": ({"lr": 0.1}, (1e-8, 1e-6, 1e-12, 1e-12)),
    "NAdam": ({"lr": cosine(1e-2), "betas": (0.95, 0.99)}, (1e-4, 1e-4, 1e-8, 1e-8)),
    # RAdam's first steps are those of plain momentum, which Rosenbrock's steep walls would throw far off.
    "RAdam": ({"lr": cosine(1e-2), "max_norm": 1.0}, (1e-8, 1e-8, 1e-8, 1e-8)),
    "RMSprop": ({"lr": cosine(1e-2), "momentum": 0.9, "alpha": 0.999}, (1e-8, 1e-6, 1e-8, 1e-8)),
    # Along the valley the sum of squares of the walls' gradients makes Adagrad slow.
    "Adagrad": ({"lr": 0.3, "max_norm": 1.0}, (1e-2, 1e-2, 1e-8, 1e-8)),
    "Adadelta": ({"lr": cosine(1.0), "rho": 0.99}, (2e-2, 0.4, 1e-6, 1e-6)),
    "Lion": ({"lr": cosine(1e-2)}, (1e-4, 1e-3, 1e-5, 1e-5)),
}
"""Rule -> its arguments, and how near 6000 steps come to a minimum of each of FUNCTIONS."""
