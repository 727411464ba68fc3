"""`OwnRate`: the learning rate of a deterministic run that was given none, found while the run goes on.

The rate grows with each step that lowers the objective.  After some steps without a new least value it shrinks, and the run goes
on from the best point with new state, so that the next step goes downhill if the rate is small enough.  The method is a
backtracking line search in which a rule makes the direction (Nocedal & Wright, Numerical Optimization, 2006, section 3.1).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from .._arrays.memory import Array
from ..optimizer import Optimizer
from .points import largest, resolution

__all__ = ["OwnRate", "trial_rate"]

FIRST_MOVE = 0.1
"""How far the first step moves the point, as a share of max(1, largest |x0|)."""

GROWTH, SHRINKAGE, PATIENCE = 1.15, 0.25, 10
"""Chosen among their neighbours on seven test functions, from starts at distances of 1 to 1,000, for all rules."""


NOISE = 2.0**-50
"""A least value that is lower by a smaller share is rounding."""

TRIAL_STEPS, TRIAL_FACTOR = 10, 4.0
"""Steps of a trial on one mini-batch, and between the rates of two trials."""

Make = Callable[[Array], Optimizer]


def first_rate(make: Make, point: Array, grad: Array) -> float:
    """The rate at which a first step moves the point by FIRST_MOVE."""
    origin = np.zeros_like(point)
    probe = make(origin)
    probe.lr = 1.0
    probe.step(grad)
    move, wanted = largest(origin), FIRST_MOVE * max(1.0, largest(point))
    return wanted / move if 0 < move < math.inf else wanted


def trial_rate(make: Make, point: Array, evaluate: Callable[[Array], tuple[float, Array]]) -> float:
    """Half the rate that lowers the objective of one mini-batch most in a few steps: in noise the best one overshoots."""
    value, grad = evaluate(point)
    grad = grad.copy()

    def end(rate: float) -> float:
        x = point.copy()
        optimizer = make(x)
        optimizer.lr = rate
        reached, slope = value, grad
        for _ in range(TRIAL_STEPS):
            optimizer.step(slope)
            reached, slope = evaluate(x)
        return reached if math.isfinite(reached) else math.inf

    rate = first_rate(make, point, grad)
    least = end(rate)
    for factor in (TRIAL_FACTOR, 1 / TRIAL_FACTOR):
        while (further := end(rate * factor)) < least:
            rate, least = rate * factor, further
    return rate / 2


class OwnRate:
    """Sets an optimizer's learning rate before each step, and knows when no rate lowers the objective any more."""

    def __init__(self, make: Make, point: Array) -> None:
        self._make, self._eps = make, resolution(point)
        self._rate = self._first = self._last = math.nan
        self._least, self._least_point, self._work = math.inf, point.copy(), np.empty_like(point)
        self._waited, self._far, self._moved = 0, 0.0, 0.0

    def begin(self, value: float, grad: Array, point: Array) -> None:
        """Takes the start: the first rate moves the point by a share of its size."""
        self._rate = first_rate(self._make, point, grad)
        self._first = self._least = self._last = value
        np.copyto(self._least_point, point)

    def goes_back(self, value: float, point: Array, *, finite: bool) -> bool:
        """Takes the value after a step.  Returns whether the run must go back to the best point, with a smaller rate."""
        distance = largest(np.subtract(point, self._least_point, out=self._work))
        if finite and value < self._last:
            self._rate *= GROWTH
        self._last = value
        if finite and value < self._least - NOISE * abs(self._least):
            self._moved = max(self._moved, distance)
            self._least, self._waited, self._far = value, 0, 0.0
            np.copyto(self._least_point, point)
            return False
        self._waited, self._far = self._waited + 1, max(self._far, distance)
        # Far above the start the next steps would only be larger, and the caller's function may overflow.
        ceiling = self._first + max(self._first - self._least, abs(self._first))
        return not finite or value > ceiling or self._waited >= PATIENCE

    @property
    def is_stuck(self) -> bool:
        """Whether the steps since the best point were so small that no smaller ones can lower the objective."""
        return self._far <= self._eps * max(largest(self._least_point), self._moved)

    def back(self, point: Array) -> Optimizer:
        """A new optimizer, with a smaller rate, for the run that is at its best point again."""
        self._rate *= SHRINKAGE
        np.copyto(self._least_point, point)
        self._last, self._waited, self._far = self._least, 0, 0.0
        return self._make(point)

    def apply(self, optimizer: Optimizer) -> None:
        optimizer.lr = self._rate

    def is_flat(self, size: float, value: float) -> bool:
        """Whether a gradient is near 0 for a point that is stuck: a move by max(1, |x|) changes the value by little."""
        return size * max(1.0, largest(self._least_point)) <= 64 * math.sqrt(self._eps) * max(1.0, abs(value))
