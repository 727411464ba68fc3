"""The arms of the benchmark: one rule's step as fastopt, as its floor, in NumPy and in torch, each over arrays of its own."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from ..buffers import LINE
from .rows import Row

__all__ = ["Arm", "Array", "aligned", "build", "import_torch", "memory_needed", "torch_implementation"]

Array = np.ndarray[Any, Any]
Step = Callable[[], object]


@dataclass(frozen=True)
class Arm:
    """One way to take the step, over and over, on the same arrays."""

    name: str
    step: Step
    param: Array
    """What the step updates."""


def aligned(size: int, dtype: Any) -> Array:
    """An uninitialised array that starts on a cache line, so that runs do not differ by where the arrays happen to lie."""
    dtype = np.dtype(dtype)
    memory = np.empty(size * dtype.itemsize + LINE, np.uint8)
    start = -memory.__array_interface__["data"][0] % LINE
    array: Array = memory[start : start + size * dtype.itemsize].view(dtype)
    return array


def copy(array: Array) -> Array:
    fresh = aligned(array.size, array.dtype)
    np.copyto(fresh, array)
    return fresh


def import_torch() -> ModuleType | None:
    """torch, or None where it is not installed."""
    try:
        return importlib.import_module("torch")
    except ModuleNotFoundError:
        return None


def memory_needed(row: Row, size: int, dtype: str) -> int:
    """Bytes that the arms of one row take, all together, with room for torch's temporaries."""
    arrays = 4 * (1 + len(row.slots)) + 1 + 1 + 3  # four arms; the gradient; NumPy's scratch; torch's foreach
    return arrays * size * np.dtype(dtype).itemsize


def build(row: Row, grad: Array, torch: ModuleType | None, lr: float = 1e-6) -> list[Arm]:
    """The arms that this row has, fastopt and its floor first.

    All read the same `grad` and start from parameters equal to it.  `lr` is tiny so that the values stay
    finite over any number of steps; the arithmetic does not take less time for it.
    """
    param, scratch = copy(grad), copy(grad)
    fast = row.optimizer(param, lr=lr, grads=grad)
    floor = row.optimizer(scratch, lr=lr, grads=grad)  # its arrays are overwritten with what is not an update
    arms = [Arm("fastopt", fast.step, param), Arm("floor", floor._plan.floor, scratch)]
    values = {**row.rule.defaults, **row.arguments, "lr": lr}
    if row.rule.name in NUMPY:
        param = copy(grad)
        arms.append(Arm("numpy", NUMPY[row.rule.name](param, grad, values), param))
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


def numpy_sgd(p: Array, g: Array, values: Mapping[str, Any]) -> Step:
    lr, momentum, nesterov = values["lr"], values["momentum"], values["nesterov"]
    scratch = aligned(p.size, p.dtype)
    if momentum == 0:

        def plain() -> None:
            np.multiply(g, lr, out=scratch)
            np.subtract(p, scratch, out=p)

        return plain
    buffer = aligned(p.size, p.dtype)
    buffer.fill(0)

    def with_momentum() -> None:
        np.multiply(buffer, momentum, out=buffer)
        np.add(buffer, g, out=buffer)
        if nesterov:
            np.multiply(buffer, momentum, out=scratch)
            np.add(scratch, g, out=scratch)
            np.multiply(scratch, lr, out=scratch)
        else:
            np.multiply(buffer, lr, out=scratch)
        np.subtract(p, scratch, out=p)

    return with_momentum


def numpy_adam(p: Array, g: Array, values: Mapping[str, Any]) -> Step:
    lr, (beta1, beta2), eps = values["lr"], values["betas"], values["eps"]
    decay = 1 - lr * values["weight_decay"]  # AdamW's; the rows leave Adam's at 0
    m, v, scratch = (aligned(p.size, p.dtype) for _ in range(3))
    m.fill(0)
    v.fill(0)
    t = 0

    def step() -> None:
        nonlocal t
        t += 1
        if decay != 1:
            np.multiply(p, decay, out=p)
        np.subtract(g, m, out=scratch)
        np.multiply(scratch, 1 - beta1, out=scratch)
        np.add(m, scratch, out=m)
        np.multiply(v, beta2, out=v)
        np.multiply(g, g, out=scratch)
        np.multiply(scratch, 1 - beta2, out=scratch)
        np.add(v, scratch, out=v)
        np.sqrt(v, out=scratch)
        np.multiply(scratch, 1 / math.sqrt(1 - beta2**t), out=scratch)
        np.add(scratch, eps, out=scratch)
        np.divide(m, scratch, out=scratch)
        np.multiply(scratch, lr / (1 - beta1**t), out=scratch)
        np.subtract(p, scratch, out=p)

    return step


def numpy_adagrad(p: Array, g: Array, values: Mapping[str, Any]) -> Step:
    lr, eps = values["lr"], values["eps"]
    total, scratch = aligned(p.size, p.dtype), aligned(p.size, p.dtype)
    total.fill(values["initial_accumulator_value"])

    def step() -> None:
        np.multiply(g, g, out=scratch)
        np.add(total, scratch, out=total)
        np.sqrt(total, out=scratch)
        np.add(scratch, eps, out=scratch)
        np.divide(g, scratch, out=scratch)
        np.multiply(scratch, lr, out=scratch)
        np.subtract(p, scratch, out=p)

    return step


NUMPY: dict[str, Callable[[Array, Array, Mapping[str, Any]], Step]] = {
    "SGD": numpy_sgd,
    "Adam": numpy_adam,
    "AdamW": numpy_adam,
    "Adagrad": numpy_adagrad,
}
"""Rule -> its step as NumPy's users write it: whole arrays, in place, one scratch array."""
