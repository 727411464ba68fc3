"""How `fastopt compare` chooses a learning rate: by the same search, on the same samples, for every rule."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..rows import Row
from .data import Data
from .training import Settings, train

__all__ = ["TRIALS", "Trial", "at_an_end", "best", "runs_of_a_trial", "search", "tune"]

DECADES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""The rates that suit the rules lie among these; if an end is the best of them, the search goes past it."""

TRIALS = len(DECADES) + 2

FEW = 500
"""Training samples below which the held-out part is so small that one run may be lucky; and runs take little time."""


@dataclass(frozen=True)
class Trial:
    """A learning rate and the validation losses that its runs ended with."""

    lr: float
    losses: tuple[float, ...]

    @property
    def loss(self) -> float:
        """The worst of the losses, infinite if a run diverged: a rate must do more than be lucky once."""
        return max(loss if math.isfinite(loss) else math.inf for loss in self.losses)


def runs_of_a_trial(data: Data) -> int:
    """How many runs judge a learning rate, the same number for every rule."""
    return 2 if len(data.train_labels) >= FEW else 5


def tune(row: Row, held_out: Data, settings: Settings, seed: int, runs: int, tick: Callable[[], object]) -> list[Trial]:
    """The trials of one row, by ascending learning rate.

    Each has `runs` runs of as many epochs as a reported run, since some rates fail late.  `held_out`: what `hold_out` gave, so
    that trials see training samples alone, some of them for validation.  Weights and batches are those of no reported run, and the
    same for all rates and rules.
    """

    def losses(lr: float) -> list[float]:
        return [float(train(row, lr, held_out, settings, (seed, i), tick, looks=0)["test_loss"]) for i in range(1, runs + 1)]

    return search(losses)


def search(losses: Callable[[float], Sequence[float]]) -> list[Trial]:
    """Trials of the decades, then of a third and three times the best, by ascending learning rate."""
    trials = [Trial(lr, tuple(losses(lr))) for lr in DECADES]
    middle = best(trials).lr
    trials += [Trial(lr, tuple(losses(lr))) for lr in (middle / 3, 3 * middle)]
    return sorted(trials, key=lambda trial: trial.lr)


def best(trials: list[Trial]) -> Trial:
    """The trial with the least loss; a trial that diverged loses to all others."""
    return min(trials, key=lambda trial: trial.loss)


def at_an_end(trials: list[Trial]) -> bool:
    """Whether the best rate is the least or the largest that was tried, so that a rate beyond may be better."""
    return best(trials).lr in (trials[0].lr, trials[-1].lr)
