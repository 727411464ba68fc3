"""`fastopt compare`: trains the same network on handwritten digits with every rule."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from . import digits, words
from .info import describe
from .rows import ROWS, Row
from .training import train
from .tuning import TRIALS, best, tune
from .words import duration, say_files, to_json

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["run"]

MEASURED = ("train_loss", "test_loss", "train_accuracy", "test_accuracy", "step_seconds")
"""What the runs of a rule are summarised by."""


def run(args: argparse.Namespace) -> int:
    from rich.console import Console
    from rich.progress import Progress

    # The split is the same for all seeds, so that no image which chose a learning rate tests it.
    data = digits.load(args.seed)
    rows = args.rules or ROWS
    results = []
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=len(rows) * (TRIALS + args.seeds) * args.epochs)
        for row in rows:
            progress.update(task, description=row.label)
            results.append(measure(row, data, args, lambda: progress.advance(task)))
    report = describe() | {
        "epochs": args.epochs,
        "batch_size": args.batch_size,
        "seeds": seeds(args),
        "images": {"train": len(data.train_digits), "test": len(data.test_digits)},
        "trials": TRIALS,
        "rows": results,
    }
    console = Console()
    console.print(table(report))
    for line in captions(report):
        console.print(line, style="dim", highlight=False, soft_wrap=True)
    if args.json is not None:
        args.json.write_text(to_json(report))
    if args.plot is not None:
        from .plots import curves

        curves(report, args.plot)
    say_files(console, args.json, args.plot)
    return 0


def seeds(args: argparse.Namespace) -> list[int]:
    return list(range(args.seed, args.seed + args.seeds))


def measure(row: Row, data: digits.Data, args: argparse.Namespace, tick: Callable[[], object]) -> dict[str, Any]:
    """One row, as `--json` writes it: the choice of its learning rate, then a run for each seed."""
    trials = tune(row, data, args.epochs, args.batch_size, args.seed, tick)
    lr = best(trials).lr
    runs = [train(row, lr, data, args.epochs, args.batch_size, seed, tick) for seed in seeds(args)]
    return {
        "rule": row.label,
        "arguments": {**row.arguments, "lr": lr},
        "trials": [{"lr": trial.lr, "validation_loss": trial.loss} for trial in trials],
        **summary(runs),
        "runs": runs,
    }


def summary(runs: Sequence[dict[str, Any]]) -> dict[str, dict[str, float | None]]:
    """Mean and sample standard deviation over the runs; of one run there is no deviation."""
    values = {name: np.array([run[name] for run in runs], np.float64) for name in MEASURED}
    with np.errstate(invalid="ignore"):  # a run that diverged makes both NaN
        return {
            "mean": {name: float(value.mean()) for name, value in values.items()},
            "spread": {name: float(value.std(ddof=1)) if len(runs) > 1 else None for name, value in values.items()},
        }


def table(report: dict[str, Any]) -> Table:
    """The report as a table for the terminal, 80 columns wide at most."""
    from rich.box import HORIZONTALS
    from rich.table import Table

    images = report["images"]
    title = f"Handwritten digits: {report['epochs']} epochs of {images['train']} images, tested on {images['test']} others"
    shown = Table(title=title, box=HORIZONTALS)
    for name in ("rule", "lr", "loss", "±", "test", "±", "step"):
        shown.add_column(name, justify="left" if name == "rule" else "right", no_wrap=True)
    for row in report["rows"]:
        mean, spread = row["mean"], row["spread"]
        loss_spread, test_spread = spread["train_loss"], spread["test_accuracy"]
        shown.add_row(
            row["rule"],
            f"{row['arguments']['lr']:.1g}",
            f"{mean['train_loss']:.2g}",
            "-" if loss_spread is None else f"{loss_spread:.1g}",
            f"{mean['test_accuracy']:.1%}",
            "-" if test_spread is None else f"{test_spread:.1%}",
            duration(mean["step_seconds"]),
        )
    return shown


def captions(report: dict[str, Any]) -> list[str]:
    """What the columns mean, in lines of 80 columns at most."""
    return [
        f"lr: the best of {report['trials']} by the loss on a quarter of the training images, held out.",
        "loss: mean cross-entropy of the training images.  test: accuracy.",
        f"Means over {words.seeds(report['seeds'])}; ±: sample standard deviation.  step: one opt.step().",
    ]
