"""`fastopt bench`: each rule, or each of its storage formats, against the floor of its memory traffic, against NumPy and torch."""

from __future__ import annotations

import argparse
import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from time import perf_counter
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _core
from .._arrays.memory import BLOCK
from ..config import get_num_threads, set_num_threads
from . import arms, changes, formats, timing, words
from .arrays import Array, aligned
from .info import describe
from .machine import Neighbours, is_busy, memory_available
from .rows import ADAMW, Row, choose
from .words import duration, say_files, share, short, times, to_json, warn_of_busy

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["run"]

SIZES = (10**4, 10**5, 10**6, 10**7, 10**8)
QUICK_SIZES = SIZES[:3]

PLACEMENTS = 5
"""How often a row's arrays are allocated anew, where caches can hold them."""

CACHEABLE = 400 * 10**6
"""Bytes of all arms' arrays from which on no cache holds one arm's."""


def run(args: argparse.Namespace) -> int:
    from rich.console import Console

    console = Console()
    torch = arms.import_torch()
    with threads(args.threads, torch):
        missing = None if formats.has_bfloat16() else "ml_dtypes"
        rows = formats.choose(args.rules or [ADAMW], console, missing) if args.formats else choose(args.rules)
        sizes = args.sizes or (QUICK_SIZES if args.quick else SIZES)
        report = describe() | {"rows": measure_all(rows, sizes, args, torch, console)}
    (formats.show if args.formats else show)(console, report)
    if args.json is not None:
        args.json.write_text(to_json(report))
    if args.plot is not None:
        from .plots import roofline

        roofline(report, args.plot)
    say_files(console, args.json, args.plot)
    return 0 if args.compare is None else changes.show(console, args.compare, report)


@contextmanager
def threads(count: int | None, torch: ModuleType | None) -> Iterator[None]:
    """`count` threads (None: as set) for fastopt, and as many for torch; afterwards what it was."""
    before = get_num_threads(), torch.get_num_threads() if torch else 1
    try:
        if count is not None:
            set_num_threads(count)
        if torch:
            torch.set_num_threads(get_num_threads())
        yield
    finally:
        if count is not None:
            set_num_threads(before[0])
        if torch:
            torch.set_num_threads(before[1])


def measure_all(
    rows: Sequence[Row], sizes: Sequence[int], args: argparse.Namespace, torch: ModuleType | None, console: Console
) -> list[dict[str, Any]]:
    """One dictionary for each size and row, as `--json` writes them."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    results: list[dict[str, Any]] = []
    rounds = args.rounds or timing.ROUNDS
    end = perf_counter() + timing.seconds_allowed(args)
    cells = [(size, row) for size in sizes for row in rows]
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    grad: Array | None = None
    # Refreshed by hand: a thread that draws would take turns with the threads that are timed.
    with Progress(*columns, console=Console(stderr=True), transient=True, auto_refresh=False) as progress:
        task = progress.add_task("", total=len(cells) * rounds)
        for done, (size, row) in enumerate(cells):
            progress.update(task, description=f"{row.label}, {short(size)}", completed=done * rounds, refresh=True)
            needed, available = arms.memory_needed(row, size, args.dtype), memory_available()
            if available is not None and needed > available:
                gigabytes = f"{needed / 1e9:.1f} GB, {available / 1e9:.1f} GB are available"
                console.print(f"Skipped {row.label} at {short(size)}: needs {gigabytes}", highlight=False)
                continue
            if grad is None or grad.size != size:
                grad = None  # before the next is made
                grad = aligned(size, args.dtype)
                np.random.default_rng(0).standard_normal(out=grad, dtype=grad.dtype.type)
            now = perf_counter()
            deadline = now + max(0.0, end - now) / (len(cells) - done)
            results.append(
                measure_row(row, grad, torch, rounds, deadline, lambda: progress.update(task, advance=1, refresh=True))
            )
    return results


def measure_row(row: Row, grad: Array, torch: ModuleType | None, rounds: int, deadline: float, tick: Any) -> dict[str, Any]:
    """The measured arms of one row at one size."""
    placements = PLACEMENTS if arms.memory_needed(row, grad.size, str(grad.dtype)) < CACHEABLE else 1
    gc.collect()  # what the row before left in circles, torch's optimizers among them
    cycles: list[float] = []

    def after_round() -> None:
        cycles.append(_core.cycle_seconds())  # each time: the clock changes with the load
        tick()

    neighbours = Neighbours()
    # Centered RMSprop of one and the same gradient: a variance that is 0 but for rounding, its root NaN.  That takes no longer.
    with np.errstate(invalid="ignore"):
        seconds = timing.measure(lambda: arms.build(row, grad, torch), placements, rounds, deadline, after_round)
    compared, cycle = timing.compare(seconds), float(np.median(cycles))
    # Of one block, of which a format may have a word.
    param, bound = row.arrays(np.zeros(BLOCK, grad.dtype))
    optimizer = row.optimizer(param, grads=bound)
    traffic = optimizer.traffic()["total"]
    return {
        "rule": row.label,
        "formats": row.formats.label if row.formats else None,
        "size": grad.size,
        "dtype": str(param.dtype),
        "threads": get_num_threads(),
        "bytes_held": formats.bytes_held(optimizer, param, bound) / BLOCK,
        "bytes_per_parameter": (traffic["read"] + traffic["write"]) / BLOCK,
        "other_processors": neighbours.processors(),
        "cycles": compared["seconds"]["fastopt"] * get_num_threads() / grad.size / cycle if cycle > 0 else None,
        **compared,
        "torch": None if torch is None else arms.torch_implementation(torch, row),
    }


def show(console: Console, report: dict[str, Any]) -> None:
    """Prints the report as a table, 80 columns wide at most, with what its columns mean."""
    from rich.box import HORIZONTALS
    from rich.table import Table

    config, versions, rows = report["config"], report["versions"], report["rows"]
    if not rows:
        return
    title = f"fastopt {config['version']}, {config['isa']['active']}, {words.threads(rows[0]['threads'])}, {rows[0]['dtype']}"
    table = Table(title=title, box=HORIZONTALS, pad_edge=False, collapse_padding=True)
    for name in ("rule", "size", "step", "GB/s", "floor", "±", "NumPy", "torch"):
        table.add_column(name, justify="left" if name == "rule" else "right", no_wrap=True)
    for row, following in zip(rows, [*rows[1:], None], strict=True):
        ratios, rate = row["ratios"], row["size"] * row["bytes_per_parameter"] / row["seconds"]["fastopt"]
        floor = ratios["floor"]
        numpy, torch = (times(ratios[name]["median"]) if name in ratios else "-" for name in ("numpy", "torch"))
        table.add_row(
            row["rule"],
            short(row["size"]),
            duration(row["seconds"]["fastopt"]),
            f"{rate / 1e9:.3g}",
            share(floor["median"]),
            f"{floor['spread']:.0%}" + ("*" if is_busy(row) else ""),
            numpy,
            f"{torch} {row['torch'] or ''}".rstrip(),
            end_section=following is None or following["size"] != row["size"],
        )
    console.print(table)
    lines = [
        f"{config['machine']['processor']}; NumPy {config['numpy']}, torch {versions['torch'] or 'not installed'}.",
        "floor: seconds of the same reads and writes without arithmetic, over fastopt's;",
        "±: how much that varies over the rounds.  NumPy, torch: their seconds over fastopt's.",
    ]
    for line in lines:
        console.print(line, style="dim", highlight=False, soft_wrap=True)
    warn_of_busy(console, rows)
