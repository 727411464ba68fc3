"""Tolerances: when a run has converged."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .._arrays.memory import Array
from ..rules.checks import check_count, check_number
from ..rules.words import shown
from .bounds import Box
from .points import largest

__all__ = ["Tolerances"]


class Tolerances:
    """The tests of one run.  Each answers, after an evaluation, whether it is the last."""

    def __init__(self, tol: Any, gtol: Any, ftol: Any, xtol: Any, patience: Any, *, stochastic: bool, epochs: bool) -> None:
        given = {"tol": tol, "gtol": gtol, "ftol": ftol, "xtol": xtol}
        numbers = {
            name: None if value is None else check_number(value, name, "[0, inf)", "a real number or None")
            for name, value in given.items()
        }
        for name, value in given.items():
            if value is not None and stochastic and not (epochs and name == "ftol"):
                why = "ftol compares the means of its epochs" if epochs else "its values cannot be compared"
                raise ValueError(f"{name}: got {shown(value)}, expected None for a stochastic objective: {why}")
        self._gtol = numbers["tol"] if gtol is None else numbers["gtol"]
        self._ftol, self._xtol = numbers["ftol"], numbers["xtol"]
        self._patience = check_count(patience, "patience")
        if self._patience < 1:
            raise ValueError("patience: got 0, expected a number of steps from 1")
        self._least, self._no_less = math.inf, 0
        self._before: Array | None = None
        self._work: Array | None = None
        self._still = 0

    def after_value(self, value: float) -> str:
        """Why a value of the objective (with mini-batches: the mean of an epoch) is the last, or an empty text."""
        if self._ftol is None:
            return ""
        if not value < self._least - self._ftol * max(1.0, abs(value)):
            self._no_less += 1
        else:
            self._least, self._no_less = value, 0
        return f"{self._patience} values without a decrease by ftol={self._ftol:g}" if self._no_less >= self._patience else ""

    def after_gradient(self, grad: Array, point: Array, box: Box | None) -> str:
        """Why a gradient is the last, or an empty text."""
        if self._gtol is None:
            return ""
        if box is None:
            size = largest(grad)
        else:
            if self._work is None:
                self._work = np.empty_like(point)
            with np.errstate(over="ignore"):  # then a bound is nearer
                np.subtract(point, grad, out=self._work, casting="same_kind")
            box.project(self._work)
            size = largest(np.subtract(self._work, point, out=self._work))
        return f"the gradient is within gtol={self._gtol:g}" if size <= self._gtol else ""

    def after_step(self, point: Array) -> str:
        """Why a step is the last, or an empty text.  The first call passes the start."""
        if self._xtol is None:
            return ""
        if self._before is None:
            self._before = point.copy()
            return ""
        moved = largest(np.subtract(point, self._before, out=self._before))
        self._still = self._still + 1 if moved <= self._xtol * max(1.0, largest(point)) else 0
        np.copyto(self._before, point)
        return f"{self._patience} steps within xtol={self._xtol:g}" if self._still >= self._patience else ""
