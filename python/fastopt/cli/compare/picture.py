"""The picture of `compare --plot`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..palette import COLOURS, INK, style
from ..words import seeds
from .charts import loss, score, task_of

__all__ = ["curves"]


def curves(report: dict[str, Any], path: Path) -> None:
    """Draws training loss by steps and the test score by epochs; dots on the target show where each rule got there."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 6.6), layout="constrained", dpi=150)
    left, right = figure.subplots(1, 2)
    task, target = task_of(report), report["target_loss"]["loss"]
    style(left, "Training loss")
    style(right, f"Test {task.title}")
    loss(left, report)
    score(right, report)
    for i, row in enumerate(report["rows"]):
        if row["to_target"]["steps"] is not None:
            look: dict[str, Any] = {"s": 26, "zorder": 6, "edgecolors": "white", "linewidths": 0.7}
            left.scatter([row["to_target"]["steps"]], [target], color=COLOURS[i % len(COLOURS)], **look)
    many = "; lines: means, bands: all runs" if len(report["seeds"]) > 1 else ""
    trained = f"The same network on {report['data']['name']}, batches of {report['batch_size']}, {seeds(report['seeds'])}{many}"
    explained = f"Loss: {task.loss}. Dotted line: {target:.3g}, by which rules are timed; dots: where a rule reaches it."
    figure.suptitle(f"{trained}\n{explained}", fontsize=11, color=INK, parse_math=False)
    lines, names = left.get_legend_handles_labels()
    figure.legend(lines, names, loc="outside lower center", ncols=min(7, max(1, len(names))), frameon=False, handlelength=3.5)
    figure.savefig(path)
