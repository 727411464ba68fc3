"""Tolerances: when a run has converged."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .._arrays.memory import Array
from ..rules.checks import check_count, check_number
from ..rules.words import shown
from .bounds import Box
from .points import largest, resolution

__all__ = ["Tolerances"]

OWN_GTOL = 1e-5
"""The tolerance of a run that was given neither a rate nor a tolerance: SciPy's of BFGS."""


class Tolerances:
    """The tests of one run.  Each answers, after an evaluation, whether it is the last."""

    def __init__(
        self, tol: Any, gtol: Any, ftol: Any, xtol: Any, patience: Any, *, stochastic: bool, epochs: bool, own: bool = False
    ) -> None:
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
        self._own = own and all(value is None for value in given.values())
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
        if self._gtol is None and not self._own:
            return ""
        size = self.size(grad, point, box)
        if self._own:  # relative for small objectives, whose first gradient may be within any number
            self._gtol, self._own = max(OWN_GTOL, math.sqrt(resolution(point))) * min(1.0, size), False
        assert self._gtol is not None
        return f"the gradient is within gtol={self._gtol:g}" if size <= self._gtol else ""

    def size(self, grad: Array, point: Array, box: Box | None) -> float:
        """The largest element of the gradient, or within bounds of x - P(x - gradient)."""
        if box is None:
            return largest(grad)
        if self._work is None:
            self._work = np.empty_like(point)
        with np.errstate(over="ignore"):  # then a bound is nearer
            np.subtract(point, grad, out=self._work, casting="same_kind")
        box.project(self._work)
        return largest(np.subtract(self._work, point, out=self._work))

    @property
    def given(self) -> bool:
        """Whether any tolerance may end the run."""
        return self._own or not (self._gtol is None and self._ftol is None and self._xtol is None)

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
