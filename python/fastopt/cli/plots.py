"""The pictures: the roofline of `bench --plot` and the curves of `compare --plot`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .palette import COLOURS, DASHES, dash
from .words import seeds, threads

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["COLOURS", "INK", "curves", "roofline", "style"]

INK, MUTED, GRID, ROOF = "#1f2933", "#616e7c", "#e4e7eb", "#edf2f7"

ARMS = {
    "fastopt": {"color": COLOURS[0], "marker": "o", "linewidth": 2.4, "zorder": 4},
    "torch": {"color": COLOURS[3], "marker": "s", "linewidth": 1.5, "zorder": 3},
    "float32": {"color": COLOURS[1], "marker": "v", "linewidth": 1.5, "zorder": 2},
    "numpy": {"color": COLOURS[2], "marker": "^", "linewidth": 1.5, "zorder": 2},
}


def style(axes: Axes, title: str) -> None:
    axes.set_title(title, loc="left", fontsize=11, fontweight="bold", color=INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(MUTED)
    axes.tick_params(which="both", color=GRID, labelcolor=MUTED, labelsize=9)
    axes.grid(True, which="major", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)


def roofline(report: dict[str, Any], path: Path) -> None:
    """A panel for each rule: GB/s of update traffic against the number of elements, with the floor's GB/s as the roof.

    Of `--formats` one for each combination: elements a nanosecond, since its arms do not move the same bytes.
    Each names the implementation of torch's that it shows.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, NullFormatter

    config, versions = report["config"], report["versions"]
    rows: dict[str, list[dict[str, Any]]] = {}
    for row in report["rows"]:
        rows.setdefault(row["rule"], []).append(row)
    across = min(3, max(1, len(rows)))
    by_formats = any(row["formats"] for row in report["rows"])
    down = -(-max(1, len(rows)) // across)
    # Figure without pyplot draws with Agg and leaves no state behind.
    figure = Figure(figsize=(4.0 * across + 0.4, 3.1 * down + 1.2), layout="constrained", dpi=150)
    grid = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False)
    for axes in grid.flat[len(rows) :]:
        axes.set_axis_off()
    lowest, highest = float("inf"), 0.0
    for i, (axes, (label, entries)) in enumerate(zip(grid.flat, rows.items(), strict=False)):
        style(axes, label.replace(", ", "\n", 1))  # of `--formats`: rule and formats
        axes.set_xscale("log")
        axes.set_yscale("log")
        points = sorted(entries, key=lambda row: int(row["size"]))

        def rates(arm: str, points: list[dict[str, Any]] = points) -> tuple[list[int], list[float]]:
            having = [row for row in points if arm in row["seconds"]]
            return [row["size"] for row in having], [
                row["size"] * (1 if by_formats else row["bytes_per_parameter"]) / row["seconds"][arm] / 1e9 for row in having
            ]

        sizes, roof = rates("floor")
        ratios = [row["ratios"]["floor"]["median"] for row in points]
        least, most = f"{min(ratios):.0%}", f"{max(ratios):.0%}"
        span = least if least == most else f"{least} to {most}"
        above = "\n" if by_formats else ""  # beside the first line
        axes.set_title(f"{span} of the floor{above}", loc="right", fontsize=9, color=MUTED)
        axes.fill_between(sizes, roof, 1e-9, color=ROOF, zorder=0)
        axes.plot(
            sizes, roof, color=INK, linewidth=1.6, linestyle=(0, (4, 2)), marker="_", label="floor (same bytes, no arithmetic)"
        )
        for arm, look in ARMS.items():
            sizes, values = rates(arm)
            if sizes:
                name = {
                    "numpy": f"NumPy {config['numpy']}",
                    "torch": f"torch {versions['torch']}",
                    "float32": "fastopt, all float32",
                }.get(arm, arm)
                axes.plot(sizes, values, label=name, markersize=5, **look)
        implementation = points[0]["torch"]
        if implementation is not None:
            look = {"color": ARMS["torch"]["color"], "fontsize": 9, "horizontalalignment": "right"}
            axes.text(0.97, 0.05, f"torch: {implementation}", transform=axes.transAxes, **look)
        shown = [value for arm in ("floor", *ARMS) for value in rates(arm)[1]]
        lowest, highest = min([lowest, *shown]), max([highest, *shown])
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
        if i % across == 0:
            axes.set_ylabel("elements a nanosecond" if by_formats else "GB/s of update traffic", color=INK)
        if i + across >= len(rows):
            axes.set_xlabel("elements", color=INK)
            axes.tick_params(labelbottom=True)
    if rows:
        grid[0, 0].set_ylim(lowest / 1.5, highest * 1.5)
    entry: dict[str, Any] = report["rows"][0] if rows else {"dtype": "", "threads": 0}
    figure.suptitle(
        f"How close each optimizer step comes to the speed of memory\n"
        f"{config['machine']['processor']}, {config['isa']['active']}"
        + ("" if entry["threads"] is None else f", {threads(entry['threads'])}")
        + ("" if by_formats else f", {entry['dtype']}"),
        fontsize=12,
        color=INK,
    )
    handles: dict[str, Any] = {}
    for axes in grid.flat:
        lines, names = axes.get_legend_handles_labels()
        handles = dict(zip(names, lines, strict=True)) | handles
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=4, frameon=False)
    figure.savefig(path)


