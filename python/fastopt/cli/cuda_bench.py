"""`fastopt bench --device cuda`: each rule, or each of its storage formats, against a copy of as many bytes, torch, CuPy and optax."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from .._arrays.driver import CudaError
from . import changes, cuda_arms, cuda_tables, cuda_timing, formats, timing
from .gpu import Gpu
from .info import describe
from .optax_steps import Optax, import_optax
from .rows import ADAMW, Row, choose
from .words import say_files, short, to_json

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["run"]

SIZES = (10**5, 10**6, 10**7, 10**8, 10**9)
QUICK_SIZES = SIZES[:3]

ONE_HOST_ARRAY = 4 * sum(int(np.prod(shape)) for shape in cuda_timing.GPT2)
HOST_ARRAYS = 8
"""Parameters, two sets of gradients, state, torch's state, and what is left over."""


def run(args: argparse.Namespace) -> int:
    from rich.console import Console

    if args.threads is not None:
        print("fastopt: argument --threads: not allowed with --device cuda, whose steps have no threads to set", file=sys.stderr)
        return 2
    try:
        gpu = Gpu()
    except CudaError as error:
        print(f"fastopt: {error}", file=sys.stderr)
        return 2
    console = Console()
    optax = None if args.formats else import_optax()
    with gpu.current():
        rows = rows_of(args, gpu, console)
        report = describe() | {"gpu": gpu.describe(), "optax": None if optax is None else optax.version}
        report["rows"] = measure_all(rows, args, gpu, optax, console)
        fits = gpu.memory_available() > HOST_ARRAYS * ONE_HOST_ARRAY
        report["host"] = None if args.formats or not fits else cuda_timing.host_times(gpu)
    (cuda_tables.show_formats if args.formats else cuda_tables.show)(console, report)
    if args.json is not None:
        args.json.write_text(to_json(report))
    if args.plot is not None:
        from .plots import roofline

        roofline(cuda_tables.as_drawn(report), args.plot)
    say_files(console, args.json, args.plot)
    if args.compare is None:
        return 0
    before = args.compare.get("gpu", {}).get("name")
    if before != report["gpu"]["name"]:
        console.print(f"The earlier run had another GPU: {before}, now {report['gpu']['name']}.", style="yellow")
    return changes.show(console, args.compare, report)


def rows_of(args: argparse.Namespace, gpu: Gpu, console: Console) -> list[Row]:
    if not args.formats:
        return choose(args.rules)
    return formats.choose(args.rules or [ADAMW], console, None if gpu.torch else "torch with CUDA")


def measure_all(
    rows: Sequence[Row], args: argparse.Namespace, gpu: Gpu, optax: Optax | None, console: Console
) -> list[dict[str, Any]]:
    """One dictionary for each size and row, as `--json` writes them."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    sizes = args.sizes or (QUICK_SIZES if args.quick else SIZES)
    rounds = args.rounds or timing.ROUNDS
    end = perf_counter() + timing.seconds_allowed(args)
    cells = [(size, row) for size in sizes for row in rows]
    results: list[dict[str, Any]] = []
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True, auto_refresh=False) as progress:
        task = progress.add_task("", total=len(cells) * rounds)
        for done, (size, row) in enumerate(cells):
            progress.update(task, description=f"{row.label}, {short(size)}", completed=done * rounds, refresh=True)
            now = perf_counter()
            if now > end:
                console.print(f"Left out the last {len(cells) - done} of {len(cells)} rows: out of time", highlight=False)
                break
            deadline = now + (end - now) / (len(cells) - done)
            try:
                result = measure_row(
                    row, size, args.dtype, gpu, optax, rounds, deadline, lambda: progress.update(task, advance=1, refresh=True)
                )
            except gpu.out_of_memory:
                result = "out of memory"
            if isinstance(result, str):
                console.print(f"Skipped {row.label} at {short(size)}: {result}", highlight=False)
            else:
                results.append(result)
                for name, why in result["left_out"].items():
                    console.print(f"Left out {name} of {row.label} at {short(size)}: {why}", highlight=False, markup=False)
    return results


def measure_row(
    row: Row, size: int, dtype: str, gpu: Gpu, optax: Optax | None, rounds: int, deadline: float, tick: Callable[[], None]
) -> dict[str, Any] | str:
    """The measured arms of one row at one size; or why there are none."""
    wanted = cuda_arms.choose(gpu, row, optax)
    available, nbytes = gpu.memory_available(), size * np.dtype(dtype).itemsize
    names = cuda_arms.fitting(row, wanted, nbytes, available, optax.kept() if optax else 0)
    if not names:
        needed = sum(cuda_arms.memory_needed(row, name, nbytes) for name in wanted[:2]) + nbytes
        return f"needs {needed / 1e9:.1f} GB, {available / 1e9:.1f} GB are available"
    arms, moved, failed = cuda_arms.build(gpu, row, size, dtype, names, optax)
    compared = timing.compare(cuda_timing.measure(gpu, arms, rounds, deadline, tick))
    return {
        "rule": row.label,
        "formats": row.formats.label if row.formats else None,
        "size": size,
        "dtype": row.formats.param if row.formats else dtype,
        "threads": None,  # a GPU's are not for anybody to choose
        "bytes_held": moved.held / size,
        "bytes_per_parameter": (moved.read + moved.written) / size,
        "sets": len(arms[0].steps),
        "left_out": {name: "not enough memory" for name in wanted if name not in names} | failed,
        **compared,
        "torch": next((name for name in cuda_arms.IMPLEMENTATIONS if name in compared["seconds"]), None),
    }
