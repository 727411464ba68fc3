"""`fastopt compare`: trains the same network on the same data with every rule, each at a learning rate that the same search chose."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

import numpy as np

from .compare_table import captions, data_line, table
from .data_files import DataError
from .datasets import Data, hold_out, load
from .info import describe
from .rows import ROWS, Row
from .targets import entropy, time_to_target
from .training import Settings, train
from .tuning import TRIALS, at_an_end, best, runs_of_a_trial, tune
from .words import encodable, printable, say_files, to_json

if TYPE_CHECKING:
    from rich.progress import Progress

__all__ = ["run"]

MEASURED = ("train_loss", "test_loss", "train_accuracy", "test_accuracy")
"""What the runs of a rule are summarised by."""

TIMED = ("step_seconds", "iteration_seconds")
"""Times, of which a rule has the median over its runs."""

REFRESH = 0.1
"""Seconds between two drawings of the progress bar, at least."""


def run(args: argparse.Namespace) -> int:
    from rich.console import Console
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
    tuned = runs_of_a_trial(data)
    with progress_bar() as progress, threadpool_limits(blas_threads(settings, data), "blas"):
        tick = ticker(progress, len(rows) * (TRIALS * tuned + args.seeds) * args.epochs)
        results = measure(rows, data, held_out, settings, args.seed, tuned, seeds(args), tick)
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
    """Writes the files that were asked for; what came in the way of which of them."""
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
    from .plots import curves

    curves(report, path)


def write_html(report: dict[str, Any], path: Path) -> None:
    from .page import page

    # Names of files may hold bytes that are no text.
    path.write_text(page(report), encoding="utf-8", errors="backslashreplace")


def progress_bar() -> Progress:
    """On stderr; without a thread of its own, which would compete with what is timed."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("left:"),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    return Progress(*columns, console=console, transient=True, auto_refresh=False, disable=not console.is_terminal)


def ticker(progress: Progress, total: int) -> Callable[[str], None]:
    """What is called after each epoch, outside of what is timed, with what is being done."""
    task, drawn = progress.add_task("", total=total), 0.0

    def tick(description: str) -> None:
        nonlocal drawn
        progress.update(task, advance=1, description=description)
        if monotonic() - drawn >= REFRESH:
            progress.refresh()
            drawn = monotonic()

    return tick


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
    """The rows, as `--json` writes them: the choice of each one's learning rate, then a run for each seed.

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
    """Mean and sample standard deviation over the runs, of one run no deviation; of times the median."""
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
    """One where a batch's products are so small that more threads wait for one another, and for other programs; else as it is."""
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
    """What a report says of the data."""
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
