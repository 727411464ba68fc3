"""A caller's flush-to-zero or rounding changes no bit of a step, and is still there afterwards."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch

import fastopt
from fastopt import _core
from fastopt.rules import RULES
from tests.support.arrays import Array
from tests.support.cases import ISAS
from tests.support.comparing import assert_same_bits
from tests.support.problems import ALL_CASES, ALL_DTYPES, PARALLEL, make_problem, subnormal, yardstick


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
    assert case[0] == "Lion" or any(subnormal(array).any() for array in expected)
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
    problem = make_problem(
        (rule, {"lr": 1e-310, "weight_decay": 0.0, "l1": 0.0, "maximize": False}), 100, np.float64, benign=True
    )
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
