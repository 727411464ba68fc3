"""The picture of `bench --plot`: how close each step comes to the speed of memory."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..palette import COLOURS, INK, MUTED, style
from ..words import threads

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["roofline"]

ROOF = "#edf2f7"

ARMS: dict[str, dict[str, Any]] = {
    "fastopt": {"color": COLOURS[0], "marker": "o", "linewidth": 2.4, "zorder": 4},
    "torch": {"color": COLOURS[3], "marker": "s", "linewidth": 1.5, "zorder": 3},
    "float32": {"color": COLOURS[1], "marker": "v", "linewidth": 1.5, "zorder": 2},
    "numpy": {"color": COLOURS[2], "marker": "^", "linewidth": 1.5, "zorder": 2},
}

Rows = list[dict[str, Any]]


def roofline(report: dict[str, Any], path: Path) -> None:
    """Draws a panel for each rule: GB/s of update traffic against the number of elements, with the floor's GB/s as the roof.

    A report of `--formats` has a panel for each combination: elements a nanosecond, since its arms do not move the same bytes.
    Each panel names the implementation of torch's that it shows.
    """
    from matplotlib.figure import Figure

    panels: dict[str, Rows] = {}
    for row in report["rows"]:
        panels.setdefault(row["rule"], []).append(row)
    across = min(3, max(1, len(panels)))
    down = -(-max(1, len(panels)) // across)
    by_formats = any(row["formats"] for row in report["rows"])
    # Figure without pyplot draws with Agg and leaves no state behind.
    figure = Figure(figsize=(4.0 * across + 0.4, 3.1 * down + 1.2), layout="constrained", dpi=150)
    grid = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False)
    for axes in grid.flat[len(panels) :]:
        axes.set_axis_off()
    shown: list[float] = []
    for i, (axes, (label, rows)) in enumerate(zip(grid.flat, panels.items(), strict=False)):
        shown += panel(axes, label, sorted(rows, key=lambda row: int(row["size"])), report, by_formats)
        if i % across == 0:
            axes.set_ylabel("elements a nanosecond" if by_formats else "GB/s of update traffic", color=INK)
        if i + across >= len(panels):
            axes.set_xlabel("elements", color=INK)
            axes.tick_params(labelbottom=True)
    if shown:
        grid[0, 0].set_ylim(min(shown) / 1.5, max(shown) * 1.5)
    figure.suptitle(title(report, by_formats), fontsize=12, color=INK)
    handles: dict[str, Any] = {}
    for axes in grid.flat:
        lines, names = axes.get_legend_handles_labels()
        handles = dict(zip(names, lines, strict=True)) | handles
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=4, frameon=False)
    figure.savefig(path)


def title(report: dict[str, Any], by_formats: bool) -> str:
    config, gpu = report["config"], report.get("gpu")
    machine = [gpu["name"], gpu["arch"]] if gpu else [config["machine"]["processor"], config["isa"]["active"]]
    for row in report["rows"][:1]:
        machine += [] if row["threads"] is None else [threads(row["threads"])]
        machine += [] if by_formats else [row["dtype"]]
    return f"How close each optimizer step comes to the speed of memory\n{', '.join(machine)}"


def panel(axes: Axes, label: str, rows: Rows, report: dict[str, Any], by_formats: bool) -> list[float]:
    """Draws one rule's lines; `rows`: by size.  Returns all values that the panel shows."""
    from matplotlib.ticker import FuncFormatter, NullFormatter

    style(axes, label.replace(", ", "\n", 1))  # a row of `--formats` names rule and formats
    axes.set_xscale("log")
    axes.set_yscale("log")
    shown: list[float] = []

    def rates(arm: str) -> tuple[list[int], list[float]]:
        having = [(row, seconds) for row in rows if (seconds := seconds_of(row, arm)) is not None]
        values = [row["size"] * (1 if by_formats else row["bytes_per_parameter"]) / seconds / 1e9 for row, seconds in having]
        shown.extend(values)
        return [row["size"] for row, _ in having], values

    sizes, roof = rates("floor")
    ratios = [row["ratios"]["floor"]["median"] for row in rows]
    least, most = f"{min(ratios):.0%}", f"{max(ratios):.0%}"
    span = least if least == most else f"{least} to {most}"
    above = "\n" if by_formats else ""  # beside the first line
    axes.set_title(f"{span} of the floor{above}", loc="right", fontsize=9, color=MUTED)
    axes.fill_between(sizes, roof, 1e-9, color=ROOF, zorder=0)
    axes.plot(sizes, roof, color=INK, linewidth=1.6, linestyle=(0, (4, 2)), marker="_", label="floor (same bytes, no arithmetic)")
    names = {
        "numpy": f"NumPy {report['config']['numpy']}",
        "torch": f"torch {report['versions']['torch']}",
        "float32": "fastopt, all float32",
    }
    for arm, look in ARMS.items():
        sizes, values = rates(arm)
        if sizes:
            axes.plot(sizes, values, label=names.get(arm, arm), markersize=5, **look)
    if rows[0]["torch"] is not None:
        look = {"color": ARMS["torch"]["color"], "fontsize": 9, "horizontalalignment": "right"}
        axes.text(0.97, 0.05, f"torch: {rows[0]['torch']}", transform=axes.transAxes, **look)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    return shown


def seconds_of(row: dict[str, Any], arm: str) -> float | None:
    """An arm's seconds, if the row has it; "torch" is the row's fastest implementation of torch's, whatever its arm is called."""
    seconds = row["seconds"]
    found: float | None = seconds.get(arm, seconds.get(row["torch"]) if arm == "torch" else None)
    return found
