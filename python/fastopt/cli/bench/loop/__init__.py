"""`fastopt bench --in-loop`: steps between the passes of a program, instead of back to back."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator, Sequence
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from ...progress import Progress
from ...rows import ROWS, Row
from ...words import duration, short
from ..host import Host
from ..launches import GPT2
from ..machine import Neighbours
from ..optax_steps import Optax, import_optax
from ..place import LR, Step
from ..tables import print_table, title, versions
from ..timing import LEAST_ROUNDS, seconds_allowed
from .arms import ARMS, LoopArm, Problem
from .before import BEFORE

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["measure_all", "show"]

RULES = ("AdamW", "SGD momentum", "Adagrad")
"""The rules that torch fuses on the CPU; `--rules` names others."""

SIZES = (10**3, 10**4, 10**5, 10**6, 10**7)
MODELS: dict[str, list[tuple[int, ...]]] = {"1,000 x 100": [(100,)] * 1000, "GPT-2": GPT2}
"""Lists of tensors, measured unless `--sizes` or `--quick` is given."""

BLOCK = 9
"""Steps of an arm before the next arm's turn.  In strict alternation each step would begin under the threads of the arm before."""

ROUNDS, QUICK_ROUNDS = 9, 3
BYTES = 7 * 4 * 4
"""Bytes of an element in all arms together: parameter, state and scratch arrays."""


def measure_all(args: argparse.Namespace, host: Host, console: Console) -> list[dict[str, Any]]:
    """A dictionary for each rule, each list of shapes and each of what comes before the step, as `--json` writes them."""
    rows = args.rules or [row for row in ROWS if row.label in RULES]
    sizes = args.sizes or (SIZES[1:4] if args.quick else SIZES)
    cases: dict[str, list[tuple[int, ...]]] = {f"{short(size)} elements": [(size,)] for size in sizes}
    if not args.sizes and not args.quick:
        cases |= MODELS
    before = {name: made for name, make in BEFORE.items() if (made := make()) is not None}
    optax = import_optax("cpu")
    rounds = args.rounds or (QUICK_ROUNDS if args.quick else ROUNDS)
    results: list[dict[str, Any]] = []
    end = perf_counter() + seconds_allowed(args)
    cells = [(name, row) for name in cases for row in rows]
    with Progress("bench", "rows", len(cells)) as progress:
        for done, (name, row) in enumerate(cells):
            progress.to(done, f"{row.label}, {name}")
            elements = sum(map(math.prod, cases[name]))
            if elements * BYTES > 0.95 * host.memory_available():
                console.print(f"Skipped {row.label} at {name}: not enough memory", highlight=False)
                continue
            deadline = perf_counter() + max(0.0, end - perf_counter()) / (len(cells) - done)
            found = measure_row(row, cases[name], before, host, optax, rounds, deadline)
            torch = next(iter(host.implementations(row).values()), None)
            common = {"rule": row.label, "tensors": name, "elements": elements, "torch": torch, "threads": host.threads}
            results += [{**common, **each} for each in found]
    return results


def measure_row(
    row: Row,
    shapes: Sequence[tuple[int, ...]],
    before: dict[str, Step],
    host: Host,
    optax: Optax | None,
    rounds: int,
    deadline: float,
) -> Iterator[dict[str, Any]]:
    """The arms after each of `before`: seconds of a step, and how many times as long the rivals' take."""
    problem = Problem(row, shapes, host.torch, next(iter(host.implementations(row).values()), None), optax)
    turns = turns_of({name: made for name, make in ARMS.items() if (made := make(problem)) is not None})
    for turn in turns.values():
        turn(lambda: None)  # the first steps allocate and compile
    for i, (name, between) in enumerate(before.items()):
        due = perf_counter() + max(0.0, deadline - perf_counter()) / (len(before) - i)
        neighbours = Neighbours()
        seconds: dict[str, list[float]] = {arm: [] for arm in turns}
        for done in range(rounds):
            if done >= min(LEAST_ROUNDS, rounds) and perf_counter() > due:
                break
            for arm, turn in turns.items() if done % 2 == 0 else reversed(turns.items()):
                seconds[arm].append(turn(between))
        yield {"before": name, "other_processors": neighbours.processors(), **compared(seconds)}


def turns_of(arms: dict[str, LoopArm]) -> dict[str, Callable[[Step], float]]:
    """For each arm, and for each arm at a new learning rate a step, what takes a block of steps and returns the seconds of one."""
    turns = {name: turn_of(arm.step) for name, arm in arms.items()}
    return turns | {f"{name}, new lr": turn_of(at_new_rates(arm.step_at)) for name, arm in arms.items() if arm.step_at}


def turn_of(step: Step) -> Callable[[Step], float]:
    def turn(before: Step) -> float:
        taken = []
        for _ in range(BLOCK):
            before()
            begin = perf_counter()
            step()
            taken.append(perf_counter() - begin)
        return float(np.median(taken))

    return turn


def at_new_rates(step_at: Callable[[float], object]) -> Step:
    """A step at another learning rate than the step before."""
    count = 0

    def step() -> None:
        nonlocal count
        count += 1
        step_at(LR / (1 + count % 1000))

    return step


RATIOS = {
    "torch": ("torch", "fastopt.torch"),
    "torch, new lr": ("torch, new lr", "fastopt.torch, new lr"),
    "optax": ("optax", "fastopt"),
    "NumPy": ("numpy", "fastopt"),
}
"""Column -> the rival, and the arm of fastopt whose arrays are of the same kind."""


def compared(seconds: dict[str, list[float]]) -> dict[str, Any]:
    """Median seconds of each arm, and the median and spread of the rounds' ratios."""
    ratios = {}
    for column, (rival, own) in RATIOS.items():
        if rival in seconds and own in seconds:
            low, median, high = np.quantile(np.array(seconds[rival]) / np.array(seconds[own]), (0.25, 0.5, 0.75))
            ratios[column] = {"median": float(median), "spread": float((high - low) / median)}
    medians = {name: float(np.median(values)) for name, values in seconds.items()}
    return {"rounds": len(seconds["fastopt"]), "seconds": medians, "ratios": ratios}


def show(console: Console, report: dict[str, Any]) -> None:
    """Prints the table and what its columns mean."""
    if not report["rows"]:
        return

    def seconds(arm: str) -> Callable[[dict[str, Any]], str]:
        return lambda row: duration(row["seconds"][arm]) if arm in row["seconds"] else "-"

    def ratio(column: str) -> Callable[[dict[str, Any]], str]:
        return lambda row: f"{row['ratios'][column]['median']:.2f}" if column in row["ratios"] else "-"

    columns = {
        "after": lambda row: row["before"],
        "arrays": seconds("fastopt"),
        "tensors": seconds("fastopt.torch"),
        **{column.removeprefix("torch, "): ratio(column) for column in RATIOS},  # 80 columns
    }
    heading = title({**report, "rows": [{**report["rows"][0], "dtype": "float32"}]}, formats=False)
    print_table(console, heading, columns, report["rows"], lambda row: f"{row['rule']}, {row['tensors']}")
    lines = [
        *versions(report),
        "after: what the program did before each step; arrays: a step of fastopt's classes; tensors: of fastopt.torch's.",
        "torch (fused if it has that, else foreach): its seconds over those of tensors; new lr: the same with a new rate each step.",
        "optax (jitted, donated), NumPy: their seconds over those of arrays.",
    ]
    for line in lines:
        console.print(line, style="dim", highlight=False, soft_wrap=True)
