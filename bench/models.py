"""Steps over the tensors of whole models: `python bench/models.py`.

It times AdamW in float32 over the 148 tensors of GPT-2 (124 million elements), the 161 of ResNet-50 (26 million) and 1,000
tensors of 100 elements, each as a list of arrays, as one flat buffer, and with torch's fused AdamW.  Each step over the list
takes other gradient arrays than the step before.  Arms take turns in one process; the figures are medians of the rounds' ratios.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

import fastopt
from fastopt.cli.bench.launches import GPT2
from fastopt.cli.bench.place import Arm
from fastopt.cli.bench.timing import compare, measure

ROUNDS, LR = 21, 1e-6
Shape = tuple[int, ...]


def resnet50() -> list[Shape]:
    """torchvision's ResNet-50: convolutions and the weights and biases of their norms, then the classifier."""
    shapes: list[Shape] = []

    def convolution(outputs: int, inputs: int, kernel: int) -> None:
        shapes.extend([(outputs, inputs, kernel, kernel), (outputs,), (outputs,)])

    convolution(64, 3, 7)
    inputs = 64
    for width, blocks in ((64, 3), (128, 4), (256, 6), (512, 3)):
        for i in range(blocks):
            convolution(width, inputs, 1)
            convolution(width, width, 3)
            convolution(4 * width, width, 1)
            if i == 0:
                convolution(4 * width, inputs, 1)
            inputs = 4 * width
    return [*shapes, (1000, 2048), (1000,)]


MODELS: dict[str, list[Shape]] = {"GPT-2": GPT2, "ResNet-50": resnet50(), "1,000 x 100": [(100,)] * 1000}


def arms(shapes: list[Shape]) -> Sequence[Arm]:
    rng = np.random.default_rng(0)

    def arrays() -> list[Any]:
        return [rng.standard_normal(shape, dtype=np.float32) for shape in shapes]

    params = arrays()
    optimizer = fastopt.AdamW(params, lr=LR)
    turns = itertools.cycle([arrays(), arrays()])
    flat, grads = fastopt.flatten(params), fastopt.flatten(arrays())
    whole = fastopt.AdamW(flat.data, lr=LR)
    tensors = [torch.from_numpy(array.copy()).requires_grad_() for array in params]
    for tensor, grad in zip(tensors, arrays(), strict=True):
        tensor.grad = torch.from_numpy(grad)
    peer = torch.optim.AdamW(tensors, lr=LR, fused=True)
    return [
        Arm("fastopt", [lambda: optimizer.step(next(turns))], [params[0]]),
        Arm("flat", [lambda: whole.step(grads.data)], [flat.data]),
        Arm("torch fused", [peer.step], [params[0]]),
    ]


def main() -> None:
    torch.set_num_threads(fastopt.get_num_threads())
    print(
        f"fastopt {fastopt.__version__}, torch {torch.__version__}, {fastopt.get_num_threads()} threads; time over fastopt's list (quartiles' distance)"
    )
    for name, shapes in MODELS.items():
        result = compare(measure(functools.partial(arms, shapes), 3, ROUNDS, 1e99, lambda: None))
        ratios = ", ".join(f"{arm} {r['median']:.2f} ({r['spread']:.0%})" for arm, r in result["ratios"].items())
        print(f"{name}, {len(shapes)} tensors: {result['seconds']['fastopt'] * 1e3:.3f} ms; {ratios}", flush=True)


if __name__ == "__main__":
    main()
