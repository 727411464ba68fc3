"""What a run reports while it goes on, and what it records: callback, progress, history."""

from __future__ import annotations

import contextlib
import inspect
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from .._arrays.memory import Array

__all__ = ["History", "make_callback", "reporter"]

BAR_UPDATES = 1000
"""The most updates in a run: an update takes longer than a step of a small problem."""


class History:
    """Numbers of each point, and the points if asked for."""

    def __init__(self, *, points: bool) -> None:
        self._numbers: dict[str, list[float]] = {"fun": [], "grad_norm": [], "lr": []}
        self._points: list[Array] | None = [] if points else None

    def add(self, point: Array, value: float, norm: float) -> None:
        """Adds an evaluated point.  `stepped` fills in the learning rate."""
        for name, number in (("fun", value), ("grad_norm", norm), ("lr", math.nan)):
            self._numbers[name].append(number)
        if self._points is not None:
            self._points.append(point.copy())

    def stepped(self, lr: float) -> None:
        self._numbers["lr"][-1] = lr

    def replace(self, point: Array, value: float, norm: float) -> None:
        """Replaces the last evaluation by another."""
        for numbers in self._numbers.values():
            numbers.pop()
        if self._points is not None:
            self._points.pop()
        self.add(point, value, norm)

    def arrays(self) -> dict[str, Array]:
        arrays: dict[str, Array] = {name: np.array(numbers) for name, numbers in self._numbers.items()}
        return arrays if self._points is None else arrays | {"x": np.stack(self._points)}


Callback = Callable[[Array, float, Array, int], bool]


def make_callback(callback: Callable[..., Any] | None, result_class: type[Any]) -> Callback:
    """The caller's callback as a function of point, value, gradient and step that returns whether to stop."""
    if callback is None:
        return lambda point, value, grad, step: False
    try:
        names = set(inspect.signature(callback).parameters)
    except (TypeError, ValueError):  # some builtins have no signature
        names = set()

    def call(point: Array, value: float, grad: Array, step: int) -> bool:
        try:
            if names == {"intermediate_result"}:
                callback(intermediate_result=result_class(x=point.copy(), fun=value, jac=grad.copy(), nit=step))
            else:
                callback(point.copy())
        except StopIteration:
            return True
        return False

    return call


@contextlib.contextmanager
def reporter(progress: bool | Callable[[int, int, float], Any], steps: int) -> Iterator[Callable[[int, float], None]]:
    """A function to call with each step and the value before it."""
    if callable(progress):
        told = progress

        def tell(step: int, value: float) -> None:
            told(step, steps, value)

        yield tell
    elif not progress:
        yield lambda step, value: None
    else:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
        every = max(1, steps // BAR_UPDATES)
        with Progress(*columns, console=Console(stderr=True)) as bar:
            task = bar.add_task("", total=steps)
            last = (0, math.nan)

            def update(step: int, value: float) -> None:
                nonlocal last
                last = step, value
                if step % every == 0 or step == steps:
                    bar.update(task, completed=step, description=f"fun {value:.6g}")

            try:
                yield update
            finally:
                bar.update(task, completed=last[0], description=f"fun {last[1]:.6g}")
