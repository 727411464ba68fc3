"""`fastopt bench --compare`: what changed since an earlier run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..words import short
from .machine import is_busy

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["pair", "show"]

LEAST_CHANGE = 0.03
"""A smaller change of a ratio is never called slower: which pages the system gives moves it as much, from run to run."""

Pairs = list[tuple[dict[str, Any], dict[str, Any], bool]]


def key(row: dict[str, Any]) -> tuple[Any, ...]:
    return row["rule"], row["size"], row["dtype"], row["threads"]


def noise(old: dict[str, Any], new: dict[str, Any]) -> float:
    """How much larger the old ratio may be before it counts, as a part of the new one: the spreads of both runs together."""
    return float(max(LEAST_CHANGE, old["ratios"]["floor"]["spread"] + new["ratios"]["floor"]["spread"]))


def pair(old: dict[str, Any], new: dict[str, Any]) -> Pairs:
    """Rows (old, new, got slower) that both reports have, compared by their ratio to the floor, since machines drift."""
    before = {key(row): row for row in old["rows"]}
    pairs = []
    for row in new["rows"]:
        if key(row) in before:
            then = before[key(row)]
            least = then["ratios"]["floor"]["median"] / (1 + noise(then, row))
            pairs.append((then, row, row["ratios"]["floor"]["median"] < least))
    return pairs


def show(console: Console, old: dict[str, Any], new: dict[str, Any]) -> int:
    """Prints how the ratios to the floor changed.  Exit status: 1 if one fell, 2 if the reports have no row in common."""
    from rich.box import HORIZONTALS
    from rich.table import Table

    pairs = pair(old, new)
    if not pairs:
        console.print("Nothing to compare: the earlier run has no row of the same rule, size, dtype and threads.", style="red")
        return 2
    machines = [
        {"processor": each["config"]["machine"]["processor"], "instruction set": each["config"]["isa"]["active"]}
        for each in (old, new)
    ]
    if "gpu" in new:
        machines = [each | {"GPU": report.get("gpu", {}).get("name")} for each, report in zip(machines, (old, new), strict=True)]
    for what, is_now in machines[1].items():
        was = machines[0][what]
        if was != is_now:
            console.print(f"The earlier run had another {what}: {was}, now {is_now}.", style="yellow")
    table = Table(title=f"Against the run of {old['date']}", box=HORIZONTALS)
    for name in ("rule", "size", "floor then", "now", "change", "noise", ""):
        table.add_column(name, justify="left" if name == "rule" else "right", no_wrap=name != "rule")  # formats are long
    for before, row, worse in pairs:
        then, now = (entry["ratios"]["floor"]["median"] for entry in (before, row))
        table.add_row(
            row["rule"],
            short(row["size"]),
            f"{then:.1%}",
            f"{now:.1%}",
            f"{now / then - 1:+.1%}",
            f"{noise(before, row):.1%}",
            ("[red]slower[/]" if worse else "[green]ok[/]") + ("*" if is_busy(before) or is_busy(row) else ""),
        )
    console.print(table)
    if len(pairs) < len(new["rows"]):
        console.print(f"{len(new['rows']) - len(pairs)} rows have none to compare with.")
    if any(is_busy(row) for pair in pairs for row in pair[:2]):
        console.print("* Other programs kept processors busy during one of the runs.", style="yellow")
    count = sum(worse for *_, worse in pairs)
    console.print(f"{count} of {len(pairs)} rows fell against the floor by more than the noise of both runs.")
    return 1 if count else 0
