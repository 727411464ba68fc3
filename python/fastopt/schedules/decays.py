"""Schedules that hold or decay, by formulas without phases: constant, exponential, steps, polynomials, inverse powers of time."""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence
from dataclasses import dataclass

from ..rules.checks import check_count, check_number
from .schedule import Factor, Flag, OptionalSteps, Period, Rate, Warmed, numbers

__all__ = [
    "constant",
    "exponential",
    "inverse_sqrt",
    "inverse_time",
    "linear",
    "multi_step",
    "piecewise",
    "polynomial",
    "step",
]


def raised(base: float, exponent: float) -> float:
    """`base ** exponent`; infinity in case of an overflow, which the optimizer refuses by name."""
    try:
        return math.pow(base, exponent)
    except OverflowError:
        return math.inf


@dataclass(frozen=True, repr=False)
class constant(Warmed):
    """`lr`, after `warmup` steps in which the rate rises from `warmup_start`.

    lr: the rate, in [0, inf)
    warmup: steps, from 0, over which the rate first rises in a straight line from `warmup_start`, in [0, inf)

    >>> schedule = fastopt.schedules.constant(1e-3, warmup=10)
    >>> schedule(5), schedule(10), schedule(1000)
    (0.0005, 0.001, 0.001)
    """

    lr: Rate

    def value(self, t: float) -> float:
        return self.lr


@dataclass(frozen=True, repr=False)
class exponential(Warmed):
    """`lr * decay_rate**(t/decay_steps)`, t steps after the warmup; with `staircase` the exponent is rounded down.

    `decay_rate=exp(-k)` gives `lr * exp(-k*t)`.  With a `decay_rate` above 1 the rate grows, as in a search for the largest rate
    that still trains.

    lr: the rate at the end of the warmup, in [0, inf)
    decay_rate: the factor of `decay_steps` steps, in (0, inf)
    decay_steps: a whole number from 1
    staircase: True or False
    warmup: steps, from 0, over which the rate first rises in a straight line from `warmup_start`, in [0, inf)

    >>> schedule = fastopt.schedules.exponential(0.1, 0.5, decay_steps=10)
    >>> schedule(0), schedule(10), schedule(20)
    (0.1, 0.05, 0.025)
    """

    lr: Rate
    decay_rate: Factor
    decay_steps: Period = 1
    staircase: Flag = False

    def value(self, t: float) -> float:
        exponent = t // self.decay_steps if self.staircase else t / self.decay_steps
        return self.lr * raised(self.decay_rate, exponent)


@dataclass(frozen=True, repr=False)
class step(Warmed):
    """`lr`, multiplied by `gamma` every `step_size` steps after the warmup.

    lr: the rate at the end of the warmup, in [0, inf)
    step_size: steps between two changes: a whole number from 1
    gamma: in (0, inf)
    warmup: steps, from 0, over which the rate first rises in a straight line from `warmup_start`, in [0, inf)

    >>> schedule = fastopt.schedules.step(0.1, step_size=30, gamma=0.5)
    >>> schedule(29), schedule(30), schedule(60)
    (0.1, 0.05, 0.025)
    """

    lr: Rate
    step_size: Period
    gamma: Factor = 0.1

    def value(self, t: float) -> float:
        return self.lr * raised(self.gamma, t // self.step_size)


def check_boundaries(values: object, name: str, warmup: int) -> tuple[int, ...]:
    """Rising numbers of completed steps, all after the warmup."""
    boundaries = numbers(values, name, check_count)
    for i, (before, after) in enumerate(zip((warmup, *boundaries), boundaries, strict=False)):
        if after <= before:
            least = f"the {warmup} steps of warmup" if i == 0 else f"{name}[{i - 1}]={before}"
            raise ValueError(f"{name}[{i}]: got {after}, expected more than {least}")
    return boundaries


@dataclass(frozen=True, repr=False)
class multi_step(Warmed):
    """`lr`, multiplied by `gamma` at each of `milestones`: rising numbers of completed steps.

    lr: the rate at the end of the warmup, in [0, inf)
    milestones: a list or tuple of whole numbers, each above the one before, the first above `warmup`
    gamma: in (0, inf)
    warmup: steps, from 0, over which the rate first rises in a straight line from `warmup_start`, in [0, inf)

    >>> schedule = fastopt.schedules.multi_step(0.1, [30, 80], gamma=0.5)
    >>> schedule(29), schedule(30), schedule(80)
    (0.1, 0.05, 0.025)
    """

    lr: Rate
    milestones: Sequence[int]
    gamma: Factor = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "milestones", check_boundaries(self.milestones, "milestones", self.warmup))

    def value(self, t: float) -> float:
        return self.lr * raised(self.gamma, bisect.bisect_right(self.milestones, t + self.warmup))


