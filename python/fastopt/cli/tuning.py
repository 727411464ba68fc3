"""How `fastopt compare` chooses a learning rate: by the same search, on the same samples, for every rule."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from .datasets import Data
from .rows import Row
from .training import Settings, train

__all__ = ["TRIALS", "Trial", "best", "search", "tune"]

DECADES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""What suits the rules lies among them; where an end is the best of them, the search goes past it."""

TRIALS = len(DECADES) + 2


@dataclass(frozen=True)
class Trial:
    """A learning rate and the validation loss that it led to."""

    lr: float
    loss: float


def tune(row: Row, held_out: Data, settings: Settings, seed: int, tick: Callable[[], object]) -> list[Trial]:
    """The trials of one row, by ascending learning rate; of as many epochs as a reported run, since some rates fail late.

    `held_out`: what `hold_out` gave, so that they see training samples alone, a part of them for validation.  Weights and batches
    are those of no reported run.
    """
    return search(lambda lr: float(train(row, lr, held_out, settings, (seed, 1), tick, looks=0)["test_loss"]))


def search(loss: Callable[[float], float]) -> list[Trial]:
    """Trials of the decades, then of a third and three times the best, by ascending learning rate."""
    trials = [Trial(lr, loss(lr)) for lr in DECADES]
    middle = best(trials).lr
    trials += [Trial(lr, loss(lr)) for lr in (middle / 3, 3 * middle)]
    return sorted(trials, key=lambda trial: trial.lr)


def best(trials: list[Trial]) -> Trial:
    """The one of the least loss; one that diverged loses to all others."""
    return min(trials, key=lambda trial: trial.loss if math.isfinite(trial.loss) else math.inf)
