"""Trains `fastopt compare`'s network on handwritten digits in every storage format: accuracy over five seeds, mean and spread.

Run `python bench/digits_formats.py` with `.[cli]` and ml_dtypes installed.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

import ml_dtypes
import numpy as np

import fastopt
from fastopt.cli.compare.data import Data, load
from fastopt.sklearn.network import Network

RULES: dict[str, tuple[str, dict[str, Any]]] = {
    "SGD momentum": ("SGD", {"lr": 0.03, "momentum": 0.9}),
    "Adam": ("Adam", {"lr": 2e-3}),
    "AdamW": ("AdamW", {"lr": 2e-3}),
    "AdamW amsgrad": ("AdamW", {"lr": 2e-3, "amsgrad": True}),
    "Adamax": ("Adamax", {"lr": 4e-3}),
    "NAdam": ("NAdam", {"lr": 2e-3}),
    "RAdam": ("RAdam", {"lr": 2e-3}),
    "RMSprop": ("RMSprop", {"lr": 1e-3}),
    "RMSprop centered": ("RMSprop", {"lr": 1e-3, "centered": True, "momentum": 0.5}),
    "Adagrad": ("Adagrad", {"lr": 2e-2}),
    "Adadelta": ("Adadelta", {"lr": 1.0}),
    "Lion": ("Lion", {"lr": 3e-4}),
}
FORMATS: dict[str, tuple[Any, dict[str, Any]]] = {
    "float32": (np.float32, {}),
    "bfloat16 states": (np.float32, {"state_dtype": "bfloat16"}),
    "8-bit states": (np.float32, {"state_dtype": "8bit"}),
    "bfloat16, 24-bit masters, 8-bit states": (ml_dtypes.bfloat16, {"master": "24bit", "state_dtype": "8bit"}),
    "bfloat16, 32-bit masters, bfloat16 states": (ml_dtypes.bfloat16, {"master": "32bit", "state_dtype": "bfloat16"}),
    "bfloat16, float32 masters": (ml_dtypes.bfloat16, {"master": "float32"}),
    "bfloat16, stochastic, 8-bit states": (ml_dtypes.bfloat16, {"master": "stochastic", "state_dtype": "8bit"}),
    "float16, 24-bit masters, 8-bit states": (np.float16, {"master": "24bit", "state_dtype": "8bit"}),
    "float16, 32-bit masters, 8-bit states": (np.float16, {"master": "32bit", "state_dtype": "8bit"}),
    "bfloat16, no master": (ml_dtypes.bfloat16, {}),
}
LAYERS = (64, 128, 64, 10)
"""Pixels, two hidden layers, classes: the network of `fastopt compare`."""


def train(rule: str, dtype: Any, arguments: dict[str, Any], data: Data, seed: int, epochs: int) -> float:
    """The share of test images with the right digit after `epochs` in batches of 32."""
    network = Network(LAYERS, seed=seed)
    params = {name: array.astype(dtype) for name, array in network.params.items()}
    optimizer = getattr(fastopt, rule)(params, seed=seed, **arguments)
    rng = np.random.default_rng(seed)
    for _ in range(epochs):
        order = rng.permutation(len(data.train_labels))
        for start in range(0, len(order), 32):
            for name, array in params.items():
                network.params[name][...] = array
            batch = order[start : start + 32]
            grads = network.gradients(data.train_inputs[batch], data.train_labels[batch])
            optimizer.step({name: grad.astype(dtype) for name, grad in grads.items()})
    for name, array in params.items():
        network.params[name][...] = array
    return network.evaluate(data.test_inputs, data.test_labels)[1]


def accuracies(seeds: int, epochs: int) -> Iterator[tuple[str, str, list[float]]]:
    """Rule, format, and an accuracy for each seed."""
    for label, (rule, arguments) in RULES.items():
        for name, (dtype, format_arguments) in FORMATS.items():
            results = [train(rule, dtype, arguments | format_arguments, load(seed=seed), seed, epochs) for seed in range(seeds)]
            yield label, name, results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5, help="two or more")
    parser.add_argument("--epochs", type=int, default=10)
    options = parser.parse_args()
    print(f"test accuracy in percent, mean and standard deviation of {options.seeds} seeds, {options.epochs} epochs")
    for rule, name, results in accuracies(options.seeds, options.epochs):
        percent = 100 * np.array(results)
        print(f"{rule:18} {name:44} {percent.mean():6.2f} {percent.std(ddof=1):5.2f}", flush=True)


if __name__ == "__main__":
    main()
