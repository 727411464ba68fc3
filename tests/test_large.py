"""More than 2^31 elements in one array: every element of a step, its norm and its parts.  Only with `-m slow`."""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

import fastopt
from helpers import Array, assert_same_bits, gradients

N = 2**31 + 70_001
PERIOD = 1_000_003
"""Elements after which values repeat: prime, so that an index that lost its high bits finds another value."""
BOUNDARY = 2**31
NEEDED = 2 * 4 * N + 2**30
OPTIONS = {"grad_scale": 0.7, "zero_grad": True}


def available() -> int:
    """Bytes of memory that the system could give; without limit where it does not say."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return NEEDED
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))


def blocks(array: Array) -> Iterator[Array]:
    for begin in range(0, N, PERIOD):
        yield array[begin : begin + PERIOD]


def fill(array: Array, pattern: Array) -> None:
    for block in blocks(array):
        block[:] = pattern[: block.size]


def assert_repeats(array: Array, pattern: Array) -> None:
    for i, block in enumerate(blocks(array)):
        assert_same_bits([block], [pattern[: block.size]], f"elements from {i * PERIOD}")


def norm_of(pattern: Array) -> Fraction:
    """Of the whole array, without rounding but for 64 digits or so below float64's last place."""
    squares = [int(value * 2.0**60) ** 2 for value in pattern.tolist()]
    times, rest = divmod(N, PERIOD)
    total = times * sum(squares) + sum(squares[:rest])
    return Fraction(math.isqrt(total << 128), 1 << 124)


@pytest.mark.slow
@pytest.mark.skipif(available() < NEEDED, reason=f"needs {NEEDED / 1e9:.0f} GB of memory, {available() / 1e9:.0f} are available")
def test_more_than_two_to_the_31_elements(rng: np.random.Generator) -> None:
    start, slope = gradients(PERIOD, np.float32, rng), gradients(PERIOD, np.float32, rng)
    param, grad = np.empty(N, np.float32), np.empty(N, np.float32)
    fill(param, start)
    fill(grad, slope)

    norm = fastopt.global_norm(grad)
    assert abs(Fraction(norm) - norm_of(slope)) <= 2 * Fraction(math.ulp(norm))
    for at in (N - 1, BOUNDARY, BOUNDARY - 1, 0):
        kept, grad[at] = grad[at], np.nan
        assert not fastopt.all_finite(grad), at
        grad[at] = kept
    assert fastopt.all_finite(grad)

    expected, small = start.copy(), slope.copy()
    optimizer, twin = (fastopt.SGD(each, lr=0.1, weight_decay=0.01) for each in (param, expected))
    optimizer.step(grad, **OPTIONS)
    twin.step(small, **OPTIONS)
    assert_repeats(param, expected)
    assert_repeats(grad, np.zeros_like(slope))

    fill(grad, slope)
    middle = BOUNDARY - 500, BOUNDARY + 500
    optimizer.step_part(0, grad[slice(*middle)], *middle, **OPTIONS)
    assert not grad[slice(*middle)].any()
    assert grad[middle[0] - 1] != 0 != grad[middle[1]]
    optimizer.step_part(0, grad, middle[1], N, **OPTIONS)
    assert grad[middle[0] - 1] != 0
    optimizer.step_part(0, grad, 0, middle[0], **OPTIONS)
    twin.step(slope.copy(), **OPTIONS)
    assert (optimizer.steps, optimizer.state[0]["step"]) == (2, 2)
    assert_repeats(param, expected)
    assert_repeats(grad, np.zeros_like(slope))
