"""`ReduceOnPlateau`: a learning rate that falls when a metric has stopped improving."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any

from ..rules.checks import check_choice, check_count, check_number, one_number
from ..rules.words import shown

__all__ = ["ReduceOnPlateau"]

FIELDS = ("scale", "best", "bad_steps", "cooldown_left")


class ReduceOnPlateau:
    """`lr`, multiplied by `factor` whenever a metric has not improved for more than `patience` calls of `step`.

        plateau = fastopt.schedules.ReduceOnPlateau(1e-2, patience=3)
        opt = fastopt.AdamW(params, lr=plateau)
        ...
        plateau.step(validation_loss)  # after each epoch

    Arguments, defaults and numbers are those of torch's ReduceLROnPlateau, with two exceptions.  The first argument is not the
    optimizer but the learning rate, or a schedule (a callable of the number of completed steps) whose values are multiplied.  And
    "rel" takes a share of |best|: in torch the share has best's sign, so that it takes a worse negative metric for an improvement.
    Keras' `patience=p, cooldown=c, min_delta=d` is
    `patience=p - 1, cooldown=max(c - 1, 0), threshold=d, threshold_mode="abs", eps=0`.

    lr: a number in [0, inf), or a callable
    mode: "min" for a metric that should fall, "max" for one that should rise
    factor: in (0, 1)
    patience: how many calls without an improvement change nothing, from 0
    threshold: the least change that is an improvement, from 0
    threshold_mode: what `threshold` is: "rel", a share of |best|; "abs", a difference; "torch", torch's "rel", with the same numbers
      as "rel" for a metric that is never negative
    cooldown: how many calls after a reduction do not count
    min_lr: the least learning rate
    eps: a number `lr` is reduced only by more than this; a schedule's values are always reduced

    The optimizer's `state_dict` and `save` keep the plateau's state with the group that has it as `lr`, and loading restores the
    state.  Groups may share a plateau.

    Raises TypeError or ValueError if an argument is anything else.
    """

    def __init__(
        self,
        lr: float | Callable[[int], float],
        mode: str = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: str = "rel",
        cooldown: int = 0,
        min_lr: float = 0.0,
        eps: float = 1e-8,
    ) -> None:
        if isinstance(lr, ReduceOnPlateau):
            raise TypeError("lr: got a ReduceOnPlateau, expected a number or a pure function of the number of completed steps")
        self.lr = lr if callable(lr) else check_number(lr, "lr", "[0, inf)", "a real number or a callable")
        self.mode = check_choice(mode, "mode", ("min", "max"))
        self.threshold_mode = check_choice(threshold_mode, "threshold_mode", ("rel", "abs", "torch"))
        self.factor = check_number(factor, "factor", "(0, 1)")
        self.patience = check_count(patience, "patience")
        self.threshold = check_number(threshold, "threshold", "[0, inf)")
        self.cooldown = check_count(cooldown, "cooldown")
        self.min_lr = check_number(min_lr, "min_lr", "[0, inf)")
        self.eps = check_number(eps, "eps", "[0, inf)")
        self._scale, self._bad_steps, self._cooldown_left = 1.0, 0, 0
        self._best: float | None = None

    def __call__(self, step: int) -> float:
        """The learning rate after `step` completed steps; the call changes nothing."""
        return self._rate(one_number(self.lr(step), "lr") if callable(self.lr) else self.lr, self._scale)

    def _rate(self, lr: float, scale: float) -> float:
        return max(scale * lr, min(self.min_lr, lr))

    def step(self, metric: Any) -> None:
        """Takes a metric: a number or an array of one element.  A NaN is no improvement.

        A new learning rate holds from the optimizer's next step on.  Raises TypeError or ValueError, and changes nothing, if the
        metric is no number or infinitely good.
        """
        value = one_number(metric, "metric")
        if value == (-math.inf if self.mode == "min" else math.inf):
            raise ValueError(f"metric: got {value}, which nothing can improve, expected a finite number")
        if self._improves(value):
            self._best, self._bad_steps = value, 0
        else:
            self._bad_steps += 1
        if self._cooldown_left > 0:
            self._cooldown_left -= 1
            self._bad_steps = 0
        if self._bad_steps > self.patience:
            self._cooldown_left, self._bad_steps = self.cooldown, 0
            reduced = self._scale * self.factor
            # A schedule's rate depends on the step, which this method does not know.
            if callable(self.lr) or self._rate(self.lr, self._scale) - self._rate(self.lr, reduced) > self.eps:
                self._scale = reduced

    def _improves(self, value: float) -> bool:
        sign = -1 if self.mode == "min" else 1
        if self._best is None:
            return sign * value > -math.inf
        best, threshold = self._best, sign * self.threshold
        if self.threshold_mode == "abs":
            bound = best + threshold
        else:  # torch's product, so that the bits are torch's
            bound = best * (1 - threshold if self.threshold_mode == "rel" and best < 0 else 1 + threshold)
        return sign * value > sign * bound

    @property
    def best(self) -> float | None:
        """The best metric so far; None before the first."""
        return self._best

    def state_dict(self) -> dict[str, float | int | None]:
        """The state: all that `step` changes."""
        return {name: getattr(self, f"_{name}") for name in FIELDS}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Restores a `state_dict`.  Raises TypeError or ValueError, and changes nothing, if the argument is none."""
        if not isinstance(state_dict, Mapping) or set(state_dict) != set(FIELDS):
            found = ", ".join(map(str, state_dict)) if isinstance(state_dict, Mapping) else shown(state_dict)
            raise ValueError(f"state_dict: got {found}, expected {', '.join(FIELDS)}")
        scale = check_number(state_dict["scale"], "scale", "[0, 1]")
        best = None if state_dict["best"] is None else check_number(state_dict["best"], "best")
        counts = [check_count(state_dict[name], name) for name in FIELDS[2:]]
        self._scale, self._best = scale, best
        self._bad_steps, self._cooldown_left = counts

    def __repr__(self) -> str:
        names = [name for name in inspect.signature(ReduceOnPlateau).parameters if name != "lr"]
        return f"ReduceOnPlateau({self.lr!r}, {', '.join(f'{name}={getattr(self, name)!r}' for name in names)})"
