"""A place where steps are timed, and the arms that are timed there.  `host.Host` and `gpu.Gpu` are the two places."""

from __future__ import annotations

import importlib
import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from types import ModuleType
from typing import Any

import numpy as np

from ..rows import Row

__all__ = ["IMPLEMENTATIONS", "LR", "Arm", "Place", "Step", "import_torch"]

Step = Callable[[], object]

IMPLEMENTATIONS: dict[str, dict[str, bool]] = {
    "fused": {"fused": True},
    "foreach": {"foreach": True},
    "capturable": {"foreach": True, "capturable": True},
}
"""torch's implementations of a rule, the fastest first -> their arguments."""

SCRATCH = {"numpy": 2, "cupy": 2, "torch": 2, "foreach": 2, "capturable": 1, "optax": 2}
"""Arm -> the arrays that its step needs beside parameter and state; an arm that is not here needs none."""

LR = 1e-6
"""So small that values stay finite over any number of steps; the arithmetic takes no less time for it."""

DIFFERENT = 1 << 22
"""Random values that an array has at most before they begin again: making them takes longer than the step that reads them."""


@dataclass
class Arm:
    """One way to take the step, over sets of arrays in turn."""

    name: str
    steps: list[Step] = field(default_factory=list)
    params: list[Any] = field(default_factory=list)
    """What the steps update."""
    finish: Step | None = None
    """Waits until all is done, if events on the GPU's stream cannot tell; the host's clock times such an arm."""

    def add(self, step: Step, param: Any) -> None:
        """Adds a set of arrays."""
        self.steps.append(step)
        self.params.append(param)

    def turns(self) -> Iterator[Step]:
        """The steps, one set of arrays after the other, without end."""
        return itertools.cycle(self.steps)


