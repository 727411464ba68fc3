"""`fastopt compare`: trains the same network on handwritten digits with every rule."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from . import digits
from .info import describe
from .rows import ROWS, Row
from .words import duration, say_files

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["run", "train"]

LEARNING_RATES = {
    "SGD": 0.1,
    "SGD momentum": 0.02,
    "SGD Nesterov": 0.02,
    "Adam": 1e-3,
    "AdamW": 1e-3,
    "Adagrad": 2e-2,
}
"""Label of a row -> a learning rate that suits this problem; others train with the rule's default."""


def run(args: argparse.Namespace) -> int:
    from rich.console import Console
    from rich.progress import Progress

    data = digits.load(args.seed)
    rows = args.rules or ROWS
    results = []
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=len(rows) * args.epochs)
        for row in rows:
            progress.update(task, description=row.label)
            results.append(train(row, data, args.epochs, args.batch_size, args.seed, lambda: progress.advance(task)))
    sizes = {"train": len(data.train_digits), "test": len(data.test_digits)}
    options = {"epochs": args.epochs, "batch_size": args.batch_size, "seed": args.seed, "images": sizes}
    report = describe() | options | {"rows": results}
    console = Console()
    console.print(table(report))
    line = "loss: mean cross-entropy of the training images.  step: of the seconds, those in opt.step()."
    console.print(line, style="dim", highlight=False, soft_wrap=True)
    if args.json is not None:
        args.json.write_text(json.dumps(report, indent=1) + "\n")
    if args.plot is not None:
        from .plots import curves

        curves(report, args.plot)
    say_files(console, args.json, args.plot)
    return 0


def train(row: Row, data: digits.Data, epochs: int, batch_size: int, seed: int, tick: Callable[[], object]) -> dict[str, Any]:
    """One training run, as `--json` writes it; the seed gives every rule the same weights and the same batches."""
    network = digits.Network(seed)
    arguments = dict(row.arguments)
    if row.label in LEARNING_RATES:
        arguments["lr"] = LEARNING_RATES[row.label]
    optimizer = row.optimizer(network.params, **arguments)
    rng = np.random.default_rng(seed)
    points = [evaluate(network, data)]
    total = in_step = 0.0
    for _ in range(epochs):
        order = rng.permutation(len(data.train_digits))
        begin = perf_counter()
        for start in range(0, len(order), batch_size):
            batch = order[start : start + batch_size]
            grads = network.gradients(data.train_images[batch], data.train_digits[batch])
            before = perf_counter()
            optimizer.step(grads)
            in_step += perf_counter() - before
        total += perf_counter() - begin
        points.append(evaluate(network, data))
        tick()
    return {
        "rule": row.label,
        "arguments": {**arguments, "lr": optimizer.lr},
        "steps": optimizer.steps,
        "seconds": {"total": total, "step": in_step},
        **points[-1],
        "curves": {name: [point[name] for point in points] for name in points[0]},
    }


def evaluate(network: digits.Network, data: digits.Data) -> dict[str, float]:
    """Losses (mean cross-entropy, nats) and accuracies (0 to 1) over all images."""
    train_loss, train_accuracy = network.evaluate(data.train_images, data.train_digits)
    test_loss, test_accuracy = network.evaluate(data.test_images, data.test_digits)
    return {
        "train_loss": train_loss,
        "test_loss": test_loss,
        "train_accuracy": train_accuracy,
        "test_accuracy": test_accuracy,
    }


def table(report: dict[str, Any]) -> Table:
    """The report as a table for the terminal, 80 columns wide at most."""
    from rich.box import HORIZONTALS
    from rich.table import Table

    images = report["images"]
    title = f"Handwritten digits: {report['epochs']} epochs of {images['train']} images, tested on {images['test']} others"
    shown = Table(title=title, box=HORIZONTALS)
    for name in ("rule", "lr", "loss", "train", "test", "seconds", "step", "a step"):
        shown.add_column(name, justify="left" if name == "rule" else "right", no_wrap=True)
    for row in report["rows"]:
        seconds = row["seconds"]
        shown.add_row(
            row["rule"],
            f"{row['arguments']['lr']:g}",
            f"{row['train_loss']:.2g}",
            f"{row['train_accuracy']:.1%}",
            f"{row['test_accuracy']:.1%}",
            f"{seconds['total']:.2f}",
            f"{seconds['step']:.3f}",
            duration(seconds["step"] / row["steps"]),
        )
    return shown
