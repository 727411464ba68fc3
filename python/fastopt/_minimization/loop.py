"""The loop: evaluate, test, step, project; and which point is the result."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .. import _core
from .._arrays.memory import Array
from ..gradients import run as sweep
from ..optimizer import Optimizer
from ..schedules import ReduceOnPlateau
from .batches import Batches
from .bounds import Box
from .objective import Objective
from .own_rate import OwnRate
from .reports import History, make_callback, reporter
from .tolerances import Tolerances

__all__ = ["Outcome", "Setup", "run"]

CONVERGED, STEPS_DONE, BAD_VALUE, BAD_GRADIENT, STUCK, STOPPED = 0, 1, 2, 3, 4, 99
"""A run's status; 0, 1 and 99 are SciPy's."""

TOO_FEW = "Maximum number of iterations has been exceeded"
"""SciPy's words, without their full stop."""

MEASURE = _core.Options(1.0, 0.0, 0.0, 0.0, False, False)


@dataclass
class Setup:
    """All that a run needs, checked."""

    point: Array
    optimizer: Optimizer
    objective: Objective
    tolerances: Tolerances
    own_rate: OwnRate | None
    """None if the caller gave a learning rate, or if values cannot be compared."""
    steps: int
    box: Box | None
    batches: Batches | None
    stochastic: bool
    callback: Callable[..., Any] | None
    progress: bool | Callable[[int, int, float], Any]
    history: Any
    result_class: type[Any]


@dataclass
class Outcome:
    """What a run ends with."""

    x: Array
    value: float
    grad: Array
    steps: int
    status: int
    message: str
    history: dict[str, Array] | None


class Best:
    """The best point so far, copied only when a step is about to overwrite it."""

    def __init__(self) -> None:
        self.value = math.inf
        self._kept: tuple[Array, Array] | None = None
        self._is_current = False

    def see(self, value: float) -> None:
        self._is_current = value <= self.value
        if self._is_current:
            self.value = value

    def keep(self, point: Array, grad: Array) -> None:
        """Copies the point, if it is the best, before a step overwrites it."""
        if not self._is_current:
            return
        if self._kept is None:
            self._kept = point.copy(), grad.copy()
        else:
            self._kept[0][...], self._kept[1][...] = point, grad
        self._is_current = False

    def restore(self, point: Array) -> Array:
        """Writes the best point to `point` and returns its gradient."""
        assert self._kept is not None
        point[...] = self._kept[0]
        self._is_current = True
        return self._kept[1]

    def result(self, point: Array, value: float, grad: Array) -> tuple[Array, float, Array]:
        """The best point, or the last if none was finite."""
        return (
            (point, value, grad.copy()) if self._is_current or self._kept is None else (self._kept[0], self.value, self._kept[1])
        )


class Monitor:
    """The values that can be compared: every value, or with mini-batches the mean of each epoch."""

    def __init__(self, batches: Batches | None) -> None:
        self._batches = batches if batches is not None and batches.partial else None
        self._sum = 0.0

    def __call__(self, value: float, rows: int) -> float | None:
        if self._batches is None:
            return value
        if not rows:  # all data, at the end
            return None
        self._sum += value * rows
        if not self._batches.at_end:
            return None
        mean, self._sum = self._sum / self._batches.rows, 0.0
        return mean


def measure(grad: Array) -> tuple[float, bool]:
    """Euclidean norm, and whether all elements are finite, in one sweep."""
    norm, finite = sweep("measure", [grad], MEASURE)
    return float(norm), bool(finite)


