"""What the storage formats are for: training goes as with float32, on averages that live, fall and never blow up."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import fastopt
from fastopt.cli.compare.data import load
from fastopt.rules import RULES
from tests.support.arrays import Array
from tests.support.cases import arguments_with_state

pytestmark = pytest.mark.kernel

COMPRESSED = pytest.mark.parametrize("state_dtype", ["bfloat16", "8bit"])
BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
SEEDS = 5
TRAIN = runpy.run_path(str(Path(__file__).parents[2] / "bench" / "digits_formats.py"))["train"]


def values(array: Any) -> Array:
    return np.asarray(array, np.float64)


def accuracy(seed: int, dtype: Any, **arguments: Any) -> float:
    """The accuracy on the digits' test images, in percent, after six epochs of AdamW."""
    return 100 * TRAIN("AdamW", dtype, {"lr": 2e-3, **arguments}, load(seed=seed), seed, 6)


@pytest.fixture(scope="module")
def float32_accuracies() -> Array:
    return np.array([accuracy(seed, np.float32) for seed in range(SEEDS)])


@pytest.mark.parametrize(
    ("dtype", "arguments"),
    [
        (np.float32, {"state_dtype": "bfloat16"}),
        (np.float32, {"state_dtype": "8bit"}),
        (BFLOAT16, {"state_dtype": "8bit", "master": "24bit"}),
        (BFLOAT16, {"state_dtype": "bfloat16", "master": "32bit"}),
        (BFLOAT16, {"state_dtype": "8bit", "master": "stochastic"}),
        (BFLOAT16, {"master": "float32"}),
        (np.float16, {"state_dtype": "8bit", "master": "24bit"}),
        (np.float16, {"state_dtype": "8bit", "master": "32bit"}),
    ],
    ids=str,
)
def test_digits_to_the_accuracy_of_float32(float32_accuracies: Array, dtype: Any, arguments: dict[str, Any]) -> None:
    found = np.array([accuracy(seed, dtype, **arguments) for seed in range(SEEDS)])
    spread = float32_accuracies.std(ddof=1)
    assert float32_accuracies.mean() > 96
    assert abs(found.mean() - float32_accuracies.mean()) < spread, (found, float32_accuracies)


@pytest.mark.parametrize("dtype", [BFLOAT16, np.dtype(np.float16)], ids=str)
@pytest.mark.parametrize("master", [None, "24bit", "32bit", "float32", "stochastic"])
def test_a_small_learning_rate(dtype: Any, master: str | None) -> None:
    # Each step is a thousandth (bfloat16) or a hundredth (float16) of half a unit in the last place: to nearest it is lost.
    param, steps, lr, n = np.ones(4096, dtype), 2000, 4e-6, 4096
    optimizer = fastopt.SGD(param, lr=lr, master=master)
    for _ in range(steps):
        optimizer.step(np.ones(n, np.float32))
    moved = 1 - param.astype(np.float64).mean()
    if master is None:
        assert moved == 0
    else:
        unit = float(ml_dtypes.finfo(dtype).eps)
        shown = (
            0.5 * unit if master != "stochastic" else 5 * np.sqrt(steps * lr * unit / n)
        )  # the parameter is its master to nearest
        assert abs(moved - steps * lr) <= shown
    if master in ("24bit", "32bit", "float32"):
        # The master itself: float32's own roundings, and with 24 bits those of 1/256 unit, which are random.
        noise = 5 * np.sqrt(steps * lr * unit / 256 / n) if master == "24bit" else 0
        assert abs(1 - values(optimizer.state[0]["master"]).mean() - steps * lr) <= noise + steps * 2.0**-25


