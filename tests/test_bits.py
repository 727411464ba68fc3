"""The same inputs give the same bits, whatever the instruction set, threads, alignment, cut, or the caller's float control.

The yardstick is the scalar instruction set on one thread over the arrays by themselves.  A NaN equals any NaN.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import DTYPES, ISAS, KERNEL_CASES, Array, assert_same_bits, case_id, gradients, hostile

import fastopt
from fastopt import _core
from fastopt.rules import RULES

WIDTHS = (1, 2, 4, 8, 16, 32)
PEELED = (128, 256, 512)  # from 32 vectors on a piece's head is peeled off: 32 * width
TILE, PARALLEL, CHUNK = 1024, 24 * 1024, 64 * 1024
SMALL = sorted({0, *(n for w in (*WIDTHS, *PEELED) for n in (w - 1, w, w + 1)), TILE - 1, TILE, TILE + 1})
LARGE = [n + d for n in (PARALLEL, CHUNK, 4 * TILE * 7) for d in (-1, 0, 1)]
THREADS = (1, 2, 3, 5)
STEPS = 3
GRAD_SCALE = 1 / 1024


@dataclass
class Problem:
    """A start and some gradients, for one set of arguments."""

    rule: str
    arguments: dict[str, Any]
    param: Array
    state: dict[str, Array]
    grads: list[Array]
    grad_scale: float = 1.0

    @property
    def arrays(self) -> list[Array]:
        return [self.param, *self.state.values()]

    def solve(self, place: Callable[[Array], Array] = np.copy) -> list[Array]:
        """The parameter and state after the first step and after the last, from arrays that `place` puts somewhere."""
        param, state = place(self.param), {name: place(array) for name, array in self.state.items()}
        function = getattr(fastopt.functional, self.rule.lower())
        for t, grad in enumerate(self.grads, start=1):
            function(param, place(grad), **state, step=t, **self.arguments, grad_scale=self.grad_scale)
            if t == 1:
                first = [param.copy(), *(array.copy() for array in state.values())]
        return [*first, param, *state.values()]


def make_problem(case: tuple[str, dict[str, Any]], n: int, dtype: Any, *, benign: bool = False, seed: int = 0) -> Problem:
    name, arguments = case
    rule = RULES[name]
    rng = np.random.default_rng([n, seed])
    fill = (lambda **kind: gradients(n, dtype, rng)) if benign else (lambda **kind: hostile(n, dtype, rng, **kind))
    used = rule.variant(rule.check(rule.defaults | arguments)).slots
    state = {slot: np.abs(fill()) if rule.slot(slot).kind == "non-negative" else fill() for slot in used}
    param, grads = fill(), [fill() for _ in range(STEPS)]
    if not benign:
        # L1 moves whatever is not zero: only from zero does a step with it end at a denormal.
        param[3::16] = 0
        param[3::32] *= -1
        for array in (*state.values(), grads[0]):
            array[3::16] = np.finfo(dtype).tiny * rng.uniform(1, 60, array[3::16].size)
    staged = any(arguments[stage] for stage in ("weight_decay", "l1", "maximize"))
    return Problem(name, arguments, param, state, grads, GRAD_SCALE if staged else 1.0)


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
    return (array != 0) & (np.abs(array) < np.finfo(array.dtype).tiny)


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
            assert (memory[:begin] == self.pattern).all() and (memory[end:] == self.pattern).all(), "written outside an array"


ALL_CASES = pytest.mark.parametrize("case", KERNEL_CASES, ids=case_id)
ALL_DTYPES = pytest.mark.parametrize("dtype", DTYPES)


@ALL_DTYPES
@ALL_CASES
def test_the_data_is_hostile(case: tuple[str, dict[str, Any]], dtype: Any) -> None:
    """Guards the other tests: inputs and results do hold denormals, and most results are ordinary numbers."""
    problem = make_problem(case, 20_000, dtype)
    for array in (*problem.arrays, *problem.grads):
        assert subnormal(array).sum() > 20
        assert np.isnan(array).any() and np.isposinf(array).any() and (array == 0).any()
    results = yardstick(problem)
    assert sum(int(subnormal(array).sum()) for array in results) > 20
    for array in results:
        assert np.isfinite(array).mean() > 0.3


@ALL_DTYPES
@ALL_CASES
def test_instruction_sets_sizes_and_alignments(case: tuple[str, dict[str, Any]], dtype: Any) -> None:
    offsets = range(0, 64, np.dtype(dtype).itemsize)
    for n in SMALL:
        problem = make_problem(case, n, dtype)
        expected = yardstick(problem)
        thorough = n in (1, 33, 513)
        for isa in ISAS:
            assert _core.set_isa(isa)
            for offset in offsets if thorough else (offsets[n % len(offsets)],):
                # 0xFF bytes are NaNs; 0x41 bytes are ordinary numbers.
                for pattern in (0xFF, 0x41):
                    poisoned = Poisoned(offset, pattern)
                    assert_same_bits(problem.solve(poisoned), expected, (n, isa, offset))
                    poisoned.assert_untouched()
            assert n == 0 or _core.isa_last_run() == isa


@ALL_DTYPES
@ALL_CASES
def test_threads_and_chunks(case: tuple[str, dict[str, Any]], dtype: Any) -> None:
    itemsize = np.dtype(dtype).itemsize
    problems = {n: make_problem(case, n, dtype) for n in LARGE[1:5]}
    for n, problem in problems.items():
        expected = yardstick(problem)
        for isa in ISAS[:2]:
            assert _core.set_isa(isa)
            for threads in THREADS:
                fastopt.set_num_threads(threads)
                poisoned = Poisoned(itemsize * (threads % 4), 0xFF)
                assert_same_bits(problem.solve(poisoned), expected, (n, isa, threads))
                poisoned.assert_untouched()


@pytest.mark.parametrize("n", [n for n in LARGE if n not in LARGE[1:5]] + [3_000_017])
@pytest.mark.parametrize("case", [("AdamW", KERNEL_CASES[-1][1]), ("SGD", {"momentum": 0.9})], ids=["AdamW", "SGD"])
def test_large_arrays(case: tuple[str, dict[str, Any]], n: int) -> None:
    arguments: dict[str, Any] = {"weight_decay": 0.01, "l1": 0.0, "maximize": False}
    problem = make_problem((case[0], arguments | ({"momentum": 0.9} if case[0] == "SGD" else {})), n, np.float32)
    expected = yardstick(problem)
    for threads in THREADS[1:]:
        fastopt.set_num_threads(threads)
        assert_same_bits(problem.solve(Poisoned(4, 0xFF)), expected, threads)


@ALL_DTYPES
@ALL_CASES
def test_many_tensors_are_one_flat_array(case: tuple[str, dict[str, Any]], dtype: Any) -> None:
    rng = np.random.default_rng(5)
    lengths = [0, 1, 7, 16, 33, *map(int, rng.integers(1, 3000, 12)), 0, 25_000, 1]
    cuts = np.cumsum([0, *lengths])
    problem = make_problem(case, int(cuts[-1]), dtype)
    expected = yardstick(problem)
    for threads in (1, 3):
        fastopt.set_num_threads(threads)
        for offset in (0, np.dtype(dtype).itemsize):
            place = Poisoned(offset, 0xFF)

            def pieces(array: Array, place: Poisoned = place) -> list[Array]:
                return [place(array[a:b]) for a, b in zip(cuts[:-1], cuts[1:], strict=True)]

            params = pieces(problem.param)
            optimizer = getattr(fastopt, problem.rule)(params, **problem.arguments)
            for slot, array in problem.state.items():
                for entry, piece in zip(optimizer.state, pieces(array), strict=True):
                    entry[slot][...] = piece
            for grad in problem.grads:
                optimizer.step(pieces(grad), grad_scale=problem.grad_scale)
            actual = [np.concatenate(params)]
            actual += [np.concatenate([entry[slot] for entry in optimizer.state]) for slot in problem.state]
            assert_same_bits(actual, expected[len(actual) :], (threads, offset))
            place.assert_untouched()


@contextmanager
def flushing() -> Iterator[None]:
    """Flush-to-zero and denormals-are-zero in this thread, as callers for speed set it."""
    if not torch.set_flush_denormal(True):
        pytest.skip("this processor cannot flush denormals")
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


def flushes(tiny: Array) -> bool:
    return not (tiny * tiny.dtype.type(1)).view(np.uint32 if tiny.dtype == np.float32 else np.uint64).any()


@pytest.mark.parametrize("threads", [1, 2, 3])
@ALL_DTYPES
@ALL_CASES
def test_a_caller_that_flushes_denormals(case: tuple[str, dict[str, Any]], dtype: Any, threads: int) -> None:
    problem = make_problem(case, 2 * PARALLEL + 3, dtype)
    expected = yardstick(problem)
    assert any(subnormal(array).any() for array in expected)
    tiny = np.full(3, np.finfo(dtype).smallest_subnormal, dtype)
    fastopt.set_num_threads(threads)
    for isa in ISAS[:1] if threads > 1 else ISAS:
        assert _core.set_isa(isa)
        with flushing():
            assert flushes(tiny)
            actual = problem.solve(lambda a: a.copy())
            assert flushes(tiny), "the caller's setting is gone"
        assert not flushes(tiny)
        assert_same_bits(actual, expected, isa)


@pytest.mark.parametrize("rule", RULES)
def test_a_caller_that_flushes_denormals_with_denormal_hyperparameters(rule: str) -> None:
    """The scalars of a step are derived under the same control as the step itself."""
    problem = make_problem((rule, {"lr": 1e-310, "weight_decay": 0.0, "l1": 0.0, "maximize": False}), 100, np.float64, benign=True)
    problem.param *= 1e-310
    expected = yardstick(problem)
    assert not np.array_equal(expected[0], problem.param)  # the first step already moves it
    with flushing():
        actual = problem.solve()
    assert_same_bits(actual, expected)


UPWARD = 0x800  # FE_UPWARD of <fenv.h> on x86-64


@pytest.mark.skipif(not (sys.platform == "linux" and os.uname().machine == "x86_64"), reason="needs the C library's constants")
@pytest.mark.parametrize("rule", RULES)
def test_a_caller_that_rounds_upward(rule: str) -> None:
    problem = make_problem((rule, {"weight_decay": 0.01, "l1": 0.0, "maximize": False}), 3 * PARALLEL, np.float64, benign=True)
    expected = yardstick(problem)
    fastopt.set_num_threads(2)
    libm = ctypes.CDLL("libm.so.6")
    assert libm.fesetround(UPWARD) == 0
    try:
        actual = problem.solve()
        kept = libm.fegetround()
    finally:
        libm.fesetround(0)
    assert kept == UPWARD
    assert_same_bits(actual, expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rule", RULES)
def test_functional_is_the_class(rule: str, dtype: Any) -> None:
    """From the initial state, which the class makes and the function's caller brings."""
    problem = make_problem((rule, {"weight_decay": 0.01, "l1": 0.0, "maximize": False}), 1000, dtype)
    param = problem.param.copy()
    optimizer = getattr(fastopt, rule)(param, **problem.arguments)
    problem.state = {slot: optimizer.state[0][slot].copy() for slot in problem.state}
    for grad in problem.grads:
        optimizer.step(grad, grad_scale=problem.grad_scale)
    actual = [param, *(optimizer.state[0][slot] for slot in problem.state)]
    assert_same_bits(actual, problem.solve()[len(actual) :])


