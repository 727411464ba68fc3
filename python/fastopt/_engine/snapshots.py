"""Snapshots of an engine: what `Optimizer.state_dict` gives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .._arrays import buffers
from .engine import Engine
from .snapshot_formats import snapshot_of_formats
from .tensors import Tensor

__all__ = ["copied", "small_dtype", "snapshot"]


def snapshot(engine: Engine) -> dict[str, Any]:
    """`Optimizer.state_dict`."""
    return {
        "rule": engine.rule.name,
        "steps": engine.plan.completed,
        "skipped_steps": engine.plan.skipped,
        "seed": engine.plan.seed,
        "state_dtype": engine.formats.state_dtype,
        "master": engine.formats.master,
        "state": [snapshot_of(engine, i) for i in range(len(engine.tensors))],
        "groups": [{**group.hyperparameters(), **group.schedule_state} for group in engine.groups],
        "options": dict(engine.options),
        **snapshot_of_formats(engine),
    }


def snapshot_of(engine: Engine, index: int) -> dict[str, Any]:
    """One tensor's entry."""
    tensor = engine.tensors[index]
    steps, running = engine.plan.progress_of(index)
    return {
        **({"name": tensor.key} if tensor.key is not None else {}),
        "step": steps,
        **small_dtype(tensor),
        **dict(zip(engine.rule.carried, map(np.float64, running), strict=True)),
        **{key: copied(value) for key, value in tensor.snapshot().items()},
    }


def small_dtype(tensor: Tensor) -> dict[str, str]:
    """The dtype of a 16-bit parameter, which its state and its master do not tell."""
    return {"dtype": tensor.dtype} if tensor.format is not None else {}


def copied(value: Any) -> Any:
    """A copy on the host."""
    if isinstance(value, Mapping):
        return {name: copied(array) for name, array in value.items()}
    host = buffers.to_host(value)
    return host if host is not value else value.copy()
