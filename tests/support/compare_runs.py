"""Shared by the tests of `fastopt compare`: small data, and runs and reports that nothing was trained for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastopt.cli import compare
from fastopt.cli.compare import tuning
from fastopt.cli.compare.data import load
from fastopt.cli.compare.samples import DataError
from fastopt.cli.compare.tasks import CLASSIFICATION

TINY = ("--epochs", "1", "--seeds", "1", "--rules", "adamw", "--hidden", "4")
"""Arguments of a run that takes no time."""


def samples(rng: np.random.Generator, count: int = 60, classes: int = 3) -> tuple[Any, Any]:
    """Inputs of 4 features, and labels that follow from them."""
    labels = np.arange(count) % classes
    return rng.standard_normal((count, 4)) + labels[:, None], labels


def npz(path: Path, **arrays: Any) -> Path:
    np.savez(path, **arrays)
    return path


def refused(path: Path | str, target: str | None = None) -> str:
    """What is said of a file that is not taken: one line."""
    with pytest.raises(DataError) as caught:
        load(str(path), target=target)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def a_run(value: float, losses: list[float] | None = None) -> dict[str, Any]:
    """A run that was not trained, with `value` for every number."""
    losses = [value] * 3 if losses is None else losses
    looks = list(range(len(losses)))
    curves = {
        "loss": {"step": [4 * i for i in looks], "seconds": [0.5 * i for i in looks], "train_loss": losses},
        "test": {"step": [0, 8], "test_loss": [value] * 2, "test_accuracy": [value] * 2},
    }
    return dict.fromkeys((*CLASSIFICATION.measured, *compare.TIMED), value) | {"steps": 8, "curves": curves}


def a_report(*rules: list[dict[str, Any]]) -> dict[str, Any]:
    """The results of `compare.run` after training, from runs that were not trained."""
    rows = [
        {
            "rule": f"Rule {i}",
            "arguments": {"lr": 0.1},
            "lr_at_an_end": False,
            "trials": [],
            **compare.summary(CLASSIFICATION, runs),
            "runs": runs,
        }
        for i, runs in enumerate(rules)
    ]
    data: dict[str, Any] = {
        "name": "a.csv",
        "task": "classification",
        "target": None,
        "features": 2,
        "classes": ["0", "1"],
        "train": 30,
        "test": 10,
    }
    data |= {"most_frequent": {"class": "0", "test_share": 0.5}}
    seeds = list(range(len(rules[0]) if rules else 1))
    settings = {"epochs": 1, "batch_size": 32, "looks": 10, "seeds": seeds, "trials": tuning.TRIALS, "runs_of_a_trial": 5}
    return {"data": data, **settings, "rows": rows}
