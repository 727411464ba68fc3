"""What a program does between two steps.  What is left running there decides on how fast the step is."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable

import numpy as np

from ..optax_steps import import_optax
from ..place import Step, import_torch

__all__ = ["BEFORE"]

WIDTH, SAMPLES = 512, 256
"""A network's layers, and a mini-batch: some milliseconds of work on all processors."""

SLEEP = 20e-3
"""Seconds, after which every library's threads sleep."""


def nothing() -> Step:
    return lambda: None


def torch_passes() -> Step | None:
    """A forward and a backward pass, after which torch's threads still spin."""
    torch = import_torch()
    if torch is None:
        return None
    layers = [torch.nn.Linear(WIDTH, WIDTH), torch.nn.ReLU(), torch.nn.Linear(WIDTH, WIDTH), torch.nn.ReLU()]
    network = torch.nn.Sequential(*layers, torch.nn.Linear(WIDTH, 10))
    samples = torch.randn(SAMPLES, WIDTH)

    def passes() -> None:
        network.zero_grad()
        network(samples).square().mean().backward()

    return passes


def numpy_product() -> Step:
    """A product of matrices by NumPy, whose OpenBLAS has threads of its own."""
    matrix = np.random.default_rng(0).random((WIDTH, WIDTH), np.float32)
    return lambda: matrix @ matrix


def jax_function() -> Step | None:
    """The gradient of a network, jitted by JAX."""
    found = import_optax("cpu")
    if found is None:
        return None
    jax, jnp = found.jax, importlib.import_module("jax.numpy")
    weights = [jnp.full((WIDTH, WIDTH), 1e-3) for _ in range(2)]
    samples = jnp.ones((SAMPLES, WIDTH))
    gradient = jax.jit(jax.grad(lambda weights: jnp.square(jnp.tanh(samples @ weights[0]) @ weights[1]).mean()))
    return lambda: jax.block_until_ready(gradient(weights))


def sleep() -> Step:
    return lambda: time.sleep(SLEEP)


BEFORE: dict[str, Callable[[], Step | None]] = {
    "nothing": nothing,
    "torch passes": torch_passes,
    "NumPy product": numpy_product,
    "JAX gradient": jax_function,
    "20 ms of sleep": sleep,
}
"""What stands in the table -> what makes it; None if the package is missing."""
