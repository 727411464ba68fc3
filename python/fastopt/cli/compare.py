"""`fastopt compare`: trains the same network on the same data with every rule, each at a learning rate that the same search chose."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from . import words
from .data_files import DataError
from .datasets import Data, hold_out, load
from .info import describe
from .rows import ROWS, Row
from .targets import default_target, entropy, reached
from .training import LOOKS, Settings, train
from .tuning import TRIALS, best, tune
from .words import duration, say_files, to_json

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["run"]

MEASURED = ("train_loss", "test_loss", "train_accuracy", "test_accuracy", "step_seconds")
"""What the runs of a rule are summarised by."""


def run(args: argparse.Namespace) -> int:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from threadpoolctl import threadpool_limits  # scikit-learn needs it

    try:
        # The split is the same for all seeds, so that no sample which chose a learning rate tests it.
        data = load(args.data, seed=args.seed, target=args.target)
    except DataError as error:
        print(f"fastopt: {error}", file=sys.stderr)
        return 2
    settings = Settings(args.epochs, args.batch_size, args.hidden)
    held_out = hold_out(data, args.seed)
    rows = args.rules or ROWS
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("left:"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=len(rows) * (TRIALS + args.seeds) * args.epochs)

        def measure(row: Row) -> dict[str, Any]:
            progress.update(task, description=row.label)
            return measure_row(row, data, held_out, settings, args.seed, seeds(args), lambda: progress.advance(task))

        with threadpool_limits(blas_threads(settings, data), "blas"):
            results = [measure(row) for row in rows]
    report = describe() | {
        "command": command(args, rows),
        "data": about(data),
        "network": list(settings.sizes(data)),
        "parameters": parameters(settings.sizes(data)),
        "blas_threads": blas_threads(settings, data),
        "epochs": args.epochs,
        "batch_size": args.batch_size,
        "seeds": seeds(args),
        "trials": TRIALS,
        "rows": results,
    }
    time_to_target(report, args.target_loss, entropy(data.train_labels))
    console = Console()
    console.print(table(report))
    for line in captions(report):
        console.print(line, style="dim", highlight=False, markup=False, soft_wrap=True)
    if args.json is not None:
        args.json.write_text(to_json(report))
    if args.plot is not None:
        from .plots import curves

        curves(report, args.plot)
    if args.html is not None:
        from .page import page

        args.html.write_text(page(report), encoding="utf-8")
    say_files(console, args.json, args.plot, args.html)
    return 0


def seeds(args: argparse.Namespace) -> list[int]:
    return list(range(args.seed, args.seed + args.seeds))


def parameters(sizes: Sequence[int]) -> int:
    return sum((inputs + 1) * outputs for inputs, outputs in pairwise(sizes))


def blas_threads(settings: Settings, data: Data) -> int | None:
    """One where a batch's products are so small that more threads wait for one another, and for other programs; else as it is."""
    return 1 if settings.batch_size * parameters(settings.sizes(data)) < 10**6 else None


def command(args: argparse.Namespace, rows: Sequence[Row]) -> str:
    """The command line that gives the same numbers again, without its outputs."""
    options = {
        "--target": args.target,
        "--rules": None if args.rules is None else ",".join(row.label for row in rows),
        "--epochs": args.epochs,
        "--batch-size": args.batch_size,
        "--hidden": ",".join(map(str, args.hidden)) or "0",
        "--target-loss": args.target_loss,
        "--seed": args.seed,
        "--seeds": args.seeds,
    }
    given = [word for name, value in options.items() if value is not None for word in (name, str(value))]
    return shlex.join(["fastopt", "compare", args.data, *given])


def about(data: Data) -> dict[str, Any]:
    """What a report says of the data."""
    return {
        "name": data.name,
        "target": data.target,
        "features": data.train_inputs.shape[1],
        "classes": list(data.classes),
        "train": len(data.train_labels),
        "test": len(data.test_labels),
    }


def measure_row(
    row: Row, data: Data, held_out: Data, settings: Settings, seed: int, seeds: Sequence[int], tick: Callable[[], object]
) -> dict[str, Any]:
    """One row, as `--json` writes it: the choice of its learning rate, then a run for each seed."""
    trials = tune(row, held_out, settings, seed, tick)
    lr = best(trials).lr
    runs = [train(row, lr, data, settings, each, tick) for each in seeds]
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


