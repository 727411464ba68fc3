"""Keras, JAX and optax as tests compare with them: Keras on torch, numbers in float64."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

# On JAX Keras has pi in float32, on NumPy everything.  On TensorFlow Keras rounds betas to float32 even in float64.
os.environ["KERAS_BACKEND"] = "torch"

import jax
import keras
import optax

__all__ = ["in_float64", "jax", "keras", "optax"]


@contextlib.contextmanager
def in_float64() -> Iterator[None]:
    """Sets Keras and JAX to float64: Keras otherwise keeps Python numbers in float32, and JAX everything."""
    before = keras.config.floatx(), jax.config.jax_enable_x64
    keras.config.set_floatx("float64")
    jax.config.update("jax_enable_x64", True)
    yield
    keras.config.set_floatx(before[0])
    jax.config.update("jax_enable_x64", before[1])
