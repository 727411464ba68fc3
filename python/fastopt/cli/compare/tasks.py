"""What `fastopt compare` predicts, classes or amounts: the network's loss, the score, and the words that reports have for them."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np

from ...sklearn.network import Network

__all__ = ["CLASSIFICATION", "REGRESSION", "TASKS", "Task", "entropy"]

Array = np.ndarray[Any, Any]
Row = dict[str, Any]
Report = dict[str, Any]


class Task(ABC):
    """A kind of target.  Scores are the larger the better, at most 1."""

    name: ClassVar[str]
    output: ClassVar[str]
    """What `Network` calls the last layer, and with it the loss."""
    layers: ClassVar[str]
    score: ClassVar[str]
    """The end of the names that runs have for the score: `train_accuracy`, `test_accuracy`."""
    title: ClassVar[str]
    """The score, as reports name it."""
    measured: ClassVar[tuple[str, ...]]
    """What the mean and the spread of a rule's runs are of."""
    lowest: ClassVar[float]
    """The score below which a chart shows nothing."""
    factor: ClassVar[int]
    unit: ClassVar[str]
    """How charts write a score: multiplied by the factor, with the unit."""
    loss: ClassVar[str]
    about: ClassVar[str]
    """What the score is."""
    guess: ClassVar[str]
    """The guess whose loss others are measured by."""
    predicted: ClassVar[str]

    @abstractmethod
    def evaluate(self, network: Network, inputs: Array, labels: Array, unit: float) -> dict[str, float]:
        """The loss and the scores over some samples; `unit`: the target's standard deviation in training."""

    @abstractmethod
    def guess_loss(self, labels: Array) -> float:
        """The loss of the guess over training labels."""

    @abstractmethod
    def columns(self) -> tuple[str, ...]:
        """The headings of the scores in the terminal's table."""

    @abstractmethod
    def cells(self, row: Row) -> tuple[str, ...]:
        """A row's scores, for these columns."""

    @abstractmethod
    def shown(self, row: Row, name: str) -> str:
        """A score's mean and spread, for the page."""

    @abstractmethod
    def predicts(self, data: Report) -> str:
        """What is predicted, for the line on the data and for the page."""

    @abstractmethod
    def guessed(self, data: Report) -> str:
        """How a guess that knows no feature would score."""

    @abstractmethod
    def caption(self, spread: str) -> str:
        """What the score's columns are; `spread` says what stands behind the mean."""


class Classification(Task):
    """Classes: softmax, cross-entropy, accuracy."""

    name, output, layers = "classification", "softmax", "ReLU and softmax"
    score, title, lowest, factor, unit = "accuracy", "accuracy", 0.0, 100, "%"
    measured = ("train_loss", "test_loss", "train_accuracy", "test_accuracy")
    loss = "mean cross-entropy, nats"
    about = "Share of the test samples that are classified right."
    guess = "a guess by frequency"
    predicted = "Classes"

    def evaluate(self, network: Network, inputs: Array, labels: Array, unit: float) -> dict[str, float]:
        loss, accuracy = network.evaluate(inputs, labels)
        return {"loss": loss, "accuracy": accuracy}

    def guess_loss(self, labels: Array) -> float:
        return entropy(labels)

    def columns(self) -> tuple[str, ...]:
        return "train %", "test %"

    def cells(self, row: Row) -> tuple[str, ...]:
        return tuple(spread_of(row, f"{part}_accuracy", 100, 1, " ±") for part in ("train", "test"))

    def shown(self, row: Row, name: str) -> str:
        return f"{spread_of(row, name, 100, 1, ' ± ')}%"

    def predicts(self, data: Report) -> str:
        return f"{len(data['classes']):,} classes"

    def guessed(self, data: Report) -> str:
        return f"the most frequent class alone would score {100 * data['most_frequent']['test_share']:.1f}%"

    def caption(self, spread: str) -> str:
        return f"train %, test %: accuracy{spread}"


class Regression(Task):
    """Amounts, standardised by the training part: the squared error, R2, and RMSE in the target's unit."""

    name, output, layers = "regression", "identity", "ReLU and one linear output"
    score, title, lowest, factor, unit = "r2", "R2", -1.0, 1, ""
    measured = ("train_loss", "test_loss", "train_r2", "test_r2", "train_rmse", "test_rmse")
    loss = "half the mean squared error, in variances of the target"
    about = "R2: 1 less the mean squared error over the variance of the target, both of the test samples."
    guess = "a guess of the mean"
    predicted = "Amounts"

    def evaluate(self, network: Network, inputs: Array, labels: Array, unit: float) -> dict[str, float]:
        error = float(np.square(network.forward(inputs).astype(np.float64) - labels).mean())
        variance = float(labels.var(dtype=np.float64))
        r2 = 1 - error / variance if variance else math.nan  # equal targets have none
        return {"loss": error / 2, "r2": r2, "rmse": unit * math.sqrt(error)}

    def guess_loss(self, labels: Array) -> float:
        return float(labels.var(dtype=np.float64)) / 2

    def columns(self) -> tuple[str, ...]:
        return "train R2", "test R2", "RMSE"

    def cells(self, row: Row) -> tuple[str, ...]:
        return self.shown(row, "train_r2").partition(" ")[0], self.shown(row, "test_r2"), f"{row['mean']['test_rmse']:.3g}"

    def shown(self, row: Row, name: str) -> str:
        mean = row["mean"][name]
        return spread_of(row, name, 1, 3, " ±") if abs(mean) < 10 else f"{mean:.3g}"

    def predicts(self, data: Report) -> str:
        return f"amounts from {data['amounts']['least']:.4g} to {data['amounts']['most']:.4g}"

    def guessed(self, data: Report) -> str:
        r2 = round(data["mean"]["test_r2"], 2) + 0.0  # no -0.00
        return f"the mean alone would have R2 {r2:.2f} and RMSE {data['mean']['test_rmse']:.3g}"

    def caption(self, spread: str) -> str:
        return f"R2{spread}; RMSE of the test"


CLASSIFICATION, REGRESSION = Classification(), Regression()

TASKS: dict[str, Task] = {task.name: task for task in (CLASSIFICATION, REGRESSION)}
"""What a report calls a task, and what `--task` takes -> the task."""


def entropy(labels: Array) -> float:
    """The loss, in nats, of a guess that knows only how frequent each class is: -sum(p log p)."""
    counts = np.bincount(labels)
    share = counts[counts > 0] / len(labels)
    return float(-(share * np.log(share)).sum())


def spread_of(row: Row, name: str, factor: int, digits: int, sign: str) -> str:
    """Mean and spread: 97.6 ±0.3."""
    mean, spread = row["mean"][name], row["spread"][name]
    return f"{factor * mean:.{digits}f}" + ("" if spread is None else f"{sign}{factor * spread:.{digits}f}")
