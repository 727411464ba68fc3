"""The charts of `fastopt compare`, drawn on matplotlib's axes: the page has all of them, the picture the first two.

Artists that show a rule have a gid, its kind and the rule's number: `series-3`, `band-3`, `dots-3`, `mean-3`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..palette import COLOURS, DASHES, GRID, INK, dash
from .tasks import TASKS, Task

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

__all__ = ["highest", "loss", "score", "search", "spread", "task_of"]

Array = np.ndarray[Any, Any]
Report = dict[str, Any]

POINTS = 240
"""Points of a line, at most: more would be closer together than the line is wide."""


def loss(axes: Axes, report: Report, by: str = "step") -> None:
    """The training loss by steps or by seconds, and the loss that the rules are timed by."""
    curves = [[run["curves"]["loss"] for run in row["runs"]] for row in report["rows"]]
    x = [np.array([curve[by] for curve in rule], np.float64).mean(axis=0) for rule in curves]
    losses = [np.array([curve["train_loss"] for curve in rule], np.float64) for rule in curves]
    draw(axes, report, x, losses)
    axes.set_xlim(0, max((float(values[-1]) for values in x), default=1.0))
    axes.set_ylim(*loss_limits(losses, max((float(values[:, 0].max()) for values in losses), default=1.0)))
    linear(axes.xaxis, integer=by == "step")
    logarithmic(axes.yaxis)
    axes.set_xlabel("steps" if by == "step" else by, color=INK)
    level(axes, report["target_loss"]["loss"])


def task_of(report: Report) -> Task:
    return TASKS[report["data"]["task"]]


def score(axes: Axes, report: Report) -> None:
    """The test score by epochs."""
    task = task_of(report)
    name = f"test_{task.score}"
    runs = [np.array([run["curves"]["test"][name] for run in row["runs"]], np.float64) for row in report["rows"]]
    draw(axes, report, [np.arange(values.shape[1]) for values in runs], runs)
    ends = [row["mean"][name] for row in report["rows"] if math.isfinite(row["mean"][name])]
    best = max((float(values[np.isfinite(values)].max(initial=task.lowest)) for values in runs), default=1.0)
    low = max(task.lowest if best < 0.1 else 0.0, min([0.9, *(value - 0.05 for value in ends)]))
    axes.set_xlim(0, report["epochs"])
    axes.set_ylim(low, max(low + 0.1, min(1.0, math.ceil(20 * best + 0.2) / 20)))
    linear(axes.xaxis, integer=True)
    linear(axes.yaxis, task.factor, task.unit)
    axes.set_xlabel("epochs", color=INK)


def search(axes: Axes, report: Report) -> None:
    """The validation loss of each trial, by its learning rate, and the loss of the guess."""
    rates, losses = (
        [np.array([trial[name] for trial in row["trials"]], np.float64) for row in report["rows"]]
        for name in ("lr", "validation_loss")
    )
    draw(axes, report, rates, [values[None] for values in losses], marker="o", markersize=6)
    axes.set_xlim(min(map(np.min, rates)) / 1.3, max(map(np.max, rates)) * 1.3)
    axes.set_ylim(*loss_limits(losses, highest(report)))
    logarithmic(axes.xaxis)
    logarithmic(axes.yaxis)
    axes.set_xlabel("learning rate", color=INK)
    level(axes, report["target_loss"]["guess"])


def spread(axes: Axes, report: Report) -> None:
    """A dot for the test score of each run, a bar at their mean, a line for each rule; scores below the lowest leave the chart."""
    task = task_of(report)
    rows = [[run[f"test_{task.score}"] for run in row["runs"]] for row in report["rows"]]
    values = [value for row in rows for value in row if value >= task.lowest]
    low, high = min(values, default=0.0), max(values, default=1.0)
    unit = 0.01 if high - low < 0.1 else 0.05
    low, high = max(task.lowest, math.floor(low / unit) * unit), min(1.0, math.ceil(high / unit) * unit)
    if high <= low:
        low, high = max(task.lowest, low - unit), min(1.0, high + unit)
    for i, row in enumerate(rows):
        colour = COLOURS[i % len(COLOURS)]
        axes.axhline(i, color=GRID, linewidth=1)
        shown = [value for value in row if value >= task.lowest]
        axes.plot(shown, [i] * len(shown), "o", color=colour, markersize=8, alpha=0.5, clip_on=False, gid=f"dots-{i}")
        mean = float(np.mean(row))
        if mean >= low:
            axes.plot([mean, mean], [i - 0.36, i + 0.36], color=colour, linewidth=3, clip_on=False, gid=f"mean-{i}")
    axes.set_xlim(low, high)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_yticks(range(len(rows)), [row["rule"] for row in report["rows"]])
    linear(axes.xaxis, task.factor, task.unit)
    axes.set_xlabel(f"test {task.title}", color=INK)


def highest(report: Report) -> float:
    """The validation loss up to which the search is shown: most losses, the guess's, and each rule's least."""
    losses = [[trial["validation_loss"] for trial in row["trials"]] for row in report["rows"]]
    finite = [loss for rule in losses for loss in rule if math.isfinite(loss)]
    least = [min(rule) for rule in losses if rule and math.isfinite(min(rule))]
    most = float(np.quantile(finite, 0.9)) if finite else 0.0
    guess = report["target_loss"]["guess"]
    return float(max([min(most, 1e4 * guess), guess, *least]))


# ---- Parts -------------------------------------------------------------------------------------------------------------


def draw(axes: Axes, report: Report, x: Sequence[Array], runs: Sequence[Array], **look: Any) -> None:
    """A line for each rule, the mean of its runs, in the band of all of them; `runs`: of each rule, shape (runs, points).

    A line has a gap where a run diverged.
    """
    for i, row in enumerate(report["rows"]):
        kept = np.unique(np.linspace(0, len(x[i]) - 1, min(len(x[i]), POINTS)).round().astype(int))
        places, values = x[i][kept], np.ma.masked_invalid(runs[i][:, kept])
        shown: dict[str, Any] = {"color": COLOURS[i % len(COLOURS)], "gid": f"band-{i}"}
        if len(values) > 1:
            low, high, whole = values.min(axis=0), values.max(axis=0), ~values.mask.any(axis=0)
            axes.fill_between(places, low, high, where=whole, alpha=0.1, linewidth=0, zorder=2, **shown)
        shown |= {"gid": f"series-{i}", "linestyle": DASHES[dash(i)], "label": row["rule"], "zorder": 3 + i % 2}
        axes.plot(places, np.ma.array(values.mean(axis=0), mask=values.mask.any(axis=0)), linewidth=1.8, **shown, **look)


def level(axes: Axes, value: float) -> None:
    """A dotted line across at a value.  The words below the chart name it, since words in the chart would hide curves."""
    axes.axhline(value, color=INK, linewidth=1, linestyle=(0, (2, 4)), zorder=1)


def loss_limits(losses: Sequence[Array], usual: float) -> tuple[float, float]:
    """From the least loss to little above what is `usual`: what diverged leaves the chart."""
    positive = [loss[np.isfinite(loss) & (loss > 0)] for loss in losses]
    low = min((float(loss.min()) for loss in positive if loss.size), default=0.1)
    high = usual if math.isfinite(usual) and usual > 0 else 1.0
    low = max(low, 1e-7 * high)
    return min(low, high / 2) / 1.2, high * 1.4


def logarithmic(axis: Axis) -> None:
    """A logarithmic scale between the limits that are set, with three ticks or more, at round numbers."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    low, high = axis.get_view_interval()
    direction = "x" if axis is axis.axes.xaxis else "y"
    axis.axes.set(**{f"{direction}scale": "log", f"{direction}lim": (low, high)})
    decades = math.log10(high / low)
    axis.set_major_locator(LogLocator(subs=(1,) if decades >= 3 else (1, 2, 5) if decades >= 1 else range(1, 10)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def linear(axis: Axis, factor: int = 1, unit: str = "", *, integer: bool = False) -> None:
    """A few ticks at round numbers, which stand there `factor` times as large, with a unit."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10], integer=integer))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{factor * value:.4g}{unit}"))
