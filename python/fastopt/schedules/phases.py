"""Schedules with phases: cosines and their restarts, one cycle, warmup-stable-decay, and joins of other schedules."""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ..rules.checks import one_number
from ..rules.words import shown
from .decays import check_boundaries, raised
from .schedule import Anneal, Factor, Flag, Growth, OptionalSteps, Period, Rate, Schedule, Shape, Warmed, has_state

__all__ = ["cosine", "cosine_restarts", "join", "one_cycle", "warmup_stable_decay"]


def half_cosine(start: float, end: float, share: float) -> float:
    """Half a cosine from `start`, at share 0, to `end`, at share 1."""
    return end + (start - end) * 0.5 * (1 + math.cos(math.pi * share))


def line(start: float, end: float, share: float) -> float:
    return start + (end - start) * share


@dataclass(frozen=True, repr=False)
class cosine(Warmed):
    """Half a cosine from `lr`, at the end of the warmup, to `end`, after `steps` steps; then `end` (arXiv:1608.03983).

    `exponent` is the power of the falling factor, as in optax's cosine_decay_schedule.

    lr: the rate at the end of the warmup, in [0, inf)
    steps: the training's steps, warmup included: a whole number above `warmup`
    end: the rate after the last step, in [0, inf)
    exponent: in (0, inf)
    warmup: steps, from 0, over which the rate first rises in a straight line from `warmup_start`, in [0, inf)

    >>> schedule = fastopt.schedules.cosine(0.1, steps=1000, warmup=100)
    >>> schedule(50), schedule(100), schedule(550), schedule(1000)
    (0.05, 0.1, 0.05, 0.0)
    """

    lr: Rate
    steps: Period
    end: Rate = 0.0
    exponent: Factor = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.after_warmup(self.steps)

    def value(self, t: float) -> float:
        steps = self.after_warmup(self.steps)
        falling = half_cosine(1.0, 0.0, min(t, steps) / steps)
        return self.end + (self.lr - self.end) * float(falling**self.exponent)


