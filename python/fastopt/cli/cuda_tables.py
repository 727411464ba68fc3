"""What `fastopt bench --device cuda` prints."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from . import words

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["as_drawn", "show", "show_formats"]

RIVALS = {"fused": "fused", "foreach": "foreach", "capturable": "capt.", "cupy": "CuPy", "optax": "optax"}
"""Arms -> their columns, as narrow as 80 columns ask for."""


def show(console: Console, report: dict[str, Any]) -> None:
    """Prints the report as a table, 80 columns wide at most, with what its columns mean, and the host's times below."""
    from rich.box import HORIZONTALS
    from rich.table import Table

    gpu, rows = report["gpu"], report["rows"]
    if rows:
        table = Table(title=title(report, rows[0]["dtype"]), box=HORIZONTALS, pad_edge=False, collapse_padding=True)
        for name in ("rule", "step", "GB/s", "copy", *RIVALS.values()):
            table.add_column(name, justify="left" if name == "rule" else "right", no_wrap=True)
        size = None
        for row in rows:
            if row["size"] != size:
                size = row["size"]
                table.add_section()
                table.add_row(f"[bold]{words.short(size)} elements[/]")
            table.add_row(
                row["rule"],
                words.duration(row["seconds"]["fastopt"]),
                f"{row['size'] * row['bytes_per_parameter'] / row['seconds']['fastopt'] / 1e9:.0f}",
                words.share(row["ratios"]["floor"]["median"]),
                *(times_of(row, name) for name in RIVALS),
            )
        console.print(table)
        say(
            console,
            versions(report),
            "copy: seconds of a device-to-device copy that moves as many bytes, over fastopt's.",
            "The others, their seconds over fastopt's: torch fused, foreach, capturable;",
            "CuPy's expressions; optax jitted.",
            f"By events; arrays take turns where the {gpu['cache'] / 1e6:.0f} MB of cache could hold them.",
        )
    if report["host"] is not None:
        show_host(console, report["host"])


def show_host(console: Console, host: dict[str, Any]) -> None:
    """Lines for what the host does in a step of many tensors."""
    console.print(f"Host time of one AdamW step of GPT-2's {host['tensors']} tensors:", highlight=False)
    wording = {
        "bound": "gradients bound",
        "given": "the same gradients given each step",
        "changing": "other gradients each step",
        "torch fused": "torch fused",
    }
    for name, seconds in host["seconds"].items():
        count = host["launches"].get(name)
        launched = "" if count is None else ", 1 launch" if count == 1 else f", {count} launches"
        console.print(f"  {wording[name]}: {seconds * 1e6:.1f} µs{launched}", highlight=False)


def show_formats(console: Console, report: dict[str, Any]) -> None:
    """The same of `--formats`."""
    from rich.box import HORIZONTALS
    from rich.table import Table

    rows = report["rows"]
    if not rows:
        return
    table = Table(title=title(report), box=HORIZONTALS, pad_edge=False, collapse_padding=True)
    for name in ("formats", "held", "moved", "copy", "fused", "foreach", "float32"):
        table.add_column(name, justify="left" if name == "formats" else "right", no_wrap=True)
    section = None
    for row in rows:
        rule = row["rule"].removesuffix(f", {row['formats']}")
        if (rule, row["size"]) != section:
            section = (rule, row["size"])
            table.add_section()
            table.add_row(f"[bold]{rule}, {words.short(row['size'])} elements[/]")
        table.add_row(
            row["formats"].replace(" masters", ""),  # 80 columns
            f"{row['bytes_held']:.1f}",
            f"{row['bytes_per_parameter']:.1f}",
            words.share(row["ratios"]["floor"]["median"]),
            *(times_of(row, name) for name in ("fused", "foreach", "float32")),
        )
    console.print(table)
    say(
        console,
        versions(report),
        "formats: of parameters and gradients, of masters, of state.",
        "held: bytes a parameter, with gradient, state and master; moved: that a step reads and writes.",
        "copy: seconds of a device-to-device copy that moves as many bytes, over the row's.",
        "fused, foreach (torch's), float32 (fastopt's): seconds of their all-float32 steps, over the row's.",
    )


def title(report: dict[str, Any], *more: str) -> str:
    gpu = report["gpu"]
    return ", ".join([f"fastopt {report['config']['version']}", gpu["name"], gpu["arch"], *more])


def versions(report: dict[str, Any]) -> str:
    installed = report["versions"]
    named = [f"{name} {installed.get(name) or 'not installed'}" for name in ("cupy", "torch")]
    optax = report["optax"]
    return f"{', '.join([*named, *([f'optax {optax}'] if optax else [])])}; driver {report['gpu']['driver'] or 'unknown'}."


def times_of(row: dict[str, Any], name: str) -> str:
    return words.times(row["ratios"][name]["median"]) if name in row["ratios"] else "-"


def say(console: Console, *lines: str) -> None:
    for line in lines:
        console.print(line, style="dim", highlight=False, soft_wrap=True)


def as_drawn(report: dict[str, Any]) -> dict[str, Any]:
    """The report in the words that `plots.roofline` knows, with one implementation of torch's."""
    drawn = copy.deepcopy(report)
    gpu = drawn["gpu"]
    drawn["config"]["machine"]["processor"], drawn["config"]["isa"]["active"] = gpu["name"], gpu["arch"]
    for row in drawn["rows"]:
        seconds = row["seconds"]
        if row["torch"] is not None:
            seconds["torch"] = seconds[row["torch"]]
    return drawn
