"""Charts of the page that `compare --html` writes: inline SVG whose colours and highlights are the page's style sheet's."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np

from ..palette import COLOURS, dash

__all__ = ["Axis", "Series", "dots", "lines", "look"]

Array = np.ndarray[Any, Any]

WIDTH, HEIGHT = 520, 340
LEFT, RIGHT, TOP, BOTTOM = 66, 22, 12, 44
POINTS = 240
"""Of a line, at most: more would be closer together than the line is wide."""


@dataclass(frozen=True)
class Axis:
    """Where values lie along one direction of a chart, and how they are written."""

    label: str
    low: float
    high: float
    log: bool = False
    text: Callable[[float], str] = "{:g}".format

    def place(self, values: Array) -> Array:
        """From 0 at `low` to 1 at `high`; NaN stays NaN."""
        with np.errstate(all="ignore"):
            if self.log:
                values = np.log(np.maximum(values, 1e-300))  # np.maximum keeps NaN
                return np.asarray((values - math.log(self.low)) / math.log(self.high / self.low))
            return np.asarray((values - self.low) / (self.high - self.low))

    def ticks(self) -> list[float]:
        """Round numbers, three to eight of them where there are so many."""
        if self.log:
            first, last = math.ceil(math.log10(self.low) - 1e-9), math.floor(math.log10(self.high) + 1e-9)
            apart = max(1, -(-(last - first) // 6))
            ticks = [10.0**power for power in range(first, last + 1, apart)]
            for factors in ((1, 2, 5), range(1, 10)):
                if len(ticks) < 3:
                    fine = [factor * 10.0**power for power in range(first - 1, last + 1) for factor in factors]
                    ticks = [tick for tick in fine if self.low <= tick <= self.high]
            return ticks
        rough = (self.high - self.low) / 5
        unit = 10.0 ** math.floor(math.log10(rough))
        apart_by = next(factor * unit for factor in (1, 2, 5, 10) if factor * unit >= 0.999 * rough)
        count = math.floor(self.high / apart_by + 1e-9)
        return [i * apart_by for i in range(math.ceil(self.low / apart_by - 1e-9), count + 1)]


@dataclass(frozen=True)
class Series:
    """One rule's line: its number among all rules, its name, and values for each x of each run, shape (runs, points)."""

    number: int
    name: str
    x: Array
    runs: Array
    marks: bool = False
    """Whether the points themselves are drawn too."""


def look(number: int) -> str:
    """The classes that give the rule of this number its colour and dashes."""
    return f"c{number % len(COLOURS)} d{dash(number)}"


def lines(
    name: str, title: str, about: str, series: Sequence[Series], x: Axis, y: Axis, level: tuple[float, str] | None = None
) -> str:
    """A chart of lines, the means of the runs, each in the band of all its runs; `level`: a line across, and its name.

    `name`: of the chart in the page, unique there; `title` and `about` are what a screen reader says.
    """
    parts = [frame(name, x, y)]
    bands, strokes = [], []
    for one in series:
        kept = np.unique(np.linspace(0, one.runs.shape[1] - 1, min(one.runs.shape[1], POINTS)).round().astype(int))
        runs = one.runs[:, kept]
        places, with_axis = x.place(np.asarray(one.x, np.float64)[kept]), (y.place(runs.min(axis=0)), y.place(runs.max(axis=0)))
        mean = y.place(runs.mean(axis=0))
        if len(runs) > 1:
            for piece in pieces(*with_axis):
                outline = points(places[piece], with_axis[0][piece]) + points(places[piece][::-1], with_axis[1][piece][::-1])
                bands.append(
                    f'<polygon class="band c{one.number % len(COLOURS)}" data-s="{one.number}" points="{" ".join(outline)}"/>'
                )
        drawn = "".join(f'<polyline points="{" ".join(points(places[piece], mean[piece]))}"/>' for piece in pieces(places, mean))
        if one.marks:
            for piece in pieces(places, mean):
                for point in points(places[piece], mean[piece]):
                    across_, down = point.split(",")
                    drawn += f'<circle cx="{across_}" cy="{down}" r="3"/>'
        strokes.append(f'<g class="series {look(one.number)}" data-s="{one.number}" data-name="{escape(one.name)}">{drawn}</g>')
    parts.append(f'<g clip-path="url(#{name}-clip)">{"".join(bands)}{"".join(strokes)}</g>')
    if level is not None:
        parts.append(across(level, y))
    scale = (
        f'data-x="{x.low!r},{x.high!r},{int(x.log)}" data-y="{y.low!r},{y.high!r},{int(y.log)}" data-xlabel="{escape(x.label)}" '
        f'data-ylabel="{escape(y.label)}" data-box="{LEFT},{TOP},{WIDTH - RIGHT},{HEIGHT - BOTTOM}"'
    )
    return svg(name, title, about, HEIGHT, parts, scale)


