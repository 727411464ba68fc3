"""Who takes the step in the loop: fastopt with NumPy's arrays and with torch's tensors, torch, optax and NumPy."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...numpy_steps import STEPS, aligned
from ...rows import Row
from ..optax_steps import Optax
from ..place import IMPLEMENTATIONS, LR, Step

__all__ = ["ARMS", "LoopArm", "Problem"]

DIFFERENT = 1 << 20
"""Random values of an array, before they begin again."""


@dataclass(frozen=True)
class LoopArm:
    """A step, and the same after a new learning rate has been set; None: the arm has no learning rate to set."""

    step: Step
    step_at: Callable[[float], object] | None


class Problem:
    """A rule over tensors of some shapes; parameters of each arm are its own, the gradients are the same for all."""

    def __init__(self, row: Row, shapes: Sequence[tuple[int, ...]], torch: Any, implementation: str | None, optax: Optax | None):
        self.row, self.shapes, self.torch, self.implementation, self.optax = row, shapes, torch, implementation, optax
        self.grads = self.arrays()

    def arrays(self) -> list[Any]:
        """New arrays of random numbers."""
        values = np.random.default_rng(0).standard_normal(DIFFERENT, dtype=np.float32)
        made = []
        for shape in self.shapes:
            array = aligned(math.prod(shape), np.float32)
            for begin in range(0, array.size, DIFFERENT):
                array[begin : begin + DIFFERENT] = values[: array.size - begin]
            made.append(array.reshape(shape))
        return made

    def tensors(self) -> list[Any]:
        """torch's parameters, with their gradients."""
        made = []
        for array, grad in zip(self.arrays(), self.grads, strict=True):
            made.append(self.torch.from_numpy(array).requires_grad_())
            made[-1].grad = self.torch.from_numpy(grad)
        return made


def in_core(problem: Problem) -> LoopArm:
    optimizer = problem.row.optimizer(problem.arrays(), lr=LR, grads=problem.grads)

    def step_at(lr: float) -> None:
        optimizer.lr = lr
        optimizer.step()

    return LoopArm(optimizer.step, step_at)


def in_adapter(problem: Problem) -> LoopArm | None:
    if problem.torch is None:
        return None
    adapter = importlib.import_module("fastopt.torch")
    return of_torch(getattr(adapter, problem.row.rule.name)(problem.tensors(), lr=LR, **problem.row.arguments))


def in_torch(problem: Problem) -> LoopArm | None:
    if problem.implementation is None:
        return None
    arguments = {**problem.row.arguments, **IMPLEMENTATIONS[problem.implementation]}
    return of_torch(getattr(problem.torch.optim, problem.row.rule.name)(problem.tensors(), lr=LR, **arguments))


def of_torch(optimizer: Any) -> LoopArm:
    (group,) = optimizer.param_groups

    def step_at(lr: float) -> None:
        group["lr"] = lr
        optimizer.step()

    return LoopArm(optimizer.step, step_at)


def in_optax(problem: Problem) -> LoopArm | None:
    """optax's rule, jitted with donated buffers; the rate is an argument of the jitted function."""
    optax, row = problem.optax, problem.row
    if optax is None or not optax.has(row):
        return None
    jax = optax.jax
    inject = optax.optax.inject_hyperparams(getattr(optax.optax, row.rule.name.lower()))
    transform = inject(learning_rate=LR, **optax.arguments(row))

    def update(params: Any, state: Any, grads: Any, lr: Any) -> Any:
        state.hyperparams["learning_rate"] = lr
        updates, state = transform.update(grads, state, params)
        return optax.optax.apply_updates(params, updates), state

    jitted = jax.jit(update, donate_argnums=(0, 1))
    params = [jax.numpy.array(array) for array in problem.arrays()]
    kept = [params, transform.init(params)]
    grads = [jax.numpy.asarray(grad) for grad in problem.grads]

    def step_at(lr: float) -> None:
        kept[:] = jitted(*kept, grads, lr)
        jax.block_until_ready(kept[0])

    return LoopArm(lambda: step_at(LR), step_at)


def in_numpy(problem: Problem) -> LoopArm | None:
    if problem.row.rule.name not in STEPS:
        return None
    step, values = STEPS[problem.row.rule.name], {**problem.row.values, "lr": LR}
    flat = [(param.reshape(-1), grad.reshape(-1)) for param, grad in zip(problem.arrays(), problem.grads, strict=True)]
    steps = [step(param, grad, values) for param, grad in flat]

    def step_all() -> None:
        for each in steps:
            each()

    return LoopArm(step_all, None)


ARMS: dict[str, Callable[[Problem], LoopArm | None]] = {
    "fastopt": in_core,
    "fastopt.torch": in_adapter,
    "torch": in_torch,
    "optax": in_optax,
    "numpy": in_numpy,
}
