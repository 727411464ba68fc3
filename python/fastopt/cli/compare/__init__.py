"""`fastopt compare`: trains one network on one set of data with every rule, each at a learning rate that the same search chose."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from ..info import describe
from ..progress import Progress
from ..rows import ROWS, Row
from ..words import encodable, printable, say_files, to_json
from .data import Data, hold_out, load
from .samples import DataError
from .targets import entropy, time_to_target
from .terminal import captions, data_line, table
from .training import Settings, train
from .tuning import TRIALS, at_an_end, best, runs_of_a_trial, tune

__all__ = ["run"]

MEASURED = ("train_loss", "test_loss", "train_accuracy", "test_accuracy")
"""What the mean and the spread of a rule's runs are of."""

TIMED = ("step_seconds", "iteration_seconds")
"""Times; a rule has their median over its runs."""


def run(args: argparse.Namespace) -> int:
    from rich.console import Console
    from threadpoolctl import threadpool_limits  # scikit-learn needs it

    try:
        # The split is the same for all seeds: no sample that chose a learning rate tests it.
        data = load(args.data, seed=args.seed, target=args.target)
    except DataError as error:
        print(f"fastopt: {error}", file=sys.stderr)
        return 2
    settings = Settings(args.epochs, args.batch_size, args.hidden)
    held_out = hold_out(data, args.seed)
    rows = args.rules or ROWS
    tuned = runs_of_a_trial(data)
    total = len(rows) * (TRIALS * tuned + args.seeds) * args.epochs
    with Progress("compare", "epochs", total) as progress, threadpool_limits(blas_threads(settings, data), "blas"):
        results = measure(rows, data, held_out, settings, args.seed, tuned, seeds(args), progress.advance)
    report = describe() | {
        "command": command(args, rows),
        "data": about(data),
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
    time_to_target(report, args.target_loss, entropy(data.train_labels))
    failed = write(report, args)  # before the table, whose printing may fail too
    terminal = Console()
    console = Console(width=max(80, terminal.width))  # in less the table would lose columns; terminals wrap or scroll
    with encodable(console.file):
        console.print(data_line(report), highlight=False, markup=False, soft_wrap=True)
        console.print(table(report))
        for line in captions(report):
            console.print(line, style="dim", highlight=False, markup=False, soft_wrap=True)
        say_files(console, *(path for path in (args.json, args.plot, args.html) if path not in failed))
    for path, reason in failed.items():
        print(f"fastopt: cannot write {printable(str(path))}: {reason}", file=sys.stderr)
    return 2 if failed else 0


def write(report: dict[str, Any], args: argparse.Namespace) -> dict[Path, str]:
    """Writes the files that were asked for; returns those that could not be written, with the reason."""
    failed = {}
    for path, writer in ((args.json, write_json), (args.plot, write_plot), (args.html, write_html)):
        if path is not None:
            try:
                writer(report, path)
            except (OSError, MemoryError) as error:
                failed[path] = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return failed


def write_json(report: dict[str, Any], path: Path) -> None:
    path.write_text(to_json(report), encoding="utf-8")


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
            **summary(done),
            "runs": done,
        }
        for row, lr, tried, done in zip(rows, rates, trials, runs, strict=True)
    ]


def summary(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Mean and sample standard deviation over the runs (None for a single run); the median of times."""
    values = {name: np.array([run[name] for run in runs], np.float64) for name in MEASURED}
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
    target = [] if args.target is None else [f"--target={args.target}"]
    return shlex.join(["fastopt", "compare", source, *target, *given])


def about(data: Data) -> dict[str, Any]:
    """The data, as a report describes them."""
    most = int(np.argmax(np.bincount(data.train_labels)))
    return {
        "name": printable(data.name),
        "target": data.target,
        "features": data.train_inputs.shape[1],
        "classes": list(data.classes),
        "train": len(data.train_labels),
        "test": len(data.test_labels),
        "most_frequent": {"class": data.classes[most], "test_share": float(np.mean(data.test_labels == most))},
    }