@dataclass(frozen=True, repr=False)
class cosine_restarts(Warmed):
    """Half cosines from a peak down to `end`, again and again (SGDR: Loshchilov & Hutter, arXiv:1608.03983).

    The first cycle begins after the warmup at the peak `lr` and takes `period` steps.  Each further cycle takes `t_mul` times as
    many steps as the cycle before it, and its peak lies `m_mul` times as far above `end`.

    lr: the first peak, in [0, inf)
    period: steps of the first cycle: a whole number from 1
    t_mul: in [1, inf)
    m_mul: in (0, inf)
    end: the rate at the end of each cycle, in [0, inf)
    warmup: steps, from 0, over which the rate first rises in a straight line from `warmup_start`, in [0, inf)

    >>> schedule = fastopt.schedules.cosine_restarts(0.1, period=100, t_mul=2.0, m_mul=0.5)
    >>> schedule(0), schedule(50), schedule(100), schedule(200)
    (0.1, 0.05, 0.05, 0.025)
    """

    lr: Rate
    period: Period
    t_mul: Growth = 1.0
    m_mul: Factor = 1.0
    end: Rate = 0.0

    def value(self, t: float) -> float:
        if self.t_mul == 1:
            cycle = int(t // self.period)
        else:  # the logarithm rounds, so the cycle may be off by one
            cycle = int(math.log1p(t * (self.t_mul - 1) / self.period) / math.log(self.t_mul))
            cycle += self._begin(cycle + 1) <= t
            cycle -= self._begin(cycle) > t
        begin, end = self._begin(cycle), self._begin(cycle + 1)
        peak = self.end + (self.lr - self.end) * raised(self.m_mul, cycle)
        return half_cosine(peak, self.end, (t - begin) / (end - begin))

    def _begin(self, cycle: int) -> float:
        """The steps before a cycle; rounding errors are taken off a whole number, since steps are compared with it."""
        if self.t_mul == 1:
            return float(self.period * cycle)
        before = self.period * (self.t_mul**cycle - 1) / (self.t_mul - 1)
        return round(before) if math.isclose(before, round(before), rel_tol=1e-9) else before


@dataclass(frozen=True, repr=False)
class one_cycle(Schedule):
    """Up from `max_lr/div_factor` to `max_lr`, then down to `max_lr/(div_factor*final_div_factor)` at the last of `steps` steps.

    The peak comes after `warmup` completed steps if given, else after `pct_start*steps - 1`, as torch counts.  With `three_phase`
    the way down first mirrors the way up.  `anneal`: "cos" or "linear".  Smith & Topin, arXiv:1708.07120; the defaults are
    torch's.

    max_lr: the peak, in [0, inf)
    steps: the training's steps: a whole number from 1
    pct_start: the part of the steps before the peak, in [0, 1]
    anneal: "cos" or "linear"
    div_factor, final_div_factor: in (0, inf)
    three_phase: True or False
    warmup: a whole number below `steps`, or None

    >>> schedule = fastopt.schedules.one_cycle(0.1, steps=100, warmup=30)
    >>> schedule(30), schedule(99)
    (0.1, 4e-07)
    """

    max_lr: Rate
    steps: Period
    pct_start: Rate = 0.3
    anneal: Anneal = "cos"
    div_factor: Factor = 25.0
    final_div_factor: Factor = 1e4
    three_phase: Flag = False
    warmup: OptionalSteps = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.pct_start > 1:
            raise ValueError(f"pct_start: got {self.pct_start}, expected a number in [0, 1]")
        if self.warmup is not None and self.warmup >= self.steps:
            raise ValueError(f"warmup: got {self.warmup}, expected less than the {self.steps} steps")

    @property
    def _rise(self) -> float:
        return self.pct_start * self.steps - 1 if self.warmup is None else self.warmup

    def rate(self, step: float) -> float:
        initial = self.max_lr / self.div_factor
        final = initial / self.final_div_factor
        rise, last = self._rise, self.steps - 1
        places = [(0.0, initial), (rise, self.max_lr), *([(2 * rise, initial)] if self.three_phase else []), (last, final)]
        between = half_cosine if self.anneal == "cos" else line
        for (begin, start), (end, stop) in itertools.pairwise(places):
            if step <= end:
                return between(start, stop, (step - begin) / (end - begin) if begin < end else 1.0)
        return final


@dataclass(frozen=True, repr=False)
class warmup_stable_decay(Warmed):
    """`lr` from the end of the warmup on; over the last `decay` of the `steps` down to `end`, where the rate stays.

    `decay` counts steps, by default a fifth of `steps`.  `shape`, the form of the way down: "linear", "cosine" or "1-sqrt", which
    is `1 - sqrt(share)` (Hu et al., arXiv:2404.06395; Hägele et al., arXiv:2405.18392).

    lr: the rate at the end of the warmup, in [0, inf)
    steps: the training's steps, warmup included: a whole number above `warmup`
    decay: a whole number, at most the steps after the warmup, or None
    end: the rate after the last step, in [0, inf)
    shape: "linear", "cosine" or "1-sqrt"
    warmup: steps, from 0, over which the rate first rises in a straight line from `warmup_start`, in [0, inf)

    >>> schedule = fastopt.schedules.warmup_stable_decay(0.1, steps=1000, warmup=100)
    >>> schedule(50), schedule(500), schedule(900), schedule(1000)
    (0.05, 0.1, 0.05, 0.0)
    """

    lr: Rate
    steps: Period
    decay: OptionalSteps = None
    end: Rate = 0.0
    shape: Shape = "linear"

    def __post_init__(self) -> None:
        super().__post_init__()
        after = self.after_warmup(self.steps)
        if self._decay > after:
            raise ValueError(f"decay: got {self._decay}, expected at most the {after} steps after the warmup")

    @property
    def _decay(self) -> int:
        return self.steps // 5 if self.decay is None else self.decay

    def value(self, t: float) -> float:
        left = self.after_warmup(self.steps) - t
        if left <= 0:
            return self.end
        if left >= self._decay:
            return self.lr
        share = 1 - left / self._decay
        if self.shape == "cosine":
            return half_cosine(self.lr, self.end, share)
        return line(self.lr, self.end, math.sqrt(share) if self.shape == "1-sqrt" else share)


@dataclass(frozen=True, repr=False)
class join(Schedule):
    """`schedules[i]` from `boundaries[i-1]` completed steps on; each schedule counts its own steps from there.

    `schedules` are callables of a number of steps.  `boundaries` rise, and `schedules` has one entry more.  A `ReduceOnPlateau`
    goes around a join, not into one.

    schedules: a list or tuple of callables
    boundaries: a list or tuple of whole numbers, each above the one before, the first above 0

    >>> up, down = fastopt.schedules.constant(0.1, warmup=10), fastopt.schedules.linear(0.1, steps=20)
    >>> schedule = fastopt.schedules.join([up, down], [50])
    >>> schedule(5), schedule(50), schedule(60)
    (0.05, 0.1, 0.05)
    """

    schedules: Sequence[Callable[[Any], float]]
    boundaries: Sequence[int]

    def __post_init__(self) -> None:
        if not isinstance(self.schedules, (list, tuple)):
            raise TypeError(f"schedules: got {shown(self.schedules)}, expected a list or a tuple")
        for i, each in enumerate(self.schedules):
            if not callable(each):
                raise TypeError(f"schedules[{i}]: got {shown(each)}, expected a callable of the number of completed steps")
            if has_state(each):  # a checkpoint finds only the state of an optimizer's own schedule
                raise TypeError(f"schedules[{i}]: got {shown(each)}, which has state, expected a pure function")
        object.__setattr__(self, "schedules", tuple(self.schedules))
        object.__setattr__(self, "boundaries", check_boundaries(self.boundaries, "boundaries", 0))
        if len(self.schedules) != len(self.boundaries) + 1:
            raise ValueError(
                f"schedules: got {len(self.schedules)}, expected {len(self.boundaries) + 1}, one more than boundaries"
            )

    def rate(self, step: float) -> float:
        i = bisect.bisect_right(self.boundaries, step)
        return one_number(self.schedules[i](step - self.boundaries[i - 1] if i else step), "lr")
