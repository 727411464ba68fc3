"""The same inputs give the same bits, whatever the instruction set, threads, alignment, or cut into tensors.

The yardstick is the scalar instruction set on one thread over the arrays by themselves.  A NaN equals any NaN.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

import fastopt
from fastopt import _core
from fastopt.rules import RULES
from tests.support.arrays import Array
from tests.support.cases import DTYPES, ISAS, KERNEL_CASES
from tests.support.comparing import assert_same_bits
from tests.support.problems import ALL_CASES, ALL_DTYPES, PARALLEL, Poisoned, make_problem, subnormal, yardstick

WIDTHS = (1, 2, 4, 8, 16, 32)
PEELED = (128, 256, 512)  # from 32 vectors on a piece's head is peeled off: 32 * width
TILE, CHUNK = 1024, 64 * 1024
SMALL = sorted({0, *(n for w in (*WIDTHS, *PEELED) for n in (w - 1, w, w + 1)), TILE - 1, TILE, TILE + 1})
LARGE = [n + d for n in (PARALLEL, CHUNK, 4 * TILE * 7) for d in (-1, 0, 1)]
THREADS = (1, 2, 3, 5)


@ALL_DTYPES
@ALL_CASES
def test_the_data_is_hostile(case: tuple[str, dict[str, Any]], dtype: Any) -> None:
    """Guards the other tests: inputs and results do hold denormals, and most results are ordinary numbers."""
    problem = make_problem(case, 20_000, dtype)
    for array in (*problem.arrays, *problem.grads):
        assert subnormal(array).sum() > 20
        assert np.isnan(array).any()
        assert np.isposinf(array).any()
        assert (array == 0).any()
    results = yardstick(problem)
    # Lion's parameters move by lr, and state is never denormal.
    assert case[0] == "Lion" or sum(int(subnormal(array).sum()) for array in results) > 0
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
                return [place(array[a:b]) for a, b in itertools.pairwise(cuts)]

            params = pieces(problem.param)
            optimizer = getattr(fastopt, problem.rule)(params, **problem.arguments)
            for slot, array in problem.state.items():
                for entry, piece in zip(optimizer.state, pieces(array), strict=True):
                    entry[slot][...] = piece
            problem.step(optimizer, pieces)
            actual = [np.concatenate(params)]
            actual += [np.concatenate([entry[slot] for entry in optimizer.state]) for slot in problem.state]
            assert_same_bits(actual, expected[len(actual) : 2 * len(actual)], (threads, offset))
            place.assert_untouched()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rule", RULES)
def test_functional_is_the_class(rule: str, dtype: Any) -> None:
    """From the initial state, which the class makes and the function's caller brings."""
    problem = make_problem((rule, {"weight_decay": 0.01, "l1": 0.0, "maximize": False}), 1000, dtype)
    param = problem.param.copy()
    optimizer = getattr(fastopt, rule)(param, **problem.arguments)
    problem.state = {slot: optimizer.state[0][slot].copy() for slot in problem.state}
    problem.step(optimizer)
    actual = [param, *(optimizer.state[0][slot] for slot in problem.state)]
    running = [np.asarray(optimizer.state[0][scalar]) for scalar in problem.running]
    assert_same_bits(actual + running, problem.solve()[len(actual) :])