@dataclass(frozen=True, repr=False)
class piecewise(Warmed):
    """`values[i]` from `boundaries[i-1]` completed steps on.  `boundaries` rise, and `values` has one entry more.

    Keras' PiecewiseConstantDecay changes one step later: give it each boundary less 1 for the same rates.

    boundaries: a list or tuple of whole numbers, each above the one before, the first above `warmup`
    values: the rates, each in [0, inf)
    warmup: steps, from 0, over which the rate first rises in a straight line from `warmup_start`, in [0, inf)

    >>> schedule = fastopt.schedules.piecewise([30, 80], [0.1, 0.05, 0.01])
    >>> schedule(29), schedule(30), schedule(80)
    (0.1, 0.05, 0.01)
    """

    boundaries: Sequence[int]
    values: Sequence[float]

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "boundaries", check_boundaries(self.boundaries, "boundaries", self.warmup))
        values = numbers(self.values, "values", lambda value, name: check_number(value, name, "[0, inf)"))
        if len(values) != len(self.boundaries) + 1:
            raise ValueError(f"values: got {len(values)}, expected {len(self.boundaries) + 1}, one more than boundaries")
        object.__setattr__(self, "values", values)

    def value(self, t: float) -> float:
        return self.values[bisect.bisect_right(self.boundaries, t + self.warmup)]


@dataclass(frozen=True, repr=False)
class polynomial(Warmed):
    """`end + (lr - end) * (1 - t/T)**power`, where T of the training's `steps` come after the warmup; then `end`.

    With `cycle` the rate jumps up again at each multiple of T and falls over a longer T, as in Keras' PolynomialDecay.

    lr: the rate at the end of the warmup, in [0, inf)
    steps: the training's steps, warmup included: a whole number above `warmup`
    end: the rate after the last step, in [0, inf)
    power: in (0, inf)
    cycle: True or False
    warmup: steps, from 0, over which the rate first rises in a straight line from `warmup_start`, in [0, inf)

    >>> schedule = fastopt.schedules.polynomial(0.1, steps=100, power=2.0)
    >>> schedule(0), schedule(50), schedule(100)
    (0.1, 0.025, 0.0)
    """

    lr: Rate
    steps: Period
    end: Rate = 0.0
    power: Factor = 1.0
    cycle: Flag = False

    def __post_init__(self) -> None:
        super().__post_init__()
        self.after_warmup(self.steps)

    def value(self, t: float) -> float:
        steps = self.after_warmup(self.steps)
        if self.cycle:
            steps *= max(1, math.ceil(t / steps))
        return self.end + (self.lr - self.end) * raised(1 - min(t, steps) / steps, self.power)


@dataclass(frozen=True, repr=False)
class linear(Warmed):
    """A straight line from `lr`, at the end of the warmup, to `end`, after `steps` steps; then `end`.

    lr: the rate at the end of the warmup, in [0, inf)
    steps: the training's steps, warmup included: a whole number above `warmup`
    end: the rate after the last step, in [0, inf)
    warmup: steps, from 0, over which the rate first rises in a straight line from `warmup_start`, in [0, inf)

    >>> schedule = fastopt.schedules.linear(0.1, steps=100)
    >>> schedule(0), schedule(50), schedule(200)
    (0.1, 0.05, 0.0)
    """

    lr: Rate
    steps: Period
    end: Rate = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.after_warmup(self.steps)

    def value(self, t: float) -> float:
        steps = self.after_warmup(self.steps)
        return self.lr + (self.end - self.lr) * min(t, steps) / steps


@dataclass(frozen=True, repr=False)
class inverse_sqrt(Warmed):
    """`lr * sqrt(timescale / (timescale + t))`, t steps after the warmup.

    `timescale` counts steps.  The default is the warmup's length, so that the rate falls as `1/sqrt(steps)` (Vaswani et al.,
    arXiv:1706.03762), and 10,000 without a warmup.

    lr: the rate at the end of the warmup, in [0, inf)
    timescale: a whole number from 1, or None
    warmup: steps, from 0, over which the rate first rises in a straight line from `warmup_start`, in [0, inf)

    >>> schedule = fastopt.schedules.inverse_sqrt(0.1, warmup=100)
    >>> schedule(50), schedule(100), schedule(400)
    (0.05, 0.1, 0.05)
    """

    lr: Rate
    timescale: OptionalSteps = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.timescale == 0:
            raise ValueError("timescale: got 0, expected a number of steps from 1, or None")

    def value(self, t: float) -> float:
        timescale = self.timescale or self.warmup or 10_000
        return self.lr * math.sqrt(timescale / (timescale + t))


@dataclass(frozen=True, repr=False)
class inverse_time(Warmed):
    """`lr / (1 + decay_rate * t/decay_steps)`, t steps after the warmup; with `staircase` the quotient is rounded down.

    lr: the rate at the end of the warmup, in [0, inf)
    decay_rate: in [0, inf)
    decay_steps: a whole number from 1
    staircase: True or False
    warmup: steps, from 0, over which the rate first rises in a straight line from `warmup_start`, in [0, inf)

    >>> schedule = fastopt.schedules.inverse_time(0.1, decay_rate=1.0, decay_steps=100)
    >>> schedule(0), schedule(100), schedule(300)
    (0.1, 0.05, 0.025)
    """

    lr: Rate
    decay_rate: Rate
    decay_steps: Period = 1
    staircase: Flag = False

    def value(self, t: float) -> float:
        return self.lr / (1 + self.decay_rate * (t // self.decay_steps if self.staircase else t / self.decay_steps))