def time_to_target(report: dict[str, Any], wanted: float | None, guess: float) -> None:
    """Adds to the report the loss by which the rules are timed, and to each row and run when it was reached.

    A row has the means over those of its runs that reached it, and how many these are.  `guess`: the loss of a guess by frequency.
    """
    rows = report["rows"]
    losses = [[run["curves"]["loss"]["train_loss"] for run in row["runs"]] for row in rows]
    target = default_target(losses, guess) if wanted is None else wanted
    report["target_loss"] = {"loss": target, "given": wanted is not None, "guess": guess}
    for row in rows:
        there = []
        for run in row["runs"]:
            loss = run["curves"]["loss"]
            look = reached(loss["train_loss"], target)
            run["steps_to_target"] = None if look is None else loss["step"][look]
            run["seconds_to_target"] = None if look is None else loss["seconds"][look]
            if look is not None:
                there.append((loss["step"][look], loss["seconds"][look]))
        steps, seconds = np.mean(there, axis=0).tolist() if there else (None, None)
        row["to_target"] = {"reached": len(there), "steps": steps, "seconds": seconds}


def table(report: dict[str, Any]) -> Table:
    """The report as a table for the terminal, 80 columns wide at most."""
    from rich.box import HORIZONTALS
    from rich.table import Table
    from rich.text import Text

    data = report["data"]
    title = f"{data['name']}: {words.epochs(report['epochs'])} of {data['train']:,} samples, tested on {data['test']:,} others"
    shown = Table(title=Text(title), min_width=min(80, len(title)), box=HORIZONTALS, padding=(0, 1, 0, 0), pad_edge=False)
    target = f"{report['target_loss']['loss']:.2g}"
    for name in ("rule", "lr", "train %", "test %", f"steps\nto {target}", f"time\nto {target}", "time of\na step"):
        shown.add_column(name, justify="left" if name == "rule" else "right", no_wrap=True)
    for row in report["rows"]:
        there, runs = row["to_target"], len(row["runs"])
        some = "" if there["reached"] in (0, runs) else f" {there['reached']}/{runs}"
        shown.add_row(
            row["rule"],
            rate(row["arguments"]["lr"]),
            percent(row, "train_accuracy"),
            percent(row, "test_accuracy"),
            "-" if there["steps"] is None else f"{count(there['steps'])}{some}",
            "-" if there["seconds"] is None else duration(there["seconds"]),
            duration(row["mean"]["step_seconds"]),
        )
    return shown


def rate(lr: float) -> str:
    """Two digits: 0.0033, 3.3e-4."""
    text = f"{lr:.2g}"
    return (
        text if "e" not in text and len(text) <= 6 else f"{lr:.1e}".replace(".0e", "e").replace("e-0", "e-").replace("e+0", "e+")
    )


def count(steps: float) -> str:
    """Steps in five characters: 523, 37500, 123k."""
    return f"{steps:.0f}" if steps < 99999.5 else f"{steps / 1e3:.0f}k"


def percent(row: dict[str, Any], name: str) -> str:
    """Mean and spread of an accuracy: 97.6 ±0.3."""
    mean, spread = row["mean"][name], row["spread"][name]
    return f"{100 * mean:.1f}" + ("" if spread is None else f" ±{100 * spread:.1f}")


def captions(report: dict[str, Any]) -> list[str]:
    """What the columns mean, in lines of 80 columns at most."""
    several = len(report["seeds"]) > 1
    target = report["target_loss"]
    lines = [
        f"lr: the best of {report['trials']} by the loss on a quarter of the training samples, held out.",
        f"train %, test %: accuracy{', mean ± sample standard deviation' if several else ''}, {words.seeds(report['seeds'])}.",
        f"to {target['loss']:.2g}: until the training loss, seen {LOOKS} times an epoch, is that or less.",
        "time: of training, without the looks; of a step: of opt.step() alone, median.",
    ]
    reached = [row["to_target"]["reached"] for row in report["rows"]]
    if min(reached, default=0) == 0:
        lines.append("-: not reached; --target-loss names another loss.")
    if any(0 < count < len(report["seeds"]) for count in reached):
        lines.append(f"1/{len(report['seeds'])}: of so many runs one reached it; the means are of those that did.")
    return lines
