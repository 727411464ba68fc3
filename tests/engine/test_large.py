"""More than 2^31 elements in one array: every element of a step, its norm and its parts.  Only with `-m slow`."""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

import fastopt
from fastopt import _core
from fastopt._engine.plans import write_group
from fastopt.flat import BLOCK
from tests.support.arrays import Array, gradients
from tests.support.comparing import assert_same_bits

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
    """The norm of the whole array, rounded only some 64 bits below float64's last place."""
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


SMALL_NEEDED = 6 * N + N // 64 + 2**30


@pytest.mark.slow
@pytest.mark.skipif(
    available() < SMALL_NEEDED, reason=f"needs {SMALL_NEEDED / 1e9:.0f} GB of memory, {available() / 1e9:.0f} are available"
)
def test_more_than_two_to_the_31_elements_in_formats(rng: np.random.Generator) -> None:
    start, slope = (gradients(PERIOD, np.float32, rng).astype(ml_dtypes.bfloat16) for _ in range(2))
    param, grad = np.empty(N, ml_dtypes.bfloat16), np.empty(N, ml_dtypes.bfloat16)
    fill(param, start)
    fill(grad, slope)
    arguments = {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01, "master": "24bit", "state_dtype": "8bit", "seed": 3}
    # The noise is not periodic: windows of blocks, as steps of their own that begin at the same index.
    windows = [
        (begin * BLOCK, min((begin + 20) * BLOCK, N)) for begin in (0, BOUNDARY // BLOCK - 8, BOUNDARY // BLOCK, N // BLOCK - 9)
    ]
    twins = []
    for begin, end in windows:
        twin = fastopt.SGD(param[begin:end].copy(), **arguments)
        rows = [{**twin._rows()[0], "offset": begin}]
        plan = _core.Plan(twin.rule.arithmetic, rows, 1, 3)
        write_group(plan, 0, twin.rule, twin.groups[0].hyperparameters())
        twins.append((plan, rows[0]))
    optimizer = fastopt.SGD(param, **arguments)
    for _ in range(2):
        optimizer.step(grad)
        for (begin, end), (plan, row) in zip(windows, twins, strict=True):
            assert plan.step(grad[begin:end], optimizer.options.bound)
            stored, (data, corrections, _) = optimizer.state[0]["momentum_buffer"], row["param"]
            (codes, words, _), first, last = row["state"][0], begin // BLOCK, -(-end // BLOCK)
            assert param[begin:end].tobytes() == data.tobytes()
            assert optimizer.state[0]["master"].raw["corrections"][begin:end].tobytes() == corrections.tobytes()
            assert stored.raw["codes"][first:last].tobytes() == codes.tobytes()
            assert stored.raw["blocks"][first:last].tobytes() == words.tobytes()
    assert abs(fastopt.global_norm(grad) / float(norm_of(slope.astype(np.float32))) - 1) < 1e-12
