"""What the host does for one step of many tensors on a GPU: its seconds, and how many kernels it launches."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from time import perf_counter
from typing import Any

import numpy as np

import fastopt

from ..._arrays.driver import driver
from .place import LR, Place, Step

__all__ = ["GPT2", "host_times", "launches", "memory_needed"]

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

ARRAYS = 8
"""Parameters, two sets of gradients, state, torch's state, and room to spare."""

STEPS, TORCH_STEPS = 200, 20
"""Steps sent without waiting.  torch has fewer: its step is many launches, and a queue of a thousand makes the host wait."""


def memory_needed() -> int:
    """Bytes on the GPU that `host_times` takes."""
    return ARRAYS * 4 * sum(math.prod(shape) for shape in GPT2)


def host_times(gpu: Place, shapes: Sequence[tuple[int, ...]] = GPT2, repeats: int = 7) -> dict[str, Any]:
    """What the host does for one AdamW step of many tensors: seconds, and how many kernels it launches.

    `bound`: gradients given once; `given`: the same ones given to each step; `changing`: others than the step before had.
    """
    params = [gpu.normal(shape, "float32") for shape in shapes]
    grads, others = ([gpu.cast(param, "float32") for param in params] for _ in range(2))
    optimizer = fastopt.AdamW(params, lr=LR, grads=grads)
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
    if gpu.torch is not None:
        tensors = [gpu.tensor(param) for param in params]
        for tensor, grad in zip(tensors, grads, strict=True):
            tensor.requires_grad_().grad = gpu.tensor(grad)
        peer = gpu.torch.optim.AdamW(tensors, lr=LR, fused=True)
        seconds["torch fused"] = host_seconds(gpu, peer.step, TORCH_STEPS, repeats)
    elements = sum(math.prod(shape) for shape in shapes)
    return {"tensors": len(shapes), "elements": elements, "steps": STEPS, "seconds": seconds, "launches": launched}


def host_seconds(gpu: Place, step: Step, steps: int, repeats: int) -> float:
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
