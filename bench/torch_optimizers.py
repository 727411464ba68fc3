"""The optimizers of fastopt.torch against torch's of the same names: `python bench/torch_optimizers.py [--quick]`.

First comes `step()` with all that it does, over the parameters of GPT-2 (148 tensors, 124 million elements), of ResNet-50 (161,
26 million) and over 1,000 tensors of 100 elements.  Then comes the whole training loop of two small networks on handwritten
digits: `zero_grad`, forward, loss, backward, `step`.  Last comes the memory that `fused_in_backward` saves.  All is in float32 on
the CPU.  Arms take turns in one process; the figures are medians of the rounds' ratios.
"""

from __future__ import annotations

import argparse
import copy
import functools
import gc
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from time import perf_counter
from typing import Any

import backward_memory
import torch
from models import MODELS

import fastopt.torch
from fastopt.cli.bench import timing
from fastopt.cli.bench.place import Arm
from fastopt.cli.compare.data import load

Shape = tuple[int, ...]
Batches = list[tuple[torch.Tensor, torch.Tensor]]

FUSED: dict[str, dict[str, Any]] = {"AdamW": {}, "Adam": {}, "SGD momentum": {"momentum": 0.9}, "Adagrad": {}}
"""Label -> arguments, for what torch has a fused kernel for; a label's first word is the class."""
CENTERED = {"centered": True, "momentum": 0.9}
UNFUSED: dict[str, dict[str, Any]] = {
    **{"Adamax": {}, "NAdam": {}, "RAdam": {}, "RMSprop": {}},
    **{"RMSprop centered": CENTERED, "Adadelta": {}},
}
LOOPS: dict[str, dict[str, Any]] = {"SGD": {}, **FUSED, **UNFUSED}

LAYERS = (64, 128, 64, 10)
"""Pixels, two hidden layers, classes."""
BATCH_SIZE = 64
LR = 1e-6  # for steps with the same gradient; loops have the classes' defaults
SECONDS = {"GPT-2": 12.0, "ResNet-50": 6.0, "1,000 x 100": 3.0}
LOOP_SECONDS = 4.0
"""Seconds after which a row needs no further rounds."""
ROUNDS = 31


def rule_of(label: str) -> str:
    return label.split(maxsplit=1)[0]


def torch_variants(label: str) -> dict[str, dict[str, bool]]:
    """The implementations that torch's class has: name -> arguments."""
    names = ["fused", "foreach"] if rule_of(label) in map(rule_of, FUSED) else ["foreach"]
    return {name: {name: True} for name in names}


def step_arms(label: str, arguments: dict[str, Any], shapes: Iterable[Shape]) -> Sequence[Arm]:
    """A step over parameters whose gradients do not change.  No arm profits: each reads all gradients in every step.

    The arms share the gradients' memory.
    """
    torch.manual_seed(0)
    values = [torch.randn(shape) for shape in shapes]
    grads = [torch.randn_like(value) for value in values]

    def arm(name: str, cls: Callable[..., torch.optim.Optimizer], **more: Any) -> Arm:
        params = [torch.nn.Parameter(value.clone()) for value in values]
        for param, grad in zip(params, grads, strict=True):
            param.grad = grad
        return Arm(name, [cls(params, lr=LR, **arguments, **more).step], [params[0].detach().numpy()])

    rule = rule_of(label)
    peers = [arm(name, getattr(torch.optim, rule), **flags) for name, flags in torch_variants(label).items()]
    return [arm("fastopt", getattr(fastopt.torch, rule)), *peers]


def perceptron() -> torch.nn.Module:
    """The network of `fastopt compare`."""
    layers: list[torch.nn.Module] = []
    for inputs, outputs in pairwise(LAYERS):
        layers += [torch.nn.Linear(inputs, outputs), torch.nn.ReLU()]
    return torch.nn.Sequential(*layers[:-1])


def convolutions() -> torch.nn.Module:
    """Two convolutions and a classifier."""
    first, second = torch.nn.Conv2d(1, 16, 3, padding=1), torch.nn.Conv2d(16, 32, 3, stride=2, padding=1)
    relu, last = torch.nn.ReLU(), torch.nn.Linear(32 * 4 * 4, LAYERS[-1])
    return torch.nn.Sequential(torch.nn.Unflatten(1, (1, 8, 8)), first, relu, second, relu, torch.nn.Flatten(), last)


NETWORKS = {"perceptron": perceptron, "convolutions": convolutions}