def run(setup: Setup) -> Outcome:
    """Evaluates, tests and steps until a test ends the run."""
    point, optimizer, batches = setup.point, setup.optimizer, setup.batches
    everything = () if batches is None else batches.all
    group, own = optimizer.groups[0], setup.own_rate
    plateau = group.schedule if isinstance(group.schedule, ReduceOnPlateau) else None
    skips = optimizer.options["skip_nonfinite"]
    history = History(points=setup.history == "x") if setup.history else None
    call = make_callback(setup.callback, setup.result_class)
    best, monitor = Best(), Monitor(batches)
    # A mini-batch is not all data, and the point is not the average, so the result needs one more evaluation.
    differs = setup.stochastic and (optimizer.ema_params is not None or (batches is not None and batches.partial))

    with reporter(setup.progress, setup.steps) as report:
        for step in itertools.count():
            last = step == setup.steps
            place = average(setup) if last else point
            batch, rows = (everything, 0) if last or batches is None else batches.take()
            value, grad = setup.objective(place, batch)
            norm, finite = measure(grad)
            if history is not None:
                history.add(place, value, norm)
            report(step, value)
            stops = step > 0 and call(place, value, grad, step)
            status, message = None, ""
            bad = not (math.isfinite(value) and finite)
            if own is not None and bad and step > 0:  # a step that was too large: the run goes back
                best.see(math.inf)
                if last:
                    status, message = STEPS_DONE, TOO_FEW + advice(setup, *best.result(point, value, grad))
            elif not skips and not math.isfinite(value):
                status, message = BAD_VALUE, f"The objective is {value} after {step} steps."
            elif not skips and not finite:
                status, message = BAD_GRADIENT, f"The gradient holds Inf or NaN after {step} steps."
            else:
                best.see(value)
                reasons = converged(setup, place, monitor(value if math.isfinite(value) else math.nan, rows), grad, plateau)
                if reasons:
                    status, message = CONVERGED, f"Optimization terminated successfully: {reasons}."
                elif last:
                    ended = (place, value, grad) if setup.stochastic else best.result(point, value, grad)
                    status, message = STEPS_DONE, TOO_FEW + advice(setup, *ended)
            if stops:
                status, message = STOPPED, "`callback` raised `StopIteration`."
            if status is not None:
                break
            if not setup.stochastic:
                best.keep(point, grad)
            if own is not None:
                if step == 0:
                    own.begin(value, grad, point)
                elif own.goes_back(value, point, finite=not bad):
                    grad = best.restore(point)
                    if own.is_stuck:
                        value = best.value
                        status, message = stuck(setup, own, point, value, grad)
                        break
                    optimizer = own.back(point)
                    group = optimizer.groups[0]
                own.apply(optimizer)
            optimizer.step(grad)
            if setup.box is not None:
                setup.box.project(point)
            if history is not None:
                history.stepped(group["lr"])

    if not setup.stochastic:
        x, value, grad = best.result(point, value, grad)
    else:
        if differs and not last and status not in (BAD_VALUE, BAD_GRADIENT):  # the result and the history show it
            place = average(setup)
            value, grad = setup.objective(place, everything)
            if history is not None:
                history.replace(place, value, measure(grad)[0])
        x, grad = place, grad.copy()
    return Outcome(x, value, grad, step, int(status or 0), message, None if history is None else history.arrays())


def advice(setup: Setup, point: Array, value: float, grad: Array) -> str:
    """What to raise after too few steps."""
    if setup.own_rate is not None:
        size = setup.tolerances.size(grad, point, setup.box)
        return f": raise steps or take another method; at fun={value:.6g} the largest element of the gradient is {size:.3g}."
    if setup.tolerances.given:
        return ": raise steps, lr or the tolerance."
    return ", as in every run without a tolerance: raise steps or lr if fun still falls at the end."


def stuck(setup: Setup, own: OwnRate, point: Array, value: float, grad: Array) -> tuple[int, str]:
    """Status and message of a run in which no step lowers the objective any more, however small."""
    size = setup.tolerances.size(grad, point, setup.box)
    if own.is_flat(size, value):
        return CONVERGED, "Optimization terminated successfully: no step lowers the objective any more."
    return STUCK, (
        f"No step lowers the objective any more, but the largest element of its gradient is {size:.3g}: the gradient is wrong, or"
        " the objective is not smooth there or too steep; check jac, scale the unknowns, or give an lr that falls, such as"
        " fastopt.schedules.cosine(0.1, steps)"
    )


def average(setup: Setup) -> Array:
    """The average of the points in their dtype, if the optimizer keeps one; else the point."""
    kept = setup.optimizer.ema_params
    if kept is None:
        return setup.point
    mean: Array = kept.astype(setup.point.dtype, copy=False)
    return mean


def converged(setup: Setup, point: Array, monitored: float | None, grad: Array, plateau: ReduceOnPlateau | None) -> str:
    """The tolerances that are reached.  All are asked, since each remembers earlier steps."""
    tolerances = setup.tolerances
    reasons = [tolerances.after_gradient(grad, point, setup.box), tolerances.after_step(point)]
    if monitored is not None:
        reasons.append(tolerances.after_value(monitored))
        if plateau is not None:
            plateau.step(monitored)
    return ", ".join(reason for reason in reasons if reason)
