"""The problem that `fastopt compare` solves: handwritten digits and a small network that tells them apart, in NumPy."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

__all__ = ["Data", "Network", "Seed", "hold_out", "load"]

Array = np.ndarray[Any, Any]
Seed = int | tuple[int, ...]
"""What NumPy's generators take; numbers in a tuple give other streams than each of them alone."""

LAYERS = (64, 128, 64, 10)
"""Pixels, two hidden layers, classes."""


@dataclass(frozen=True)
class Data:
    """Standardised images, shape (images, 64) float32, and their digits, shape (images,) int64."""

    train_images: Array
    train_digits: Array
    test_images: Array
    test_digits: Array


def load(seed: int) -> Data:
    """scikit-learn's 1,797 digits of 8x8 pixels; a quarter, the same share of each digit, is kept for the test."""
    from sklearn.datasets import load_digits

    images, digits = load_digits(return_X_y=True)
    train, test, train_digits, test_digits = split(images, digits, seed)
    mean, deviation = train.mean(axis=0), train.std(axis=0)
    deviation[deviation < 0.1] = 1  # pixels that are blank in all but a few images, out of 16 grey levels
    train, test = (((part - mean) / deviation).astype(np.float32) for part in (train, test))
    return Data(train, train_digits, test, test_digits)


def hold_out(data: Data, seed: int) -> Data:
    """The training images of `data` alone, a quarter of which stands in the test's place, for what is chosen before the test."""
    train, validation, train_digits, validation_digits = split(data.train_images, data.train_digits, seed)
    return Data(train, train_digits, validation, validation_digits)


def split(images: Array, digits: Array, seed: int) -> list[Array]:
    """Three quarters of the images, the others, and the digits of both."""
    from sklearn.model_selection import train_test_split

    parts: list[Array] = train_test_split(images, digits, test_size=0.25, random_state=seed, stratify=digits)
    return parts


class Network:
    """A multi-layer perceptron with ReLU and softmax; `params` maps names to float32 arrays, updated in place."""

    def __init__(self, seed: Seed) -> None:
        rng = np.random.default_rng(seed)
        self.params: dict[str, Array] = {}
        for i, (inputs, outputs) in enumerate(pairwise(LAYERS)):
            deviation = (2 / inputs) ** 0.5  # He et al., arXiv:1502.01852
            self.params[f"weight{i}"] = (deviation * rng.standard_normal((inputs, outputs))).astype(np.float32)
            self.params[f"bias{i}"] = np.zeros(outputs, np.float32)
        self.depth = len(LAYERS) - 1

    def forward(self, images: Array) -> list[Array]:
        """The inputs of each layer, then the logits, shape (images, 10)."""
        values = [images]
        for i in range(self.depth):
            values.append(values[-1] @ self.params[f"weight{i}"] + self.params[f"bias{i}"])
            if i + 1 < self.depth:
                np.maximum(values[-1], 0, out=values[-1])
        return values

    def gradients(self, images: Array, digits: Array) -> dict[str, Array]:
        """The gradient of the mean cross-entropy of a batch, named and shaped like `params`."""
        values = self.forward(images)
        delta = np.exp(log_softmax(values[-1]))
        delta[np.arange(len(digits)), digits] -= 1
        delta /= len(digits)
        grads: dict[str, Array] = {}
        for i in reversed(range(self.depth)):
            grads[f"weight{i}"] = values[i].T @ delta
            grads[f"bias{i}"] = delta.sum(axis=0)
            if i:
                delta = (delta @ self.params[f"weight{i}"].T) * (values[i] > 0)
        return grads

    def evaluate(self, images: Array, digits: Array) -> tuple[float, float]:
        """Mean cross-entropy in nats, and the share of images whose digit is right."""
        logits = self.forward(images)[-1]
        loss = -log_softmax(logits)[np.arange(len(digits)), digits].mean(dtype=np.float64)
        return float(loss), float((logits.argmax(axis=1) == digits).mean())


def log_softmax(logits: Array) -> Array:
    shifted: Array = logits - logits.max(axis=1, keepdims=True)
    shifted -= np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return shifted