def batches() -> Batches:
    data = load("digits", seed=0)
    order = torch.randperm(len(data.train_labels), generator=torch.Generator().manual_seed(0))
    images, labels = torch.from_numpy(data.train_inputs)[order], torch.from_numpy(data.train_labels)[order]
    return list(zip(images.split(BATCH_SIZE), labels.split(BATCH_SIZE), strict=True))


def loop_arms(label: str, arguments: dict[str, Any], build: Callable[[], torch.nn.Module], data: Batches) -> Sequence[Arm]:
    """An epoch of training; all arms start from the same network."""
    torch.manual_seed(0)
    start = build()
    loss = torch.nn.CrossEntropyLoss()

    def arm(name: str, cls: Callable[..., torch.optim.Optimizer], **more: Any) -> Arm:
        network = copy.deepcopy(start)
        params = list(network.parameters())
        optimizer = cls(params, **arguments, **more)

        def epoch() -> None:
            for images, labels in data:
                optimizer.zero_grad()
                loss(network(images), labels).backward()
                optimizer.step()

        return Arm(name, [epoch], [params[0].detach().numpy()])

    rule = rule_of(label)
    variants: dict[str, dict[str, bool]] = {"default": {}, "foreach=False": {"foreach": False}, **torch_variants(label)}
    peers = [arm(name, getattr(torch.optim, rule), **flags) for name, flags in variants.items()]
    return [arm("fastopt", getattr(fastopt.torch, rule)), *peers]


def compare(arms: Callable[[], Sequence[Arm]], placements: int, rounds: int, seconds: float) -> dict[str, Any]:
    """Times rounds of the arms, fewer if they take longer than `seconds`.  The arms are gone when it returns."""
    return timing.compare(timing.measure(arms, placements, rounds, perf_counter() + seconds, lambda: None))


def words(ratio: dict[str, float] | None) -> str:
    return "" if ratio is None else f"{ratio['median']:.2f} ({ratio['spread']:.0%})"


def line(label: str, over: str, *cells: str) -> str:
    return f"{label:18s}{over:14s}" + "".join(f"{cell:>17s}" for cell in cells)


def step_rows(shapes: dict[str, list[Shape]], rounds: int) -> Iterable[str]:
    yield line("step()", "parameters", "fastopt", "fused", "foreach", "rounds")
    for label, arguments in {**FUSED, **UNFUSED}.items():
        gc.collect()  # torch's imports at its first step are in a reference cycle with that step's optimizer
        for model, each in shapes.items():
            # Arrays far larger than any cache need no other places, which would only cost memory: 5 GB for one of AdamW's.
            found = compare(
                functools.partial(step_arms, label, arguments, each), 1 if model == "GPT-2" else 3, rounds, SECONDS[model]
            )
            ratios = [words(found["ratios"].get(name)) for name in ("fused", "foreach")]
            yield line(label, model, f"{found['seconds']['fastopt'] * 1e3:.3f} ms", *ratios, str(found["rounds"]))


def loop_rows(data: Batches, rounds: int) -> Iterable[str]:
    columns = ("default", "foreach=False", "foreach", "fused")
    yield line("an epoch", "network", "fastopt", *columns, "fastest of these", "rounds")
    for label, arguments in LOOPS.items():
        for network, build in NETWORKS.items():
            found = compare(functools.partial(loop_arms, label, arguments, build, data), 3, rounds, LOOP_SECONDS)
            ratios = found["ratios"]
            fastest = min(ratios.values(), key=lambda ratio: ratio["median"])
            cells = [words(ratios.get(name)) for name in columns]
            yield line(
                label,
                network,
                f"{found['seconds']['fastopt'] * 1e3:.3f} ms",
                *cells,
                f"{fastest['median']:.2f}",
                str(found["rounds"]),
            )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="fastopt.torch against torch.optim")
    parser.add_argument("--quick", action="store_true", help="one round of small shapes: whether it runs, in seconds")
    quick = parser.parse_args(arguments).quick
    rounds = 1 if quick else ROUNDS
    shapes = {name: [tuple(min(n, 4) for n in s) for s in each[:9]] if quick else each for name, each in MODELS.items()}
    threads = fastopt.get_num_threads()
    torch.set_num_threads(threads)
    print(
        f"fastopt {fastopt.__version__}, torch {torch.__version__}, {threads} threads;"
        " of torch's implementations the time over fastopt.torch's (quartiles' distance)"
    )
    data = batches()
    for rows in (step_rows(shapes, rounds), loop_rows(data[:1] if quick else data, rounds)):
        print(flush=True)
        for row in rows:
            print(row, flush=True)
    print(flush=True)
    for row in backward_memory.table(32, 2) if quick else backward_memory.table():
        print(row, flush=True)


if __name__ == "__main__":
    main()
