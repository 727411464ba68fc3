"""The step of each rule that optax has, jitted, with donated buffers, if jax finds a GPU."""

from __future__ import annotations

import importlib
import inspect
import os
from collections.abc import Callable, Sequence
from typing import Any

from ..rows import Row
from .place import Arm

__all__ = ["Optax", "import_optax"]


def import_optax(platform: str = "gpu") -> Optax | None:
    """jax and optax, or None if one is missing or jax finds no GPU."""
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # else jax takes most of the memory for itself
    try:
        jax, optax = importlib.import_module("jax"), importlib.import_module("optax")
        jax.devices(platform)
    except (ImportError, RuntimeError):
        return None
    return Optax(jax, optax)


class Optax:
    """jax and optax."""

    def __init__(self, jax: Any, optax: Any) -> None:
        self.jax, self.optax = jax, optax

    @property
    def version(self) -> str:
        return f"{self.optax.__version__}, jax {self.jax.__version__}"

    def kept(self) -> int:
        """Bytes of the GPU's memory that jax holds and does not use."""
        stats = self.jax.devices()[0].memory_stats() or {}
        return max(0, int(stats.get("pool_bytes", 0)) - int(stats.get("bytes_in_use", 0)))

    def has(self, row: Row) -> bool:
        """Whether optax has the rule."""
        return hasattr(self.optax, row.rule.name.lower())

    def arguments(self, row: Row) -> dict[str, Any]:
        """The row's hyperparameters by optax's names.  The forms of the rules differ a little, the work does not."""
        values = row.values
        named = {**values, "decay": values.get("alpha"), "momentum": values.get("momentum") or None}
        named |= dict(zip(("b1", "b2"), values.get("betas", ()), strict=False))
        accepted = inspect.signature(getattr(self.optax, row.rule.name.lower())).parameters
        return {name: value for name, value in named.items() if name in accepted}

    def add(self, arm: Arm, row: Row, grads: Sequence[Any], lr: float) -> Callable[[], object]:
        """Adds a step for each gradient; the function that it returns waits for them, since jax has a stream of its own."""
        if str(grads[0].dtype) == "float64":
            self.jax.config.update("jax_enable_x64", True)
        transform = getattr(self.optax, row.rule.name.lower())(lr, **self.arguments(row))

        def update(param: Any, state: Any, grad: Any) -> Any:
            updates, state = transform.update(grad, state, param)
            return self.optax.apply_updates(param, updates), state

        jitted = self.jax.jit(update, donate_argnums=(0, 1))
        holders = [Holder(jitted, transform, self.jax.numpy, grad) for grad in grads]
        for holder in holders:
            arm.add(holder.step, holder)
        return lambda: self.jax.block_until_ready([holder.param for holder in holders])


class Holder:
    """A parameter and its state, which each step gives away and gets back new."""

    def __init__(self, jitted: Any, transform: Any, numpy: Any, grad: Any) -> None:
        self.grad = numpy.from_dlpack(grad)
        self.param = numpy.array(self.grad, copy=True)
        self.state = transform.init(self.param)
        self._jitted = jitted

    def step(self) -> None:
        self.param, self.state = self._jitted(self.param, self.state, self.grad)
