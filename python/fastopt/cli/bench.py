"""`fastopt bench`: each rule against the floor of its memory traffic, against NumPy and against torch."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from ..config import get_num_threads, set_num_threads
from . import arms, timing
from .info import describe
from .rows import ROWS, Row

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

__all__ = ["run", "slower"]

SIZES = (10**4, 10**5, 10**6, 10**7, 10**8)
QUICK_SIZES = SIZES[:3]
ROUNDS = 25

SECONDS, QUICK_SECONDS = 240.0, 20.0
"""What a whole run may take; sizes that need less leave their share to those that follow."""

LEAST_CHANGE = 0.02
"""A smaller change of a ratio is never called slower: where the system puts the pages moves it as much, from run to run."""


def run(args: argparse.Namespace) -> int:
    from rich.console import Console

    console = Console()
    torch = arms.import_torch()
    with threads(args.threads, torch):
        rows = choose(args.rules)
        sizes = args.sizes or (QUICK_SIZES if args.quick else SIZES)
        report = describe() | {"rows": measure_all(rows, sizes, args, torch, console)}
    console.print(table(report))
    if args.json is not None:
        args.json.write_text(json.dumps(report, indent=1) + "\n")
    if args.plot is not None:
        from .plots import roofline

        roofline(report, args.plot)
    say_files(console, args.json, args.plot)
    return 0 if args.compare is None else show_changes(console, args.compare, report)


def say_files(console: Console, *paths: Path | None) -> None:
    for path in paths:
        if path is not None:
            console.print(f"Wrote {path}", highlight=False, soft_wrap=True)


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


def choose(wanted: Sequence[Row] | None) -> list[Row]:
    """The wanted rows, or one row for each rule and set of state arrays: others differ by a few instructions only."""
    if wanted is not None:
        return list(wanted)
    return list({(row.rule.name, row.slots): row for row in reversed(ROWS)}.values())[::-1]


def measure_all(
    rows: Sequence[Row], sizes: Sequence[int], args: argparse.Namespace, torch: ModuleType | None, console: Console
) -> list[dict[str, Any]]:
    """One dictionary for each size and row, as `--json` writes them."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    results: list[dict[str, Any]] = []
    rounds = args.rounds or ROUNDS
    end = perf_counter() + (QUICK_SECONDS if args.quick else SECONDS)
    cells = [(size, row) for size in sizes for row in rows]
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    grad: arms.Array | None = None
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
                grad = arms.aligned(size, args.dtype)
                np.random.default_rng(0).standard_normal(out=grad, dtype=grad.dtype.type)
            now = perf_counter()
            deadline = now + max(0.0, end - now) / (len(cells) - done)
            results.append(measure_row(row, grad, torch, rounds, deadline, lambda: progress.update(task, advance=1, refresh=True)))
    return results


def measure_row(row: Row, grad: arms.Array, torch: ModuleType | None, rounds: int, deadline: float, tick: Any) -> dict[str, Any]:
    """The measured arms of one row at one size."""
    built = arms.build(row, grad, torch)
    traffic = row.optimizer(np.zeros(1, grad.dtype)).traffic()["total"]
    return {
        "rule": row.label,
        "size": grad.size,
        "dtype": str(grad.dtype),
        "threads": get_num_threads(),
        "bytes_per_parameter": traffic["read"] + traffic["write"],
        **timing.compare(timing.measure(built, rounds, deadline, tick)),
        "torch": next((arm.detail for arm in built if arm.name == "torch"), None),
    }


