"""Draws docs/images/schedules.png, every schedule with the arguments in its title: `python tools/draw_schedules.py`."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

from matplotlib.figure import Figure

from fastopt import schedules
from fastopt.cli.palette import COLOURS, INK, style

STEPS = 100
S = schedules

PANELS = (
    (S.constant(1.0), S.constant(1.0, warmup=10)),
    (S.exponential(1.0, 0.5, 20), S.exponential(1.0, 0.5, 20, staircase=True), S.exponential(1.0, 0.5, 20, warmup=10)),
    (S.step(1.0, 25, 0.5), S.step(1.0, 25, 0.5, warmup=10)),
    (S.multi_step(1.0, [30, 70], 0.3), S.multi_step(1.0, [30, 70], 0.3, warmup=10)),
    (S.piecewise([30, 60], [0.5, 1.0, 0.2]), S.piecewise([30, 60], [0.5, 1.0, 0.2], warmup=10)),
    (S.polynomial(1.0, 100, power=2.0), S.polynomial(1.0, 40, 0.1, cycle=True), S.polynomial(1.0, 100, power=2.0, warmup=10)),
    (S.linear(1.0, 100), S.linear(1.0, 100, 0.2, warmup=10)),
    (S.cosine(1.0, 100), S.cosine(1.0, 100, 0.2, warmup=10)),
    (S.cosine_restarts(1.0, 25), S.cosine_restarts(1.0, 14, 2.0, 0.8, warmup=2)),
    (S.one_cycle(1.0, 100), S.one_cycle(1.0, 100, anneal="linear", three_phase=True)),
    (S.inverse_sqrt(1.0, 10), S.inverse_sqrt(1.0, warmup=10)),
    (S.inverse_time(1.0, 0.1), S.inverse_time(1.0, 1.0, 20, staircase=True), S.inverse_time(1.0, 0.1, warmup=10)),
    (
        S.warmup_stable_decay(1.0, 100, warmup=10),
        S.warmup_stable_decay(1.0, 100, 40, shape="1-sqrt", warmup=10),
        S.warmup_stable_decay(1.0, 100, 40, shape="cosine", warmup=10),
    ),
    (S.join([S.linear(0.2, 30, 1.0), S.constant(1.0), S.cosine(1.0, 40)], [30, 60]),),
)


def plateau() -> tuple[list[float], list[float]]:
    """A loss that stops falling now and then, and the rate that follows it."""
    reducing = S.ReduceOnPlateau(1.0, factor=0.5, patience=8)
    rates, losses = [], []
    for step in range(STEPS + 1):
        rates.append(reducing(step))
        losses.append(0.25 + 0.6 * math.exp(-(step % 34 if step < 34 else 34) / 8) - 0.1 * min(max(step - 60, 0), 15) / 15)
        reducing.step(losses[-1])
    return rates, losses


def named(schedule: S.schedule.Schedule) -> str:
    """The call, without the rate of 1 that all have; for a join its name."""
    text = repr(schedule) if not isinstance(schedule, S.join) else "join([linear, constant, cosine], [30, 60])"
    return text.replace("max_lr=1.0, ", "").replace("lr=1.0, ", "").replace("lr=1.0", "").split("(", 1)[1][:-1] or "lr"


def main() -> None:
    figure = Figure(figsize=(15, 14), layout="constrained", dpi=110)
    grid = figure.subplots(5, 3, sharex=True, sharey=True)
    for axes, panel in itertools.zip_longest(grid.flat, PANELS):
        title = "ReduceOnPlateau" if panel is None else type(panel[0]).__name__
        style(axes, title)
        axes.set_ylim(-0.03, 1.3)
        axes.set_yticks([0, 0.5, 1])
        if panel is None:
            rates, losses = plateau()
            axes.plot(losses, color=COLOURS[3], linewidth=1.2, label="the loss that it is given")
            axes.plot(rates, color=COLOURS[0], linewidth=2, drawstyle="steps-post", label="factor=0.5, patience=8")
        for i, schedule in enumerate(panel or ()):
            points = [step / 4 for step in range(4 * STEPS)]
            look = {"color": COLOURS[(0, 1, 2)[i]], "linewidth": 2, "linestyle": ("-", "--", ":")[i]}
            axes.plot(points, [schedule(point) for point in points], label=named(schedule), **look)
        axes.legend(loc="upper right", frameon=False, fontsize=8, handlelength=2, labelspacing=0.2, borderaxespad=0)
    for axes in grid[-1]:
        axes.set_xlabel("completed steps", color=INK)
    for axes in grid[:, 0]:
        axes.set_ylabel("lr", color=INK)
    figure.savefig(Path(__file__).resolve().parent.parent / "docs" / "images" / "schedules.png")


if __name__ == "__main__":
    main()