@COMPRESSED
@pytest.mark.parametrize("spread", [0, 4], ids=["one size", "8 decades of gradients"])
@pytest.mark.parametrize("noisy", [True, False], ids=["noisy gradients", "steady gradients"])
def test_the_second_moment_follows_gradients_down(state_dtype: str, spread: int, noisy: bool, rng: np.random.Generator) -> None:
    n = 8192
    size = 10 ** np.linspace(-spread, spread, 256).repeat(n // 256).reshape(256, -1).T.reshape(-1)  # in every block
    small, full = np.zeros(n, np.float32), np.zeros(n, np.float32)
    ours, theirs = fastopt.Adam(small, lr=0.0, state_dtype=state_dtype), fastopt.Adam(full, lr=0.0)
    for scale, steps in ((1.0, 2000), (0.01, 5000)):
        for _ in range(steps):
            grad = (size * scale * (rng.standard_normal(n) if noisy else 1)).astype(np.float32)
            ours.step(grad)
            theirs.step(grad)
        ratio = (values(ours.state[0]["exp_avg_sq"]) / values(theirs.state[0]["exp_avg_sq"])).reshape(-1, 256)
        assert (ratio > 0).all()
        assert abs(ratio.mean() - 1) < 0.2
        # The small elements and the large ones have the same mean.
        assert np.abs(ratio.reshape(-1, 8, 32).mean(axis=(0, 2)) - 1).max() < 0.2
        first = values(ours.state[0]["exp_avg"]).reshape(-1, 256)
        assert (np.abs(first).max(axis=0) > 0).all()


@COMPRESSED
def test_an_ill_scaled_quadratic(state_dtype: str) -> None:
    # Curvatures over 8 decades in one block; Adam goes at the same pace for each, if its averages are right.
    curvature = 10 ** np.linspace(-4, 4, 256)
    param = np.ones(256, np.float32)
    optimizer = fastopt.Adam(param, lr=1e-2, eps=1e-12, state_dtype=state_dtype)
    for t in range(1500):
        optimizer.lr = 1e-2 * (1 - t / 1500)
        optimizer.step((curvature * param).astype(np.float32))
    assert np.abs(param).max() < 1e-6


@COMPRESSED
@pytest.mark.parametrize("rule", [name for name in RULES if name != "SGD"])
def test_no_step_blows_up(rule: str, state_dtype: str, rng: np.random.Generator) -> None:
    # Elements that are now and then 1e12 times as large as their neighbours: the small ones must neither freeze nor jump.
    arguments = {name: value for name, value in arguments_with_state(rule).items() if name != "eps"} | {"lr": 1e-3}
    n, steps = 1024, 300
    small, full = np.ones(n, np.float32), np.ones(n, np.float32)
    ours = getattr(fastopt, rule)(small, state_dtype=state_dtype, **arguments)
    theirs = getattr(fastopt, rule)(full, **arguments)
    for _ in range(steps):
        grad = (1e-3 * rng.standard_normal(n)).astype(np.float32)
        grad[rng.integers(0, n, 3)] *= 1e12
        before = small.copy(), full.copy()
        ours.step(grad)
        theirs.step(grad)
        ours_step, theirs_step = np.abs(small - before[0]), np.abs(full - before[1])
        assert np.isfinite(small).all()
        assert ours_step.max() <= 4 * max(theirs_step.max(), float(arguments["lr"]))


@COMPRESSED
@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan, 1e30])
def test_a_bad_block_leaves_its_neighbours_alone(state_dtype: str, bad: float, rng: np.random.Generator) -> None:
    grads = [rng.standard_normal(1024).astype(np.float32) for _ in range(5)]
    clean, spoilt = np.ones(1024, np.float32), np.ones(1024, np.float32)
    optimizers = [fastopt.Adam(param, state_dtype=state_dtype) for param in (clean, spoilt)]
    for t, grad in enumerate(grads):
        optimizers[0].step(grad)
        optimizers[1].step(np.where(np.arange(1024) == 300, np.float32(bad), grad) if t == 1 else grad)
    others = np.r_[0:256, 512:1024]
    assert clean[others].tobytes() == spoilt[others].tobytes()
    near = np.setdiff1d(np.arange(256, 512), [300])
    assert np.abs(clean[near] - spoilt[near]).max() < 5e-3, "in the block they are rounded otherwise, no more"