def curves(report: dict[str, Any], path: Path) -> None:
    """Training loss by steps and test accuracy by epochs: a line for each rule, the mean over the seeds, in the band of all seeds.

    A line across shows the loss by which steps are counted; a mark on each rule's line, where it got there.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    rows, target = report["rows"], report["target_loss"]["loss"]
    figure = Figure(figsize=(12, 6.4), layout="constrained", dpi=150)
    left, right = figure.subplots(1, 2)
    style(left, "Training loss (mean cross-entropy, nats)")
    style(right, "Test accuracy")
    left.axhline(target, color=INK, linewidth=1, linestyle=(0, (1, 3)), zorder=1)
    for i, row in enumerate(rows):
        look: dict[str, Any] = {"color": COLOURS[i % len(COLOURS)], "zorder": 3 + i % 2}
        dashes = DASHES[dash(i)]
        for axes, curve, name in ((left, "loss", "train_loss"), (right, "test", "test_accuracy")):
            runs = np.array([run["curves"][curve][name] for run in row["runs"]])
            x = np.asarray(row["runs"][0]["curves"]["loss"]["step"]) if axes is left else np.arange(runs.shape[1])
            axes.fill_between(x, runs.min(axis=0), runs.max(axis=0), color=look["color"], alpha=0.1, linewidth=0, zorder=2)
            axes.plot(x, runs.mean(axis=0), linestyle=dashes, linewidth=1.8, label=row["rule"], **look)
        if row["to_target"]["steps"] is not None:
            left.scatter(
                [row["to_target"]["steps"]], [target], color=look["color"], s=26, zorder=6, edgecolors="white", linewidths=0.7
            )
    starts = [run["curves"]["loss"]["train_loss"][0] for row in rows for run in row["runs"]]
    left.set_yscale("log")
    left.set_ylim(top=1.6 * max(starts, default=1.0))  # what diverges leaves the picture
    worst = min((row["mean"]["test_accuracy"] for row in rows), default=1.0)
    right.set_ylim(max(0.0, min(0.9, worst - 0.05)), 1.0)
    right.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    steps = max((run["steps"] for row in rows for run in row["runs"]), default=1)
    for axes, label, last in ((left, "steps", steps), (right, "epochs", report["epochs"])):
        axes.set_xlabel(label, color=INK)
        axes.set_xlim(0, last)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    left.annotate(
        f"target: {target:.3g}",
        (1, target),
        xycoords=("axes fraction", "data"),
        xytext=(-4, 4),
        textcoords="offset points",
        horizontalalignment="right",
        fontsize=9,
        color=MUTED,
    )
    many = "; lines: means, bands: all runs" if len(report["seeds"]) > 1 else ""
    figure.suptitle(
        f"The same network on {report['data']['name']}, batches of {report['batch_size']}, {seeds(report['seeds'])}{many}",
        fontsize=12,
        color=INK,
        parse_math=False,
    )
    lines, names = left.get_legend_handles_labels()
    figure.legend(lines, names, loc="outside lower center", ncols=min(7, max(1, len(names))), frameon=False, handlelength=3.5)
    figure.savefig(path)
