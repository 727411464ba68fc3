"""One training run of `fastopt compare`."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import Any

import numpy as np

from .digits import Data, Network, Seed
from .rows import Row

__all__ = ["train"]


@np.errstate(all="ignore")  # a learning rate may be too large: the losses tell
def train(
    row: Row, lr: float, data: Data, epochs: int, batch_size: int, seed: Seed, tick: Callable[[], object]
) -> dict[str, Any]:
    """One run, as `--json` writes it; the seed gives every rule the same weights and the same batches.

    `tick` is called after each epoch.
    """
    network = Network(seed)
    optimizer = row.optimizer(network.params, lr=lr)
    rng = np.random.default_rng(seed)
    points = [evaluate(network, data)]
    total = in_step = 0.0
    for _ in range(epochs):
        order = rng.permutation(len(data.train_digits))
        begin = perf_counter()
        for start in range(0, len(order), batch_size):
            batch = order[start : start + batch_size]
            grads = network.gradients(data.train_images[batch], data.train_digits[batch])
            before = perf_counter()
            optimizer.step(grads)
            in_step += perf_counter() - before
        total += perf_counter() - begin
        points.append(evaluate(network, data))
        tick()
    return {
        "seed": seed,
        "steps": optimizer.steps,
        "seconds": total,
        "step_seconds": in_step / optimizer.steps,
        **points[-1],
        "curves": {name: [point[name] for point in points] for name in points[0]},
    }


def evaluate(network: Network, data: Data) -> dict[str, float]:
    """Losses (mean cross-entropy, nats) and accuracies (0 to 1) over all images."""
    train_loss, train_accuracy = network.evaluate(data.train_images, data.train_digits)
    test_loss, test_accuracy = network.evaluate(data.test_images, data.test_digits)
    return {
        "train_loss": train_loss,
        "test_loss": test_loss,
        "train_accuracy": train_accuracy,
        "test_accuracy": test_accuracy,
    }
