"""Which framework a value comes from, by the modules of its classes: nothing is imported to know it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from types import GeneratorType
from typing import Any

__all__ = ["ROOTS", "family", "is_numbers", "is_torch_model", "values_of"]

ROOTS = {
    "cupy": "CuPy",
    "jax": "JAX",
    "jaxlib": "JAX",
    "keras": "Keras",
    "pandas": "pandas",
    "scipy": "SciPy",
    "tensorflow": "TensorFlow",
    "tf_keras": "Keras",
    "torch": "torch",
}
"""Packages and the names of their frameworks."""


def family(value: Any) -> str | None:
    """The framework of a value's class, or of a class that it derives from."""
    roots = (cls.__module__.partition(".")[0] for cls in type(value).__mro__)
    return next((ROOTS[root] for root in roots if root in ROOTS), None)


def is_torch_model(value: Any) -> bool:
    """Whether a value is a torch module, or what its `parameters()` and `named_parameters()` return, used up or not."""
    if isinstance(value, GeneratorType):
        return value.gi_code.co_filename.endswith(os.path.join("torch", "nn", "modules", "module.py"))
    return any(cls.__module__ == "torch.nn.modules.module" for cls in type(value).__mro__)


def is_numbers(value: Any) -> bool:
    """Whether a value is a number, or lists of nothing but numbers."""
    if isinstance(value, (list, tuple)):
        return bool(value) and all(map(is_numbers, value))
    return isinstance(value, (int, float))


def values_of(container: Any) -> Iterable[Any]:
    """The entries of a list or dict."""
    return container.values() if isinstance(container, Mapping) else container
