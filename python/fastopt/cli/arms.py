"""The arms of the benchmark: one rule's step as fastopt, as its floor, in NumPy, in float32 and in torch, each over its own arrays."""

from __future__ import annotations

import functools
import importlib
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any

import numpy as np

from ..optimizer import engine_of
from .arrays import Array, copy
from .numpy_steps import STEPS, Step
from .rows import Row

__all__ = ["Arm", "build", "import_torch", "memory_needed", "torch_implementation"]


@dataclass(frozen=True)
class Arm:
    """One way to take the step, over and over, on the same arrays."""

    name: str
    step: Step
    param: Array
    """What the step updates."""


def import_torch() -> ModuleType | None:
    """torch, or None where it is not installed."""
    try:
        return importlib.import_module("torch")
    except ModuleNotFoundError:
        return None


def memory_needed(row: Row, size: int, dtype: str) -> int:
    """Bytes that the arms of one row take, all together, with their temporaries; of a row with formats no more than that."""
    arrays = 4 * (1 + len(row.slots)) + 1 + 2 + 2  # four arms; the gradient; NumPy's scratch; torch's, at most Adadelta's
    return arrays * size * np.dtype(dtype).itemsize


def build(row: Row, grad: Array, torch: ModuleType | None, lr: float = 1e-6) -> list[Arm]:
    """The arms that this row has, fastopt and its floor first.

    All read the same `grad`, or its values in the row's formats, and start from parameters equal to it.  `lr` is tiny so
    that the values stay finite over any number of steps; the arithmetic does not take less time for it.
    """
    param, bound = row.arrays(grad)
    scratch = copy(param)
    fast = row.optimizer(param, lr=lr, grads=bound)
    floor = row.optimizer(scratch, lr=lr, grads=bound)  # its arrays are overwritten with what is not an update
    floor_step = engine_of(floor).plan.floor  # type: ignore[union-attr]  # the arrays are on the CPU
    arms = [Arm("fastopt", fast.step, param), Arm("floor", functools.partial(floor_step, floor.options.bound), scratch)]
    if row.formats:
        param = copy(grad)
        arms.append(Arm("float32", replace(row, formats=None).optimizer(param, lr=lr, grads=grad).step, param))
    elif row.rule.name in STEPS:
        values = {**row.rule.defaults, **row.arguments, "lr": lr}
        param = copy(grad)
        arms.append(Arm("numpy", STEPS[row.rule.name](param, grad, values), param))
    implementation = None if torch is None else torch_implementation(torch, row)
    if torch is not None and implementation is not None:
        param = copy(grad)
        arms.append(Arm("torch", torch_optimizer(torch, row, implementation, param, grad, lr).step, param))
    return arms


def torch_implementation(torch: ModuleType, row: Row) -> str | None:
    """The fastest of torch's implementations of the rule: "fused", else "foreach"; None where torch does not have it."""
    cls = getattr(torch.optim, row.rule.name, None)
    for name in () if cls is None else ("fused", "foreach"):
        try:
            torch_optimizer(torch, row, name, np.ones(1, np.float32), np.ones(1, np.float32), lr=0.0).step()
        except (TypeError, RuntimeError):  # no such argument, or not for this device
            continue
        return name
    return None


def torch_optimizer(torch: ModuleType, row: Row, implementation: str, param: Array, grad: Array, lr: float) -> Any:
    """torch's optimizer over the memory of NumPy's arrays."""
    tensor = torch.from_numpy(param).requires_grad_()
    tensor.grad = torch.from_numpy(grad)
    return getattr(torch.optim, row.rule.name)([tensor], lr=lr, **row.arguments, **{implementation: True})
