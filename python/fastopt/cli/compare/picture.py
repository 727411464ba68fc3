"""The picture of `compare --plot`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..palette import COLOURS, DASHES, INK, MUTED, dash, style
from ..words import seeds

__all__ = ["curves"]


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
