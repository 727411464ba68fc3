"""`fastopt bench`: each rule, or each of its storage formats, against its memory floor and its rivals, on the host or a GPU."""

from __future__ import annotations

import argparse
import math
from argparse import ArgumentTypeError
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from ..._arrays.driver import CudaError
from .. import outputs
from ..info import describe
from ..progress import Progress
from ..rows import Row
from ..words import short
from . import changes, tables, timing
from .arms import build, bytes_of, fitting, sets_needed
from .choice import ADAMW, choose, choose_formats
from .gpu import Gpu
from .host import Host
from .place import Place

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["run"]

QUICK = 3
"""How many of a place's sizes `--quick` takes, the smallest ones."""


def run(args: argparse.Namespace) -> int:
    """Times all rows, shows and writes them; the exit status."""
    from rich.console import Console

    place, console = place_of(args), Console()
    with place.current():
        if args.in_loop:
            return run_in_loop(args, place, console)
        wanted = args.rules
        rows = choose_formats(wanted or [ADAMW], console, place.missing_for_bfloat16) if args.formats else choose(wanted)
        sizes = args.sizes or (place.sizes[:QUICK] if args.quick else place.sizes)
        report = describe() | place.report() | {"rows": measure_all(rows, sizes, args, place, console)}
        report |= place.afterwards(args.formats)
    written = outputs.write(report, ((args.json, outputs.write_json), (args.plot, write_plot)))  # before a printing that may fail
    tables.show(console, report, args.formats)
    failed = outputs.say(console, written)
    slower = 0 if args.compare is None else changes.show(console, args.compare, report)
    return failed or slower


def write_plot(report: dict[str, Any], path: Path) -> None:
    from .roofline import roofline

    roofline(report, path)


def run_in_loop(args: argparse.Namespace, place: Place, console: Console) -> int:
    """Times steps between the passes of a program, shows and writes them; the exit status."""
    from . import loop

    assert isinstance(place, Host)
    report = describe() | place.report() | {"rows": loop.measure_all(args, place, console)}
    written = outputs.write(report, ((args.json, outputs.write_json),))
    loop.show(console, report)
    return outputs.say(console, written)


def place_of(args: argparse.Namespace) -> Place:
    """The place that `--device` names; ArgumentTypeError if there is none, or it does not take the other arguments."""
    if args.in_loop:
        for name, given in (("--device cuda", args.device != "cpu"), ("--plot", args.plot), ("--compare", args.compare)):
            if given:
                raise ArgumentTypeError(f"argument {name}: not allowed with --in-loop")
    if args.device == "cpu":
        return Host(args.threads)
    if args.threads is not None:
        raise ArgumentTypeError("argument --threads: not allowed with --device cuda, whose steps have no threads to set")
    try:
        return Gpu(optax=not args.formats)
    except CudaError as error:
        raise ArgumentTypeError(str(error)) from error


def measure_all(
    rows: Sequence[Row], sizes: Sequence[int], args: argparse.Namespace, place: Place, console: Console
) -> list[dict[str, Any]]:
    """One dictionary for each size and row, as `--json` writes them."""
    results: list[dict[str, Any]] = []
    rounds = args.rounds or timing.ROUNDS
    end = perf_counter() + timing.seconds_allowed(args)
    cells = [(size, row) for size in sizes for row in rows]
    with Progress("bench", "rows", len(cells)) as progress:
        for done, (size, row) in enumerate(cells):
            what = f"{row.label}, {short(size)}"
            progress.to(done, what)
            now = perf_counter()
            if now > end and place.leaves_out_late_rows:
                console.print(f"Left out the last {len(cells) - done} of {len(cells)} rows: out of time", highlight=False)
                break
            deadline = now + max(0.0, end - now) / (len(cells) - done)
            try:
                result = measure_row(place, row, size, args.dtype, rounds, deadline, partial(progress.advance, what, 1 / rounds))
            except place.out_of_memory:
                result = "out of memory"
            if isinstance(result, str):
                console.print(f"Skipped {row.label} at {short(size)}: {result}", highlight=False)
                continue
            results.append(result)
            for name, why in result["left_out"].items():
                console.print(f"Left out {name} of {row.label} at {short(size)}: {why}", highlight=False, markup=False)
    return results


def measure_row(
    place: Place, row: Row, size: int, dtype: str, rounds: int, deadline: float, tick: Callable[[], object]
) -> dict[str, Any] | str:
    """The measured arms of one row at one size, or why there are none."""
    wanted = place.names(row)
    nbytes, available = size * np.dtype(dtype).itemsize, place.memory_available()
    names = fitting(place, row, wanted, nbytes, available)
    if not names:
        needed = nbytes + sum(place.memory_needed(row, name, nbytes) for name in wanted[:2])
        return f"needs {needed / 1e9:.1f} GB, {available / 1e9:.1f} GB are available"
    moved = bytes_of(place, row, dtype)
    grads = [place.normal(size, dtype) for _ in range(sets_needed(moved.read * size, place.cache))]
    failed: dict[str, str] = {}
    after_round, found = place.watch()

    def built() -> Any:
        arms, why = build(place, row, grads, names, math.ceil(moved.moved * size))
        failed.update(why)
        return arms

    def ticked() -> None:
        after_round()
        tick()

    placements = place.placements(nbytes + sum(place.memory_needed(row, name, nbytes) for name in names))
    # Centered RMSprop of one and the same gradient: a variance that is 0 but for rounding, its root NaN.  That takes no longer.
    with np.errstate(invalid="ignore"):
        seconds = timing.measure(built, placements, rounds, deadline, ticked, place.turn)
    compared = timing.compare({name: values for name, values in seconds.items() if name not in failed})
    implementations = place.implementations(row)
    return {
        "rule": row.label,
        "formats": row.formats.label if row.formats else None,
        "size": size,
        "dtype": row.formats.param if row.formats else dtype,
        "threads": place.threads,
        "bytes_held": moved.held,
        "bytes_per_parameter": moved.moved,
        "sets": len(grads),
        "left_out": {name: "not enough memory" for name in wanted if name not in names} | failed,
        **found(size, compared["seconds"]["fastopt"]),
        **compared,
        "torch": next((implementations[name] for name in implementations if name in compared["seconds"]), None),
    }
