"""`fastopt check`: steps of each rule on this machine against NumPy, in a few seconds; needs NumPy alone.

Each instruction set that the machine can run takes them, with one thread and with all, and so do torch and a GPU if they are here.
"""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from .. import _core
from .._arrays.driver import CudaError, driver
from .._extras import install
from ..config import available, config, get_num_threads, set_num_threads
from .info import installed
from .numpy_steps import STEPS, aligned
from .rows import ROWS, Row
from .words import plural, threads

__all__ = ["run"]

SIZE = 100_003
"""Elements: enough for several threads, and no multiple of a vector or a tile."""

TAKEN = 3
"""Steps of each rule: the first, and those that read the state of the step before."""

LR = 0.1

DTYPES = ("float32", "float64")

TOLERANCE = 16
"""Units in the last place that a parameter may be off: of the largest value that it had on its way, or moved by."""

Array = np.ndarray[Any, Any]


class Absent(Exception):
    """A part of the check that this machine has no place for, and why."""


class Failed(Exception):
    """What does not work here, in one line."""


def run(args: argparse.Namespace) -> int:
    """Prints a line for each part of the machine; the exit status: 0 if all that is here works, else 1."""
    here, comparison = config(), Comparison()
    print(f"fastopt {here['version']}, NumPy {here['numpy']}, Python {here['python']}, {here['machine']['processor']}")
    print(f"{TAKEN} steps of {plural(len(ROWS), 'rule')} against NumPy, the same bits everywhere:", flush=True)
    parts: dict[str, Callable[[], str]] = {name: partial(on_instructions, name, comparison) for name in available()}
    parts |= {"torch": lambda: on_torch(comparison), "GPU": lambda: on_gpu(comparison)}
    works = True
    for name, part in parts.items():
        try:
            said = f"ok: {part()}"
        except Absent as reason:
            said = f"not here: {reason}"
        except Exception as error:  # whatever it is, fastopt does not work there
            works, said = False, f"FAILED: {error if isinstance(error, Failed) else f'{type(error).__name__}: {error}'}"
        print(f"  {name}: {said}", flush=True)
    print("fastopt works here." if works else "fastopt does not work here as it should.")
    return 0 if works else 1


def on_instructions(name: str, comparison: Comparison) -> str:
    """Takes the steps with an instruction set, by one thread and by all."""
    before, counts = (_core.isa_active(), get_num_threads()), sorted({1, get_num_threads()})
    try:
        _core.set_isa(name)
        for count in counts:
            set_num_threads(count)
            for row in ROWS:
                for dtype in DTYPES:
                    comparison.check(row, dtype, host_steps(row, dtype), threads(count))
                    if _core.isa_last_run() != name:
                        raise Failed(f"{_core.isa_last_run()} ran in its place")
    finally:
        _core.set_isa(before[0])
        set_num_threads(before[1])
    chosen = "in use, " if name == before[0] else ""
    return f"{chosen}{' and '.join(DTYPES)}, {' and '.join(map(threads, counts))}"


def on_torch(comparison: Comparison) -> str:
    """Takes the steps of `fastopt.torch` over torch's tensors on the CPU."""
    if installed()["torch"] is None:
        raise Absent(f"torch is not installed: {install('torch')}")
    torch: Any = importlib.import_module("torch")
    classes = importlib.import_module("fastopt.torch")
    for row in ROWS:
        for dtype in DTYPES:
            param, grad = begin(dtype)
            tensor = torch.from_numpy(param).requires_grad_()
            tensor.grad = torch.from_numpy(grad)
            optimizer = getattr(classes, row.rule.name)([tensor], lr=LR, **row.arguments)
            take(optimizer.step, grad)
            comparison.check(row, dtype, param, "torch")
    return f"{torch.__version__}, {' and '.join(DTYPES)}"


def on_gpu(comparison: Comparison) -> str:
    """Takes the steps on the GPU; the first time, each rule's kernels are compiled."""
    try:
        driver()
    except CudaError as error:
        raise Absent(str(error)) from error
    cupy: Any = importlib.import_module("cupy")
    for row in ROWS:
        for dtype in DTYPES:
            param, grad = map(cupy.asarray, begin(dtype))
            take(row.optimizer(param, lr=LR, grads=grad).step, grad)
            comparison.check(row, dtype, cupy.asnumpy(param), "GPU")
    return f"CuPy {cupy.__version__}, {' and '.join(DTYPES)}"


def begin(dtype: str) -> tuple[Array, Array]:
    """A parameter and a gradient, the same values at every call, none of them at the start of a vector."""
    rng = np.random.default_rng(0)
    param, grad = (aligned(SIZE + 1, dtype)[1:] for _ in range(2))
    for array in (param, grad):
        array[...] = rng.standard_normal(SIZE, np.float32)  # exact in both dtypes
    return param, grad


def take(step: Callable[[], object], grad: Any) -> None:
    """Takes the steps, each with another gradient, whose values are exact."""
    for _ in range(TAKEN):
        step()
        grad *= -0.5


def host_steps(row: Row, dtype: str) -> Array:
    """The parameter after the steps."""
    param, grad = begin(dtype)
    take(row.optimizer(param, lr=LR, grads=grad).step, grad)
    return param


class Comparison:
    """What NumPy computes for each row, and the bits of what ran first."""

    def __init__(self) -> None:
        self.expected, self.scales = {}, {}
        for row in ROWS:
            param, grad = begin("float64")
            start = param.copy()
            take(STEPS[row.rule.name](param, grad, {**row.values, "lr": LR}), grad)
            self.expected[row.label] = param
            self.scales[row.label] = np.abs(start) + np.abs(param - start)
        self.first: dict[tuple[str, str], Array] = {}

    def check(self, row: Row, dtype: str, found: Array, where: str) -> None:
        """Raises Failed if `found` is not what NumPy computes, or not the bits of what ran first."""
        expected = self.expected[row.label]
        error = np.abs(found - expected) / self.scales[row.label]
        if not (error <= TOLERANCE * np.finfo(dtype).eps).all():
            at = int(np.argmax(np.nan_to_num(error, nan=np.inf)))
            raise Failed(
                f"{row.label}, {dtype}, {where}: element {at} became {found[at]!r}, expected {expected[at]!r} as NumPy has"
            )
        first = self.first.setdefault((row.label, dtype), found)
        if not np.array_equal(found, first):
            at = int(np.argmax(found != first))
            raise Failed(f"{row.label}, {dtype}, {where}: element {at} became {found[at]!r}, expected the bits of {first[at]!r}")