def run_python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith("FASTOPT_")}
    return subprocess.run([sys.executable, "-c", code], env=clean | environment, capture_output=True, text=True, timeout=120)


RUN_ONE_STEP = """
import numpy as np, fastopt
p = np.ones(1000, np.float32)
fastopt.AdamW(p).step(p.copy())
print(fastopt._core.isa_last_run(), fastopt.show_config("dicts")["isa"]["active"])
"""


@pytest.mark.parametrize("isa", ISAS)
def test_the_environment_forces_an_instruction_set(isa: str) -> None:
    done = run_python(RUN_ONE_STEP, FASTOPT_ISA=isa)
    assert done.stdout.split() == [isa, isa], done.stderr


def test_without_the_environment_the_best_runs() -> None:
    assert run_python(RUN_ONE_STEP).stdout.split() == [ISAS[0], ISAS[0]]


@pytest.mark.parametrize("isa", ["nonsense", "neon" if os.uname().machine == "x86_64" else "avx2"])
def test_an_instruction_set_that_cannot_run_is_refused(isa: str) -> None:
    done = run_python("import fastopt", FASTOPT_ISA=isa)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("ValueError: FASTOPT_ISA: ") and repr(isa) in last
    assert all(name in last for name in ISAS)
    assert not _core.set_isa(isa)


QEMU = Path("/usr/bin/qemu-x86_64-static")
LOAD_CORE = """
import importlib.util, sys
spec = importlib.util.spec_from_file_location("fastopt._core", sys.argv[1])
core = importlib.util.module_from_spec(spec)
spec.loader.exec_module(core)
print(*[name for name in core.isa_compiled() if core.isa_available(name)], core.isa_active())
"""


@pytest.mark.skipif(not QEMU.exists(), reason="needs qemu-x86_64-static")
def test_an_old_processor_has_the_scalar_set_only() -> None:
    """NumPy's own wheels may need a newer processor, so the extension is loaded alone."""
    command = [str(QEMU), "-cpu", "Nehalem", sys.executable]
    try:
        if subprocess.run([*command, "-c", "pass"], capture_output=True, timeout=20).returncode != 0:
            pytest.skip("Python does not run under the emulator")
        done = subprocess.run([*command, "-c", LOAD_CORE, _core.__file__], capture_output=True, text=True, timeout=20)
    except subprocess.TimeoutExpired:
        pytest.skip("the emulator is too slow here")
    assert done.stdout.split() == ["scalar", "scalar"], done.stderr
