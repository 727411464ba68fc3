"""A start and some gradients for one set of arguments, solved in different ways; and the yardstick."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import fastopt
from fastopt import _core
from fastopt.rules import RULES
from tests.support.arrays import Array, gradients, hostile
from tests.support.cases import DTYPES, KERNEL_CASES, case_id

PARALLEL = 24 * 1024
"""Elements from which a step runs on several threads."""
STEP_NUMBERS = (1, 2, 40)
"""The numbers of a problem's steps: some rules begin otherwise than they go on."""
GRAD_SCALE = 1 / 1024
ALL_CASES = pytest.mark.parametrize("case", KERNEL_CASES, ids=case_id)
ALL_DTYPES = pytest.mark.parametrize("dtype", DTYPES)


@dataclass
class Problem:
    """A start and a gradient for each of STEP_NUMBERS, for one set of arguments."""

    rule: str
    arguments: dict[str, Any]
    param: Array
    state: dict[str, Array]
    running: dict[str, Array]
    grads: list[Array]
    grad_scale: float = 1.0

    @property
    def arrays(self) -> list[Array]:
        return [self.param, *self.state.values()]

    def solve(self, place: Callable[[Array], Array] = np.copy) -> list[Array]:
        """The parameter and state after the first step and after the last, from arrays that `place` puts somewhere."""
        param, state = place(self.param), {name: place(array) for name, array in self.state.items()}
        running = {name: array.copy() for name, array in self.running.items()}
        function = getattr(fastopt.functional, self.rule.lower())
        for t, grad in zip(STEP_NUMBERS, self.grads, strict=True):
            function(param, place(grad), **state, **running, step=t, **self.arguments, grad_scale=self.grad_scale)
            if t == 1:
                first = [param.copy(), *(array.copy() for array in state.values())]
        return [*first, param, *state.values(), *running.values()]

    def step(self, optimizer: fastopt.Optimizer, cut: Callable[[Array], Any] = np.asarray) -> None:
        """Makes the same steps with a class over its own arrays; `cut` makes its gradients."""
        for t, grad in zip(STEP_NUMBERS, self.grads, strict=True):
            snapshot = optimizer.state_dict()
            for entry in snapshot["state"]:
                entry["step"] = t - 1
                if t == 1:
                    entry.update((name, float(value)) for name, value in self.running.items())
            optimizer.load_state_dict(snapshot)
            optimizer.step(cut(grad), grad_scale=self.grad_scale)


def make_problem(case: tuple[str, dict[str, Any]], n: int, dtype: Any, *, benign: bool = False, seed: int = 0) -> Problem:
    name, arguments = case
    rule = RULES[name]
    rng = np.random.default_rng([n, seed])

    def fill() -> Array:
        return gradients(n, dtype, rng) if benign else hostile(n, dtype, rng)

    used = rule.variant(rule.check(rule.defaults | arguments)).slots
    state = {slot: np.abs(fill()) if rule.slot(slot).kind == "non-negative" else fill() for slot in used}
    param, grads = fill(), [fill() for _ in STEP_NUMBERS]
    if not benign:
        # L1 moves every element but zeros: with L1 a step ends at a denormal only from zero.
        param[3::16] = 0
        param[3::32] *= -1
        for array in (*state.values(), grads[0]):
            array[3::16] = np.finfo(dtype).tiny * rng.uniform(1, 60, array[3::16].size)
    staged = any(arguments[stage] for stage in ("weight_decay", "l1", "maximize"))
    running = {scalar: np.asarray(rng.uniform(0.2, 0.9)) for scalar in rule.carried}
    return Problem(name, arguments, param, state, running, grads, GRAD_SCALE if staged else 1.0)


def yardstick(problem: Problem) -> list[Array]:
    isa, threads = _core.isa_active(), fastopt.get_num_threads()
    assert _core.set_isa("scalar")
    fastopt.set_num_threads(1)
    result = problem.solve()
    assert problem.param.size == 0 or _core.isa_last_run() == "scalar"
    assert _core.set_isa(isa)
    fastopt.set_num_threads(threads)
    return result


def subnormal(array: Array) -> Array:
    return np.asarray((array != 0) & (np.abs(array) < np.finfo(array.dtype).tiny))


class Poisoned:
    """Places arrays at an offset within buffers of a pattern, and can tell whether the pattern was touched."""

    MARGIN = 256

    def __init__(self, offset: int, pattern: int) -> None:
        self.offset, self.pattern = offset, pattern
        self.placed: list[tuple[Array, int, int]] = []

    def __call__(self, array: Array) -> Array:
        memory = np.full(array.nbytes + 2 * self.MARGIN + 64, self.pattern, np.uint8)
        begin = -memory.ctypes.data % 64 + self.MARGIN // 2 + self.offset
        view = memory[begin : begin + array.nbytes].view(array.dtype)
        view[...] = array
        self.placed.append((memory, begin, begin + array.nbytes))
        return view

    def assert_untouched(self) -> None:
        for memory, begin, end in self.placed:
            outside = np.concatenate([memory[:begin], memory[end:]])
            assert (outside == self.pattern).all(), "written outside an array"
