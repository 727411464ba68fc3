"""What `fastopt bench` prints: a table of 80 columns at most, and what its columns mean."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..words import duration, share, short, threads, times
from .machine import is_busy

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["RIVALS", "show"]

RIVALS = {"fused": "fused", "foreach": "foreach", "capturable": "capt.", "cupy": "CuPy", "optax": "optax"}
"""Arms on a GPU -> their columns, as narrow as 80 columns ask for."""

Row = dict[str, Any]
Columns = Mapping[str, Callable[[Row], str]]


def show(console: Console, report: dict[str, Any], formats: bool) -> None:
    """Prints the report: a table for either place, of rules or of their formats."""
    rows, gpu = report["rows"], "gpu" in report
    if rows:
        columns = (formats_on_gpu() if gpu else formats_on_host()) if formats else rules_on_gpu() if gpu else rules_on_host()
        heading = formats_heading if formats else size_heading if gpu else None
        print_table(console, title(report, formats), columns, rows, heading)
        lines = versions(report)
        lines += formats_lines(report) if formats else rules_lines(report)
        for line in lines:
            console.print(line, style="dim", highlight=False, soft_wrap=True)
        if any(is_busy(row) for row in rows):
            line = "* Other programs kept processors busy meanwhile: do not trust these rows."
            console.print(line, style="yellow", highlight=False)
    if report.get("host") is not None:
        show_host(console, report["host"])


def print_table(
    console: Console, title: str, columns: Columns, rows: Sequence[Row], heading: Callable[[Row], str] | None
) -> None:
    """Prints the rows in sections, each under its `heading`; without headings a line parts the sizes."""
    from rich.box import HORIZONTALS
    from rich.table import Table

    table = Table(title=title, box=HORIZONTALS, pad_edge=False, collapse_padding=True)
    for i, name in enumerate(columns):
        table.add_column(name, justify="right" if i else "left", no_wrap=True)
    section = None
    for row in rows:
        key = row["size"] if heading is None else heading(row)
        if key != section:
            section = key
            table.add_section()
            if heading is not None:
                table.add_row(f"[bold]{key}[/]")
        table.add_row(*(cell(row) for cell in columns.values()))
    console.print(table)


def title(report: dict[str, Any], formats: bool) -> str:
    config, row = report["config"], report["rows"][0]
    if "gpu" in report:
        words = [report["gpu"]["name"], report["gpu"]["arch"]]
    else:
        words = [config["isa"]["active"], threads(row["threads"])]
    return ", ".join([f"fastopt {config['version']}", *words, *([] if formats else [row["dtype"]])])


# ---- Columns -----------------------------------------------------------------------------------------------------------


def over(name: str) -> Callable[[Row], str]:
    """A cell of how many times as long an arm's step takes."""
    return lambda row: times(row["ratios"][name]["median"]) if name in row["ratios"] else "-"


def floor(row: Row) -> str:
    return share(row["ratios"]["floor"]["median"])


def rate(row: Row) -> float:
    """GB/s that fastopt's step moves."""
    return float(row["size"] * row["bytes_per_parameter"] / row["seconds"]["fastopt"] / 1e9)


def step(row: Row) -> str:
    return duration(row["seconds"]["fastopt"])


def cycles(row: Row) -> str:
    count = row["cycles"]
    return "-" if count is None else f"{count:.2f}" if count < 100 else f"{count:.0f}"


def rules_on_host() -> Columns:
    return {
        "rule": lambda row: row["rule"],
        "size": lambda row: short(row["size"]),
        "step": step,
        "GB/s": lambda row: f"{rate(row):.3g}",
        "floor": floor,
        "±": lambda row: f"{row['ratios']['floor']['spread']:.0%}{'*' * is_busy(row)}",
        "NumPy": over("numpy"),
        "torch": lambda row: f"{over('torch')(row)} {row['torch'] or ''}".rstrip(),
    }


def rules_on_gpu() -> Columns:
    rivals = {column: over(name) for name, column in RIVALS.items()}
    return {"rule": lambda row: row["rule"], "step": step, "GB/s": lambda row: f"{rate(row):.0f}", "copy": floor, **rivals}


def formats_on_host() -> Columns:
    return {
        **formats_columns(),
        "floor": lambda row: floor(row) + "*" * is_busy(row),
        "torch": over("torch"),
        "float32": over("float32"),
        "cycles": cycles,
    }


def formats_on_gpu() -> Columns:
    return {**formats_columns(), "copy": floor, **{name: over(name) for name in ("fused", "foreach", "float32")}}


def formats_columns() -> Columns:
    return {
        "formats": lambda row: row["formats"].replace(" masters", ""),  # 80 columns
        "held": lambda row: f"{row['bytes_held']:.1f}",
        "moved": lambda row: f"{row['bytes_per_parameter']:.1f}",
    }


def size_heading(row: Row) -> str:
    return f"{short(row['size'])} elements"


def formats_heading(row: Row) -> str:
    return f"{rule(row)}, {size_heading(row)}"


def rule(row: Row) -> str:
    """The rule of a row of `--formats`, whose label names both."""
    return str(row["rule"]).removesuffix(f", {row['formats']}")


# ---- What the columns mean ---------------------------------------------------------------------------------------------


def versions(report: dict[str, Any]) -> list[str]:
    config, installed = report["config"], report["versions"]
    torch = f"torch {installed['torch'] or 'not installed'}"
    if "gpu" not in report:
        return [f"{config['machine']['processor']}; NumPy {config['numpy']}, {torch}."]
    optax = f", optax {report['optax']}" if report["optax"] else ""
    cupy = f"cupy {installed.get('cupy') or 'not installed'}"
    return [f"{cupy}, {torch}{optax}; driver {report['gpu']['driver'] or 'unknown'}."]


def rules_lines(report: dict[str, Any]) -> list[str]:
    if "gpu" not in report:
        return [
            "floor: seconds of the same reads and writes without arithmetic, over fastopt's;",
            "±: how much that varies over the rounds.  NumPy, torch: their seconds over fastopt's.",
        ]
    return [
        "copy: seconds of a device-to-device copy that moves as many bytes, over fastopt's.",
        "The others, their seconds over fastopt's: torch fused, foreach, capturable;",
        "CuPy's expressions; optax jitted.",
        f"By events; arrays take turns where the {report['gpu']['cache'] / 1e6:.0f} MB of cache could hold them.",
    ]


def formats_lines(report: dict[str, Any]) -> list[str]:
    lines = [
        "formats: of parameters and gradients, of masters, of state.",
        "held: bytes a parameter, with gradient, state and master; moved: that a step reads and writes.",
    ]
    if "gpu" in report:
        return [
            *lines,
            "copy: seconds of a device-to-device copy that moves as many bytes, over the row's.",
            "fused, foreach (torch's), float32 (fastopt's): seconds of their all-float32 steps, over the row's.",
        ]
    implementations = {rule(row): f"{row['torch']} {rule(row)}" for row in report["rows"] if row["torch"] is not None}
    compared = f" ({', '.join(implementations.values())})" if implementations else ""
    return [
        *lines,
        "floor: seconds of the same reads and writes without arithmetic, over the row's.",
        f"torch{compared}, float32: seconds of their all-float32 steps, over the row's.",
        "cycles: of each thread, for an element of its share.",
    ]


def show_host(console: Console, host: dict[str, Any]) -> None:
    """Prints lines for what the host does in a step of many tensors."""
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
