"""`fastopt bench --compare`: what changed since an earlier run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .machine import is_busy
from .words import short

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["pair", "show"]

LEAST_CHANGE = 0.03
"""A smaller change of a ratio is never called slower: which pages the system gives moves it as much, from run to run."""

Pairs = list[tuple[dict[str, Any], dict[str, Any], bool]]


def key(row: dict[str, Any]) -> tuple[Any, ...]:
    return row["rule"], row["size"], row["dtype"], row["threads"]


def noise(old: dict[str, Any], new: dict[str, Any]) -> float:
    """How much larger the old ratio may be, as a part of the new one, before it counts: the spreads of both runs together."""
    return float(max(LEAST_CHANGE, old["ratios"]["floor"]["spread"] + new["ratios"]["floor"]["spread"]))


def pair(old: dict[str, Any], new: dict[str, Any]) -> Pairs:
    """Rows (old, new, got slower) that both reports have.

    What is compared is the ratio to the floor, since machines drift.
    """
    before = {key(row): row for row in old["rows"]}
    pairs = []
    for row in new["rows"]:
        if key(row) in before:
            then = before[key(row)]
            least = then["ratios"]["floor"]["median"] / (1 + noise(then, row))
            pairs.append((then, row, row["ratios"]["floor"]["median"] < least))
    return pairs


def show(console: Console, old: dict[str, Any], new: dict[str, Any]) -> int:
    """Prints how the ratios to the floor changed.  Exit status: 1 where one fell, 2 where there is nothing to compare."""
    from rich.box import HORIZONTALS
    from rich.table import Table

    pairs = pair(old, new)
    if not pairs:
        console.print("Nothing to compare: the earlier run has no row of the same rule, size, dtype and threads.", style="red")
        return 2
    for what, name, detail in (("processor", "machine", "processor"), ("instruction set", "isa", "active")):
        was, is_now = (report["config"][name][detail] for report in (old, new))
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
