"""When the training runs of `fastopt compare` reached a loss, and which loss that is unless the user names one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

__all__ = ["CAP", "SHARE", "choose_target", "entropy", "lowest", "reached", "time_to_target"]

Array = np.ndarray[Any, Any]

SHARE = 0.05
"""Of the loss of a guess by frequency: where that is a twentieth, nearly all training samples are told apart."""

CAP = 0.9
"""Of the same loss: who is above that has learned nothing yet, so that no time to get there is one of learning."""


def sustained(losses: Sequence[float]) -> Array:
    """At each look but the first and the last: the least target that holds there and at the next look.

    The first look is before any step.  Mini-batches make the loss jump, and a single low look would count for a run that is not
    there yet.
    """
    looks = np.asarray(losses, np.float64)[1:]
    return np.maximum(looks[:-1], looks[1:])  # NaN where either is


def reached(losses: Sequence[float], target: float) -> int | None:
    """The first look after a step at which the loss is at most `target` and stays so at the next one; None where there is none."""
    below = np.flatnonzero(sustained(losses) <= target)
    return 1 + int(below[0]) if len(below) else None


def lowest(losses: Sequence[float]) -> float:
    """The least target that the run reaches; infinite for one that diverged at once."""
    held = sustained(losses)
    return float(np.min(held[np.isfinite(held)], initial=np.inf))


def choose_target(runs: Sequence[Sequence[Sequence[float]]], guess: float) -> tuple[float, str]:
    """The loss by which the rules are timed, the same for all of them, and why; `runs`: of each rule the losses of each run.

    "share": `SHARE` of `guess`, which depends on the data alone.  "reached": where less than three quarters of the rules reach
    that in all runs, what three quarters of them do reach, all but the worst where they are few, rounded up to two digits, so that
    a problem that is hard for all still tells the rules apart.  "cap": at most `CAP` of `guess`, whoever reaches that.
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


def entropy(labels: Array) -> float:
    """The loss, in nats, of one who knows only how frequent each class is: -sum(p log p)."""
    counts = np.bincount(labels)
    share = counts[counts > 0] / len(labels)
    return float(-(share * np.log(share)).sum())


def time_to_target(report: dict[str, Any], wanted: float | None, guess: float) -> None:
    """Adds to the report the loss by which the rules are timed, and to each row and run when it was reached.

    A run's time is its steps times the median time of its iterations.  A row has the medians over those of its runs that reached
    the loss, their sample standard deviation, and how many they are.  `guess`: the loss of a guess by frequency.
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