def dots(name: str, title: str, about: str, rows: Sequence[tuple[int, str, Sequence[float]]], x: Axis) -> str:
    """A line for each rule (number, name, values): a dot for each value, a bar at their mean."""
    step, left = 22, 162
    height = TOP + step * len(rows) + BOTTOM

    def across(value: float) -> float:
        return left + float(np.clip(x.place(np.array(value)), 0, 1)) * (WIDTH - RIGHT - left)

    parts = []
    for tick in x.ticks():
        at = number(across(tick))
        parts.append(f'<line class="grid" x1="{at}" x2="{at}" y1="{TOP}" y2="{height - BOTTOM}"/>')
        parts.append(f'<text class="tick" x="{at}" y="{height - BOTTOM + 18}" text-anchor="middle">{escape(x.text(tick))}</text>')
    parts.append(
        f'<text class="label" x="{(left + WIDTH - RIGHT) / 2:.0f}" y="{height - 6}" text-anchor="middle">{escape(x.label)}</text>'
    )
    for i, (which, rule, values) in enumerate(rows):
        middle = TOP + step * (i + 0.5)
        finite = [value for value in values if math.isfinite(value)]
        drawn = f'<text class="name" x="{left - 10}" y="{middle + 4.5:.1f}" text-anchor="end">{escape(rule)}</text>'
        drawn += f'<line class="rail" x1="{left}" x2="{WIDTH - RIGHT}" y1="{middle}" y2="{middle}"/>'
        drawn += "".join(f'<circle cx="{number(across(value))}" cy="{middle}" r="4"/>' for value in finite)
        if finite:
            mean = number(across(sum(finite) / len(finite)))
            drawn += f'<line class="mean" x1="{mean}" x2="{mean}" y1="{middle - 8}" y2="{middle + 8}"/>'
        parts.append(f'<g class="series dots c{which % len(COLOURS)}" data-s="{which}">{drawn}</g>')
    return svg(name, title, about, height, parts)


def svg(name: str, title: str, about: str, height: int, parts: Sequence[str], more: str = "") -> str:
    return (
        f'<svg id="{name}" class="chart" viewBox="0 0 {WIDTH} {height}" role="img" aria-labelledby="{name}-title {name}-about" {more}>'
        f'<title id="{name}-title">{escape(title)}</title><desc id="{name}-about">{escape(about)}</desc>{"".join(parts)}</svg>'
    )


def frame(name: str, x: Axis, y: Axis) -> str:
    """Grid, ticks and labels of a chart of lines, and the region that its lines keep to."""
    wide, high = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
    parts = [f'<clipPath id="{name}-clip"><rect x="{LEFT}" y="{TOP - 4}" width="{wide}" height="{high + 8}"/></clipPath>']
    for tick in y.ticks():
        down = number(HEIGHT - BOTTOM - float(y.place(np.array(tick))) * high)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{down}" y2="{down}"/>')
        parts.append(f'<text class="tick" x="{LEFT - 8}" y="{down}" dy="4.5" text-anchor="end">{escape(y.text(tick))}</text>')
    for tick in x.ticks():
        across = number(LEFT + float(x.place(np.array(tick))) * wide)
        parts.append(f'<line class="grid" x1="{across}" x2="{across}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>')
        parts.append(
            f'<text class="tick" x="{across}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{escape(x.text(tick))}</text>'
        )
    parts.append(
        f'<text class="label" x="{LEFT + wide / 2:.0f}" y="{HEIGHT - 6}" text-anchor="middle">{escape(x.label)}</text>'
        f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{HEIGHT - BOTTOM}" y2="{HEIGHT - BOTTOM}"/>'
    )
    return "".join(parts)


def across(level: tuple[float, str], y: Axis) -> str:
    """A line across at a value, with its name."""
    value, text = level
    place = float(y.place(np.array(value)))
    if not 0 <= place <= 1:
        return ""
    down = number(HEIGHT - BOTTOM - place * (HEIGHT - TOP - BOTTOM))
    return (
        f'<line class="level" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{down}" y2="{down}"/>'
        f'<text class="level-name" x="{WIDTH - RIGHT}" y="{down}" dy="-5" text-anchor="end">{escape(text)}</text>'
    )


def pieces(*values: Array) -> list[slice]:
    """Where all of them are finite, run by run of neighbours: a line has a gap where a run diverged."""
    finite = np.concatenate(([False], np.all([np.isfinite(value) for value in values], axis=0), [False]))
    edges = np.flatnonzero(finite[1:] != finite[:-1])
    return [slice(int(begin), int(end)) for begin, end in zip(edges[::2], edges[1::2], strict=True)]


def points(x: Array, y: Array) -> list[str]:
    """Places from 0 to 1 as points of the drawing; what lies far outside is brought to its edge, where it is clipped."""
    across = LEFT + np.clip(x, -1, 2) * (WIDTH - LEFT - RIGHT)
    down = HEIGHT - BOTTOM - np.clip(y, -1, 2) * (HEIGHT - TOP - BOTTOM)
    return [f"{number(a)},{number(d)}" for a, d in zip(across, down, strict=True)]


def number(value: float) -> str:
    """A coordinate to a tenth of a pixel, as short as it can be written."""
    return f"{value:.1f}".removesuffix(".0")
