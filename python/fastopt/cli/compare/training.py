"""One training run of `fastopt compare`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np

from ..._minimization.batches import near_even
from ...sklearn.network import Network
from ..rows import Row
from .data import Data

__all__ = ["LOOKS", "WATCHED", "Seed", "Settings", "train"]

Array = np.ndarray[Any, Any]
Seed = int | tuple[int, ...]
"""What NumPy's generators take; a tuple of numbers gives another stream than each of the numbers."""

LOOKS = 10
"""Looks at the training loss in an epoch that has as many steps: the steps to a loss are known to a tenth of an epoch."""

WATCHED = 1000
"""Training samples whose loss a look computes, at most: every n-th one, the same for all runs."""


@dataclass(frozen=True)
class Settings:
    """The settings of all runs of a comparison."""

    epochs: int
    batch_size: int
    hidden: tuple[int, ...]
    """Units of each hidden layer."""

    def sizes(self, data: Data) -> tuple[int, ...]:
        """Features, hidden layers, classes or the one output of amounts."""
        return (data.train_inputs.shape[1], *self.hidden, data.outputs)

    def looks(self, data: Data) -> int:
        """Looks at the training loss in an epoch: one after each step, if the epoch has few."""
        return min(LOOKS, len(near_even(len(data.train_labels), self.batch_size)) - 1)


@np.errstate(all="ignore")  # a learning rate may be too large: the losses tell
def train(
    row: Row, lr: float, data: Data, settings: Settings, seed: Seed, tick: Callable[[], object], *, looks: int = LOOKS
) -> dict[str, Any]:
    """One run, as `--json` writes it; the seed gives every rule the same weights and the same batches.

    `tick` is called after each epoch.  With `looks` 0 nothing is evaluated before the end.
    """
    network = Network(settings.sizes(data), output=data.task.output, seed=seed)
    optimizer = row.optimizer(network.params, lr=lr)
    rng = np.random.default_rng(seed)
    samples = len(data.train_labels)
    edges = near_even(samples, settings.batch_size)
    batches = len(edges) - 1
    looked = {-(-i * batches // looks) for i in range(1, looks + 1)} if looks else set()
    inputs, labels = np.empty_like(data.train_inputs), np.empty_like(data.train_labels)
    step_seconds, iteration_seconds = np.empty((2, settings.epochs * batches))
    curves = Curves(network, data)
    if looks:
        curves.look(0)
        curves.test(0)
    steps = 0
    for _ in range(settings.epochs):
        order = rng.permutation(samples)
        np.take(data.train_inputs, order, axis=0, out=inputs)
        np.take(data.train_labels, order, axis=0, out=labels)
        for i in range(batches):
            begin = perf_counter()
            batch = slice(edges[i], edges[i + 1])
            grads = network.gradients(inputs[batch], labels[batch])
            before = perf_counter()
            optimizer.step(grads)
            after = perf_counter()
            step_seconds[steps], iteration_seconds[steps] = after - before, after - begin
            steps += 1
            if i + 1 in looked:
                curves.look(steps)
        if looks:
            curves.test(steps)
        tick()
    # The median: whatever else the machine does lengthens some iterations.
    iteration = float(np.median(iteration_seconds))
    curves.loss["seconds"] = [step * iteration for step in curves.loss["step"]]
    parts = {"train": (data.train_inputs, data.train_labels), "test": (data.test_inputs, data.test_labels)}
    found = {f"{part}_{name}": value for part, given in parts.items() for name, value in data.evaluate(network, *given).items()}
    return {
        "seed": seed,
        "steps": steps,
        "seconds": float(iteration_seconds.sum()),
        "step_seconds": float(np.median(step_seconds)),
        "iteration_seconds": iteration,
        **{name: found[name] for name in data.task.measured},
        "curves": {"loss": curves.loss, "test": curves.tested},
    }


class Curves:
    """The course of a run: the loss over the watched training samples, loss and score over the test samples."""

    def __init__(self, network: Network, data: Data) -> None:
        self.network, self.data = network, data
        samples = len(data.train_labels)
        chosen = np.arange(min(samples, WATCHED)) * samples // min(samples, WATCHED)  # a file may be in the order of its classes
        self.watched = data.train_inputs[chosen], data.train_labels[chosen]
        self.loss: dict[str, list[float]] = {"step": [], "seconds": [], "train_loss": []}
        self.tested: dict[str, list[float]] = {"step": [], "test_loss": [], f"test_{data.task.score}": []}

    def look(self, step: int) -> None:
        self.loss["step"].append(step)
        self.loss["train_loss"].append(self.data.evaluate(self.network, *self.watched)["loss"])

    def test(self, step: int) -> None:
        found = self.data.evaluate(self.network, self.data.test_inputs, self.data.test_labels)
        for values, value in zip(self.tested.values(), (step, found["loss"], found[self.data.task.score]), strict=True):
            values.append(value)
