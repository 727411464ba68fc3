"""When a training run of `fastopt compare` reached a loss, and which loss that is unless the user names one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

__all__ = ["SHARE", "default_target", "entropy", "lowest", "reached"]

Array = np.ndarray[Any, Any]

SHARE = 0.05
"""Of the loss of a guess by frequency: where that is a twentieth, nearly all training samples are told apart."""


def sustained(losses: Sequence[float]) -> Array:
    """At each look but the last: the least target that holds there and at the next look.

    Mini-batches make the loss jump, and a single low look would count for a run that is not there yet.
    """
    looks = np.asarray(losses, np.float64)
    return np.maximum(looks[:-1], looks[1:])  # NaN where either is


def reached(losses: Sequence[float], target: float) -> int | None:
    """The first look at which the loss is at most `target` and stays so at the next one; None where there is none."""
    below = np.flatnonzero(sustained(losses) <= target)
    return int(below[0]) if len(below) else None


def lowest(losses: Sequence[float]) -> float:
    """The least target that the run reaches; infinite for one that diverged at once."""
    held = sustained(losses)
    return float(np.min(held[np.isfinite(held)], initial=np.inf))


def default_target(runs: Sequence[Sequence[Sequence[float]]], guess: float) -> float:
    """The loss by which the rules are timed, the same for all of them; `runs`: of each rule the losses of each run.

    `SHARE` of `guess`, which depends on the data alone; where less than three quarters of the rules reach that in all runs, what
    three quarters of them do reach, rounded up to two digits, so that a problem that is hard for all still tells the rules apart.
    """
    worst = sorted(max(lowest(losses) for losses in rule) for rule in runs)
    most = worst[-(-3 * len(worst) // 4) - 1]
    if not np.isfinite(most):  # more than a quarter of the rules diverged
        most = 0.0
    if most <= SHARE * guess:
        return SHARE * guess
    unit = 10.0 ** (np.floor(np.log10(most)) - 1)
    return float(np.ceil(most / unit) * unit)


def entropy(labels: Array) -> float:
    """The loss, in nats, of one who knows only how frequent each class is: -sum(p log p)."""
    counts = np.bincount(labels)
    share = counts[counts > 0] / len(labels)
    return float(-(share * np.log(share)).sum())
