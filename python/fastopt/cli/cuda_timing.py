"""How arms on a GPU are timed: in turn, between events around enough steps, compared pair by pair within each round."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from time import perf_counter
from typing import Any

import numpy as np

import fastopt

from .._arrays.driver import driver
from .cuda_arms import Arm, Step, turns
from .gpu import Gpu, timed_by_host
from .timing import LEAST_ROUNDS

__all__ = ["GPT2", "calibrate", "host_times", "launches", "measure"]

LEAST = 2e-3
"""Seconds that a measurement lasts at least."""

WIDTH = 768
GPT2: list[tuple[int, ...]] = [
    (50257, WIDTH),
    (1024, WIDTH),
    *(
        [
            *((WIDTH,), (WIDTH,), (WIDTH, 3 * WIDTH), (3 * WIDTH,), (WIDTH, WIDTH), (WIDTH,)),
            *((WIDTH,), (WIDTH,), (WIDTH, 4 * WIDTH), (4 * WIDTH,), (4 * WIDTH, WIDTH), (WIDTH,)),
        ]
        * 12
    ),
    *((WIDTH,), (WIDTH,)),
]
"""Shapes of GPT-2 small: embeddings, 12 blocks, the last norm; 148 tensors of 124 million elements."""

STEPS, TORCH_STEPS = 200, 20
"""Sent without waiting.  Of torch's step fewer: it is many launches, and a queue of a thousand makes the host wait."""


def measure(gpu: Gpu, arms: Sequence[Arm], rounds: int, deadline: float, tick: Callable[[], None]) -> dict[str, list[float]]:
    """Seconds of one step of each arm in each round: `rounds`, fewer (but at least 3, or `rounds`) past the deadline."""
    seconds: dict[str, list[float]] = {arm.name: [] for arm in arms}
    plans = [(arm, turns(arm), calibrate(gpu, arm)) for arm in arms]
    for done in range(rounds):
        if done >= LEAST_ROUNDS and perf_counter() > deadline:
            break
        for arm, steps, times in plans if done % 2 == 0 else reversed(plans):  # so that a drift favours nobody
            seconds[arm.name].append(elapsed(gpu, arm, steps, times) / times)
        tick()
    return seconds


def calibrate(gpu: Gpu, arm: Arm) -> int:
    """How many steps make a measurement."""
    steps, times = turns(arm), 1
    while (last := elapsed(gpu, arm, steps, times)) < LEAST:
        # A fifth more, so that the measurements do not end just below.
        times = max(times + 1, math.ceil(1.2 * times * LEAST / max(last, LEAST / 100)))
    return times


def elapsed(gpu: Gpu, arm: Arm, steps: Iterator[Step], times: int) -> float:
    return gpu.seconds(steps, times) if arm.finish is None else timed_by_host(steps, times, arm.finish)


def host_times(gpu: Gpu, shapes: Sequence[tuple[int, ...]] = GPT2, repeats: int = 7, torch_too: bool = True) -> dict[str, Any]:
    """What the host does for one AdamW step of many tensors: seconds, and how many kernels it launches.

    `bound`: gradients given once; `given`: the same ones given to each step; `changing`: others than the step before had.
    """
    params = [gpu.normal(shape, "float32") for shape in shapes]
    grads, others = ([gpu.cast(param, "float32") for param in params] for _ in range(2))
    optimizer = fastopt.AdamW(params, lr=1e-6, grads=grads)
    pairs = [grads, others]
    count = 0

    def changing() -> None:
        nonlocal count
        count += 1
        optimizer.step(pairs[count % 2])

    steps: dict[str, Step] = {"bound": optimizer.step, "given": lambda: optimizer.step(grads), "changing": changing}
    seconds, launched = {}, {}
    for name, step in steps.items():
        seconds[name] = host_seconds(gpu, step, STEPS, repeats)
        with launches() as sent:
            step()
        launched[name] = len(sent)
    if torch_too and gpu.torch is not None:
        tensors = [gpu.tensor(param) for param in params]
        for tensor, grad in zip(tensors, grads, strict=True):
            tensor.requires_grad_().grad = gpu.tensor(grad)
        peer = gpu.torch.optim.AdamW(tensors, lr=1e-6, fused=True)
        seconds["torch fused"] = host_seconds(gpu, peer.step, TORCH_STEPS, repeats)
    elements = sum(math.prod(shape) for shape in shapes)
    return {"tensors": len(shapes), "elements": elements, "steps": STEPS, "seconds": seconds, "launches": launched}


def host_seconds(gpu: Gpu, step: Step, steps: int, repeats: int) -> float:
    """Median seconds in which the host sends one of `steps` steps; the GPU is idle before."""
    for _ in range(3):
        step()
    measured = []
    for _ in range(repeats):
        gpu.synchronize()
        begin = perf_counter()
        for _ in range(steps):
            step()
        measured.append((perf_counter() - begin) / steps)
    gpu.synchronize()
    return float(np.median(measured))


@contextmanager
def launches() -> Iterator[list[int]]:
    """Collects the number of blocks of each launch."""
    current = driver()
    launch = current.launch
    sent: list[int] = []

    def counted(kernel: Any, blocks: int, *rest: Any) -> None:
        sent.append(blocks)
        launch(kernel, blocks, *rest)

    current.launch = counted
    try:
        yield sent
    finally:
        current.launch = launch
