"""`fastopt compare`: trains one network on one set of data with every rule, each at a learning rate that the same search chose."""

from __future__ import annotations

import argparse
import math
import shlex
import sys
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from .. import outputs
from ..info import describe
from ..outputs import write_json
from ..progress import Progress
from ..rows import ROWS, Row
from ..words import encodable, printable
from .data import Data, hold_out, load
from .samples import DataError
from .targets import time_to_target
from .tasks import REGRESSION, Task
from .terminal import captions, data_line, table
from .training import Settings, train
from .tuning import TRIALS, at_an_end, best, runs_of_a_trial, tune

__all__ = ["run"]

TIMED = ("step_seconds", "iteration_seconds")
"""Times; a rule has their median over its runs."""


def run(args: argparse.Namespace) -> int:
    from rich.console import Console
    from threadpoolctl import threadpool_limits  # scikit-learn needs it

    try:
        # The split is the same for all seeds: no sample that chose a learning rate tests it.
        data = load(args.data, seed=args.seed, target=args.target, task=args.task)
    except DataError as error:
        print(f"fastopt: {error}", file=sys.stderr)
        return 2
    settings = Settings(args.epochs, args.batch_size, args.hidden)
    held_out = hold_out(data, args.seed)
    rows = args.rules or ROWS
    tuned = runs_of_a_trial(data)
    total = len(rows) * (TRIALS * tuned + args.seeds) * args.epochs
    found = about(data)
    terminal = Console()
    console = Console(width=max(80, terminal.width))  # in less the table would lose columns; terminals wrap or scroll
    with encodable(console.file):
        console.print(data_line(found), highlight=False, markup=False, soft_wrap=True)
    with Progress("compare", "epochs", total) as progress, threadpool_limits(blas_threads(settings, data), "blas"):
        results = measure(rows, data, held_out, settings, args.seed, tuned, seeds(args), progress.advance)
    report = describe() | {
        "command": command(args, rows),
        "data": found,
        "network": list(settings.sizes(data)),
        "parameters": parameters(settings.sizes(data)),
        "blas_threads": blas_threads(settings, data),
        "epochs": args.epochs,
        "batch_size": args.batch_size,
        "looks": settings.looks(data),
        "seeds": seeds(args),
        "trials": TRIALS,
        "runs_of_a_trial": tuned,
        "rows": results,
    }
    time_to_target(report, args.target_loss, data.task.guess_loss(data.train_labels))
    wanted = ((args.json, write_json), (args.plot, write_plot), (args.html, write_html))
    written = outputs.write(report, wanted)  # before the table, whose printing may fail too
    with encodable(console.file):
        console.print(table(report))
        for line in captions(report):
            console.print(line, style="dim", highlight=False, markup=False, soft_wrap=True)
        return outputs.say(console, written)


def write_plot(report: dict[str, Any], path: Path) -> None:
    from .picture import curves

    curves(report, path)


def write_html(report: dict[str, Any], path: Path) -> None:
    from .page import page

    # Names of files may hold bytes that are no text.
    path.write_text(page(report), encoding="utf-8", errors="backslashreplace")


def measure(
    rows: Sequence[Row],
    data: Data,
    held_out: Data,
    settings: Settings,
    seed: int,
    tuned: int,
    seeds: Sequence[int],
    tick: Callable[[str], object],
) -> list[dict[str, Any]]:
    """The rows, as `--json` writes them: the choice of each rule's learning rate, then a run for each seed.

    Every rule runs with a seed before the next seed does, so that what slows the machine for a while slows a run of each.
    """
    trials = [tune(row, held_out, settings, seed, tuned, partial(tick, f"tune {row.label}")) for row in rows]
    rates = [best(each).lr for each in trials]
    runs: list[list[dict[str, Any]]] = [[] for _ in rows]
    for each in seeds:
        for row, lr, done in zip(rows, rates, runs, strict=True):
            done.append(train(row, lr, data, settings, each, partial(tick, f"{row.label}, seed {each}")))
    return [
        {
            "rule": row.label,
            "arguments": {**row.arguments, "lr": lr},
            "lr_at_an_end": at_an_end(tried),
            "trials": [
                {"lr": trial.lr, "validation_loss": trial.loss, "validation_losses": list(trial.losses)} for trial in tried
            ],
            **summary(data.task, done),
            "runs": done,
        }
        for row, lr, tried, done in zip(rows, rates, trials, runs, strict=True)
    ]


def summary(task: Task, runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Mean and sample standard deviation over the runs (None for a single run); the median of times."""
    values = {name: np.array([run[name] for run in runs], np.float64) for name in task.measured}
    with np.errstate(invalid="ignore"):  # a run that diverged makes both NaN
        return {
            "mean": {name: float(value.mean()) for name, value in values.items()},
            "spread": {name: float(value.std(ddof=1)) if len(runs) > 1 else None for name, value in values.items()},
            **{name: float(np.median([run[name] for run in runs])) for name in TIMED},
        }


def seeds(args: argparse.Namespace) -> list[int]:
    return list(range(args.seed, args.seed + args.seeds))


def parameters(sizes: Sequence[int]) -> int:
    return sum((inputs + 1) * outputs for inputs, outputs in pairwise(sizes))


def blas_threads(settings: Settings, data: Data) -> int | None:
    """1 if a batch's products are so small that more threads wait for one another, and for other programs; None: as it is."""
    return 1 if settings.batch_size * parameters(settings.sizes(data)) < 10**6 else None


def command(args: argparse.Namespace, rows: Sequence[Row]) -> str:
    """The command line that gives the same numbers again, without its outputs."""
    options = {
        "--rules": None if args.rules is None else ",".join(row.label for row in rows),
        "--epochs": args.epochs,
        "--batch-size": args.batch_size,
        "--hidden": ",".join(map(str, args.hidden)) or "0",
        "--target-loss": args.target_loss,
        "--seed": args.seed,
        "--seeds": args.seeds,
    }
    given = [word for name, value in options.items() if value is not None for word in (name, str(value))]
    # A name that begins with a dash would be read as an option.
    source = f"./{args.data}" if args.data.startswith("-") else args.data
    named = {"target": args.target, "task": args.task}
    return shlex.join(["fastopt", "compare", source, *(f"--{name}={value}" for name, value in named.items() if value), *given])


def about(data: Data) -> dict[str, Any]:
    """The data, as a report describes them."""
    described = {
        "name": printable(data.name),
        "task": data.task.name,
        "target": data.target,
        "features": data.train_inputs.shape[1],
        "train": len(data.train_labels),
        "test": len(data.test_labels),
    }
    if data.task is REGRESSION:
        error = float(np.square(data.test_labels, dtype=np.float64).mean())  # of the training part's mean, which is 0
        variance = float(data.test_labels.var(dtype=np.float64))
        guessed = {"test_r2": 1 - error / variance if variance else math.nan, "test_rmse": data.unit * math.sqrt(error)}
        return described | {"amounts": {"least": data.span[0], "most": data.span[1]}, "mean": guessed}
    most = int(np.argmax(np.bincount(data.train_labels)))
    frequent = {"class": data.classes[most], "test_share": float(np.mean(data.test_labels == most))}
    return described | {"classes": list(data.classes), "most_frequent": frequent}
