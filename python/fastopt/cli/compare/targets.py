"""The loss by which `fastopt compare` times the rules, unless the user names one, and when each run reached it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

__all__ = ["CAP", "SHARE", "choose_target", "lowest", "reached", "time_to_target"]

Array = np.ndarray[Any, Any]

SHARE = 0.05
"""A part of the loss of a guess, by the frequency of classes or of the mean: at a twentieth of it, nearly all is learned."""

CAP = 0.9
"""A part of the same loss.  A rule above it has learned nothing yet, and the time to get there would say nothing about learning."""


def sustained(losses: Sequence[float]) -> Array:
    """For each look but the first and the last, the least target that holds there and at the next look.

    The first look is before any step.  Mini-batches make the loss jump, and after a single low look a run may not be there yet.
    """
    looks = np.asarray(losses, np.float64)[1:]
    return np.maximum(looks[:-1], looks[1:])  # NaN if either is


def reached(losses: Sequence[float], target: float) -> int | None:
    """The first look after a step at which the loss is at most `target` and stays so at the next look; None if no look is."""
    below = np.flatnonzero(sustained(losses) <= target)
    return 1 + int(below[0]) if len(below) else None


def lowest(losses: Sequence[float]) -> float:
    """The least target that the run reaches; infinite if it diverged at once."""
    held = sustained(losses)
    return float(np.min(held[np.isfinite(held)], initial=np.inf))


def choose_target(runs: Sequence[Sequence[Sequence[float]]], guess: float) -> tuple[float, str]:
    """The loss by which all rules are timed, and why; `runs`: for each rule the losses of each run.

    "share": `SHARE` of `guess`, which depends on the data alone.  "reached": if less than three quarters of the rules reach the
    share in all runs, what three quarters of them reach (all but the worst, if they are few), rounded up to two digits.  Thus a
    problem that is hard for all rules still tells them apart.  "cap": `CAP` of `guess`, the most that a target may be.
    """
    worst = sorted(max(lowest(losses) for losses in rule) for rule in runs)
    finite = [loss for loss in worst if np.isfinite(loss)]
    many = max(1, min(-(-3 * len(worst) // 4), len(worst) - 1))  # one bad rule sets no target
    most = finite[min(many, len(finite)) - 1] if finite else 0.0
    if most <= SHARE * guess:
        return SHARE * guess, "share"
    unit = 10.0 ** (np.floor(np.log10(most)) - 1)
    target = float(np.ceil(most / unit) * unit)
    return (CAP * guess, "cap") if target > CAP * guess else (target, "reached")


def time_to_target(report: dict[str, Any], wanted: float | None, guess: float) -> None:
    """Adds the loss by which the rules are timed to the report, and to each row and run when it was reached.

    A run's time is its steps times the median time of its iterations.  A row has the medians over the runs that reached the loss,
    their sample standard deviation, and their number.  `guess`: the loss of the guess.
    """
    rows = report["rows"]
    losses = [[run["curves"]["loss"]["train_loss"] for run in row["runs"]] for row in rows]
    if wanted is not None:
        target, chosen = wanted, "given"
    elif rows:
        target, chosen = choose_target(losses, guess)
    else:
        target, chosen = SHARE * guess, "share"
    report["target_loss"] = {"loss": target, "chosen": chosen, "guess": guess}
    for row in rows:
        there = []
        for run in row["runs"]:
            loss = run["curves"]["loss"]
            look = reached(loss["train_loss"], target)
            run["steps_to_target"] = None if look is None else loss["step"][look]
            run["seconds_to_target"] = None if look is None else loss["seconds"][look]
            if look is not None:
                there.append((loss["step"][look], loss["seconds"][look]))
        steps, seconds = np.median(there, axis=0).tolist() if there else (None, None)
        spread = np.std(there, axis=0, ddof=1).tolist() if len(there) > 1 else (None, None)
        row["to_target"] = {
            "reached": len(there),
            "steps": steps,
            "seconds": seconds,
            "spread": dict(zip(("steps", "seconds"), spread, strict=True)),
        }
