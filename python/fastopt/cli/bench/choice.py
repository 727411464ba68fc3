"""Which rows a benchmark has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ..._storage.formats import state_format
from ..formats import COMBINATIONS
from ..rows import ROWS, Row

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["ADAMW", "choose", "choose_formats"]

ADAMW = next(row for row in ROWS if row.rule.name == "AdamW")


def choose(wanted: Sequence[Row] | None) -> list[Row]:
    """The wanted rows, or one row for each rule and set of state arrays: others move the same bytes."""
    if wanted is not None:
        return list(wanted)
    first: dict[tuple[str, tuple[str, ...]], Row] = {}
    for row in ROWS:
        first.setdefault((row.rule.name, row.slots), row)
    return list(first.values())


def choose_formats(wanted: Sequence[Row], console: Console, missing: str | None = None) -> list[Row]:
    """A row for each of the wanted ones and each combination of formats; prints what it leaves out.

    `missing`: the package without which there are no bfloat16 arrays, if it is not installed.
    """
    combinations = [each for each in COMBINATIONS if "bfloat16" not in each.dtypes or missing is None]
    for each in COMBINATIONS:
        if each not in combinations:
            console.print(f"Left out {each.label}: {missing} is not installed", highlight=False)
    rows = []
    for row in wanted:
        if any(state_format("8bit", row.rule.slot(name)) for name in row.slots):
            rows += [replace(row, label=f"{row.label}, {each.label}", formats=each) for each in combinations]
        else:
            console.print(f"Left out {row.label}: keeps no state", highlight=False)
    return rows