def memory_available() -> int | None:
    """Bytes that may be allocated without swapping; None where the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")), None)


def short(size: int) -> str:
    """1e6 for 1,000,000; other sizes in full."""
    digits = str(size)
    return f"{digits[0]}e{len(digits) - 1}" if size >= 1000 and not digits[1:].strip("0") else f"{size:,}"


def duration(seconds: float) -> str:
    for unit, scale in (("s", 1.0), ("ms", 1e3), ("µs", 1e6)):
        if seconds * scale >= 1:
            return f"{seconds * scale:.3g} {unit}" if seconds * scale < 999.5 else f"{seconds * scale:.0f} {unit}"
    return f"{seconds * 1e9:.0f} ns"


def table(report: dict[str, Any]) -> Table:
    """The report as a table for the terminal, 80 columns wide at most."""
    from rich.table import Table

    config, versions, rows = report["config"], report["versions"], report["rows"]
    first = rows[0] if rows else {"dtype": "", "threads": 0}
    title = f"fastopt {config['version']}, {config['isa']['active']}, {first['threads']} threads, {first['dtype']}"
    caption = (
        f"{config['machine']['processor']}; NumPy {config['numpy']}, torch {versions['torch'] or 'not installed'}\n"
        "floor: time of the same reads and writes without arithmetic, over fastopt's; ±: its spread between\n"
        "rounds; NumPy, torch: how many times as long they take"
    )
    shown = Table(title=title, caption=caption, caption_justify="left")
    for name in ("rule", "size", "step", "GB/s", "floor", "±", "NumPy", "torch"):
        shown.add_column(name, justify="left" if name == "rule" else "right", no_wrap=True)
    for i, row in enumerate(rows):
        ratios, rate = row["ratios"], row["size"] * row["bytes_per_parameter"] / row["seconds"]["fastopt"]
        floor = ratios["floor"]
        colour = "green" if floor["median"] >= 0.95 else "yellow" if floor["median"] >= 0.8 else "red"
        rivals = [f"{ratios[name]['median']:.1f}x" if name in ratios else "-" for name in ("numpy", "torch")]
        shown.add_row(
            row["rule"],
            short(row["size"]),
            duration(row["seconds"]["fastopt"]),
            f"{rate / 1e9:.3g}",
            f"[{colour}]{floor['median']:.0%}[/]",
            f"{floor['spread']:.1%}",
            rivals[0],
            f"{rivals[1]} {row['torch']}" if row["torch"] else rivals[1],
            end_section=i + 1 == len(rows) or rows[i + 1]["size"] != row["size"],
        )
    return shown


def key(row: dict[str, Any]) -> tuple[Any, ...]:
    return row["rule"], row["size"], row["dtype"], row["threads"]


def slower(old: dict[str, Any], new: dict[str, Any]) -> list[tuple[dict[str, Any], dict[str, Any], bool]]:
    """Rows (old, new, got slower) that both reports have.

    What is compared is the ratio to the floor, since machines drift; slower means that it fell by more than the
    spreads of both runs together, as a part of the old ratio.
    """
    before = {key(row): row for row in old["rows"]}
    pairs = []
    for row in new["rows"]:
        if key(row) in before:
            then, now = before[key(row)]["ratios"]["floor"], row["ratios"]["floor"]
            noise = max(LEAST_CHANGE, then["spread"] + now["spread"])
            pairs.append((before[key(row)], row, now["median"] < then["median"] * (1 - noise)))
    return pairs


def show_changes(console: Console, old: dict[str, Any], new: dict[str, Any]) -> int:
    """Prints how the ratios to the floor changed; status 1 where one fell, 2 where there is nothing to compare."""
    from rich.table import Table

    pairs = slower(old, new)
    if not pairs:
        console.print("Nothing to compare: the earlier run has no row of this rule, size, dtype and number of threads.")
        return 2
    shown = Table(title=f"Against the run of {old.get('date', 'unknown date')}")
    for name in ("rule", "size", "floor then", "now", "noise", ""):
        shown.add_column(name, justify="left" if name == "rule" else "right", no_wrap=True)
    for then, now, worse in pairs:
        a, b = then["ratios"]["floor"], now["ratios"]["floor"]
        verdict = "[red]slower[/]" if worse else "[green]ok[/]"
        noise = f"{a['spread'] + b['spread']:.1%}"
        shown.add_row(now["rule"], short(now["size"]), f"{a['median']:.1%}", f"{b['median']:.1%}", noise, verdict)
    console.print(shown)
    count = sum(worse for *_, worse in pairs)
    if len(pairs) < len(new["rows"]):
        console.print(f"{len(new['rows']) - len(pairs)} rows have none to compare with.")
    console.print(f"{count} of {len(pairs)} rows got slower against the floor by more than the noise of both runs.")
    return 1 if count else 0