class Place(ABC):
    """Arrays, rivals and a clock."""

    sizes: tuple[int, ...]
    """Numbers of elements, unless the user names others; `--quick` takes the first three."""
    expressions: str
    """The arm of whole-array expressions: "numpy" or "cupy"."""
    torch: ModuleType | None
    """None: not installed, or of no use here."""
    cache = 0
    """Bytes of a cache that may hold no arm's arrays between two steps; 0: caches are part of what is measured."""
    out_of_memory: tuple[type[Exception], ...] = (MemoryError,)
    leaves_out_late_rows = False
    """Whether rows are left out when the time is over; else each has its least number of rounds."""

    # ---- Arrays --------------------------------------------------------------------------------------------------

    @abstractmethod
    def empty(self, size: int, dtype: str) -> Any:
        """An uninitialised array."""

    @abstractmethod
    def from_host(self, values: Any) -> Any:
        """The values of NumPy's array, at this place."""

    @abstractmethod
    def cast(self, values: Any, dtype: str) -> Any:
        """A new array of these values."""

    @abstractmethod
    def tensor(self, values: Any) -> Any:
        """torch's view of an array."""

    def normal(self, shape: int | tuple[int, ...], dtype: str) -> Any:
        """A new array of random numbers, the same ones in each."""
        size = math.prod(shape) if isinstance(shape, tuple) else shape
        values = self.empty(size, dtype)
        few = self.from_host(np.random.default_rng(0).standard_normal(min(size, DIFFERENT)).astype(dtype))
        for begin in range(0, size, DIFFERENT):
            end = min(size, begin + DIFFERENT)
            values[begin:end] = few[: end - begin]
        return values.reshape(shape)

    @abstractmethod
    def memory_available(self) -> float:
        """Bytes that arrays may take; infinite if the system does not say."""

    @abstractmethod
    def release(self) -> None:
        """Gives back what frameworks keep of arrays that are gone."""

    @abstractmethod
    def synchronize(self) -> None:
        """Waits for all work that was begun."""

    # ---- Arms ----------------------------------------------------------------------------------------------------

    @abstractmethod
    def names(self, row: Row) -> list[str]:
        """The arms of a row, fastopt and its floor first; if memory is short, the last are left out."""

    @abstractmethod
    def floor(self, row: Row, grad: Any, moved: int) -> tuple[Step, Any]:
        """A step that moves as many bytes as the row's and computes nothing, and what it writes."""

    @abstractmethod
    def written_out(self) -> Mapping[str, Callable[..., Step]]:
        """Rule -> its step in whole-array expressions."""

    @abstractmethod
    def implementations(self, row: Row) -> dict[str, str]:
        """Arm -> the implementation of torch's that it times."""

    @property
    @abstractmethod
    def missing_for_bfloat16(self) -> str | None:
        """The package without which there are no bfloat16 arrays here, if it is missing."""

    def memory_needed(self, row: Row, name: str, nbytes: int) -> int:
        """Bytes that an arm takes beside its gradient, if an array of the row takes `nbytes`."""
        return (1 + len(row.slots) + SCRATCH.get(name, 0)) * nbytes

    def add(self, arm: Arm, row: Row, grads: Sequence[Any], moved: int, lr: float) -> None:
        """Adds a step for each gradient, by the arm's name; `moved`: the bytes that fastopt's step moves.

        All arms start from parameters equal to the gradient, and none writes it.
        """
        for grad in grads:
            if arm.name == "floor":
                arm.add(*self.floor(row, grad, moved))
            elif arm.name in ("fastopt", "float32"):
                optimizer, param, _ = self.fastopt(row if arm.name == "fastopt" else replace(row, formats=None), grad, lr)
                arm.add(optimizer.step, param)
            elif arm.name == self.expressions:
                param = self.cast(grad, str(grad.dtype))
                arm.add(self.written_out()[row.rule.name](param, grad, {**row.values, "lr": lr}), param)
            else:
                param = self.cast(grad, str(grad.dtype))
                arm.add(self.torch_optimizer(row, self.implementations(row)[arm.name], param, grad, lr).step, param)

    def fastopt(self, row: Row, grad: Any, lr: float) -> tuple[Any, Any, Any]:
        """The row's optimizer, its parameter and its gradient, in the row's formats."""
        own = str(grad.dtype)
        param_dtype, grad_dtype = row.formats.dtypes if row.formats else (own, own)
        param = self.cast(grad, param_dtype)
        bound = grad if grad_dtype == own else self.cast(grad, grad_dtype)
        return row.optimizer(param, lr=lr, grads=bound), param, bound

    def torch_optimizer(self, row: Row, implementation: str, param: Any, grad: Any, lr: float) -> Any:
        """torch's optimizer over the memory of these arrays."""
        assert self.torch is not None
        tensor = self.tensor(param).requires_grad_()
        tensor.grad = self.tensor(grad)
        return getattr(self.torch.optim, row.rule.name)([tensor], lr=lr, **row.arguments, **IMPLEMENTATIONS[implementation])

    def has_implementation(self, row: Row, name: str) -> bool:
        """Whether torch has this implementation of the rule for this place."""
        if self.torch is None or not hasattr(self.torch.optim, row.rule.name):
            return False
        try:
            grad = self.normal(1, "float32")
            self.torch_optimizer(row, name, self.cast(grad, "float32"), grad, 0.0).step()
        except (TypeError, RuntimeError, AssertionError):  # no such argument, or not for this device
            return False
        return True

    # ---- Time ----------------------------------------------------------------------------------------------------

    @abstractmethod
    def current(self) -> AbstractContextManager[None]:
        """The context of all work."""

    @abstractmethod
    def turn(self, arm: Arm) -> Callable[[], float]:
        """A function that takes enough of the arm's steps and returns the seconds of one."""

    @property
    def threads(self) -> int | None:
        """Threads of a step; None: nobody can choose them."""
        return None

    def placements(self, nbytes: int) -> int:
        """How often the arms are built anew; `nbytes`: the memory of all of them."""
        return 1

    def watch(self) -> tuple[Step, Callable[[int, float], dict[str, Any]]]:
        """Begins to look at what else happens while a row is measured.

        Returns what is called after each round, and what tells the row of the report, from the elements and the seconds of a step.
        """
        return lambda: None, lambda size, seconds: {}

    # ---- Report --------------------------------------------------------------------------------------------------

    def report(self) -> dict[str, Any]:
        """What a report says of the place, beside the configuration."""
        return {}

    def afterwards(self, formats: bool) -> dict[str, Any]:
        """What the report has beside its rows, measured after them; `formats`: whether the rows are those of `--formats`."""
        return {}


def import_torch() -> ModuleType | None:
    """torch, or None if it is not installed."""
    try:
        return importlib.import_module("torch")
    except ModuleNotFoundError:
        return None
