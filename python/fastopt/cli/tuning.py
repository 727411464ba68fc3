"""How `fastopt compare` chooses a learning rate: by the same search, on the same images, for every rule."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import fmean

from .digits import Data, hold_out
from .rows import Row
from .training import train

__all__ = ["RUNS", "TRIALS", "Trial", "best", "search", "tune"]

DECADES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""What suits the rules lies among them; where an end is the best of them, the search goes past it."""

TRIALS = len(DECADES) + 4

RUNS = 2
"""Runs of each trial: at learning rates close to divergence a single one may have been lucky."""


@dataclass(frozen=True)
class Trial:
    """A learning rate and the mean validation loss of its runs."""

    lr: float
    loss: float


def tune(row: Row, data: Data, epochs: int, batch_size: int, seed: int, tick: Callable[[], object]) -> list[Trial]:
    """The trials of one row, by ascending learning rate.

    They see the training images of `data` alone, a part of them held out for validation, and their weights and batches
    are those of no reported run.
    """
    images = hold_out(data, seed)

    def loss(lr: float) -> float:
        runs = [train(row, lr, images, epochs, batch_size, (seed, 1 + i), tick) for i in range(RUNS)]
        return fmean(run["test_loss"] for run in runs)

    return search(loss)


def search(loss: Callable[[float], float]) -> list[Trial]:
    """Trials of the decades, then of 2 and 5 times powers of ten on either side of the best, by ascending learning rate."""
    trials = [Trial(lr, loss(lr)) for lr in DECADES]
    middle = best(trials).lr
    trials += [Trial(lr, loss(lr)) for lr in (middle / 5, middle / 2, 2 * middle, 5 * middle)]
    return sorted(trials, key=lambda trial: trial.lr)


def best(trials: list[Trial]) -> Trial:
    """The one of the least loss; one that diverged loses to all others."""
    return min(trials, key=lambda trial: trial.loss if math.isfinite(trial.loss) else math.inf)
