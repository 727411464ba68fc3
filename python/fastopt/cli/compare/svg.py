"""matplotlib's charts as parts of a page: inline SVG whose colours and fonts are the page's, by its style sheet."""

from __future__ import annotations

import io
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..palette import COLOURS, GRID, INK, MUTED

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Chart"]

WIDTH, HEIGHT = 520, 340
LEFT, RIGHT, TOP, BOTTOM = 66, 22, 12, 44

FONT = 13
"""Pixels, as in page.css; matplotlib's points are the drawing's pixels."""

VARIABLES = {INK: "ink", MUTED: "muted", GRID: "grid"} | {colour: f"c{i}" for i, colour in enumerate(COLOURS)}
"""Colours that are drawn -> the style sheet's variables, which have other values in the dark."""

SETTINGS: dict[Any, Any] = {
    "svg.fonttype": "none",
    "path.simplify": False,
    "font.size": FONT,
    "xtick.labelsize": FONT,
    "ytick.labelsize": FONT,
}

NAMESPACE, HREF = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}href"


@dataclass(frozen=True)
class Chart:
    """A chart of a report: how it is drawn and what it is called."""

    name: str
    """Unique in the page."""
    title: str
    about: str
    """What a screen reader says after the title."""
    draw: Callable[..., None]
    """Called with matplotlib's axes and the report."""
    unit: str = ""
    """What the vertical axis shows, for the tip under the pointer; no unit, no tip."""
    rows: bool = False
    """Whether each rule has a row of its own, with its name at the left."""

    def svg(self, report: dict[str, Any]) -> str:
        """The chart as an SVG element of a page."""
        import matplotlib as mpl
        from matplotlib.figure import Figure

        left = 162 if self.rows else LEFT
        height = TOP + 22 * len(report["rows"]) + BOTTOM if self.rows else HEIGHT
        with mpl.rc_context({**SETTINGS, "svg.hashsalt": self.name}):
            figure = Figure(figsize=(WIDTH / 72, height / 72), dpi=72)
            wide, high = WIDTH - left - RIGHT, height - TOP - BOTTOM
            axes = figure.add_axes((left / WIDTH, BOTTOM / height, wide / WIDTH, high / height))
            self.draw(axes, report)
            frame(axes, self.rows)
            buffer = io.StringIO()
            figure.savefig(buffer, format="svg", transparent=True)
        label = f"{self.name}-title {self.name}-about"
        attributes = {
            "id": self.name,
            "class": "chart",
            "viewBox": f"0 0 {WIDTH} {height}",
            "role": "img",
            "aria-labelledby": label,
        }
        if self.unit:
            attributes |= {"data-x": limits(axes, "x"), "data-y": limits(axes, "y"), "data-xlabel": axes.get_xlabel()}
            attributes |= {"data-ylabel": self.unit, "data-box": f"{left},{TOP},{WIDTH - RIGHT},{height - BOTTOM}"}
        drawn = inline(buffer.getvalue(), [row["rule"] for row in report["rows"]])
        drawn.attrib = attributes
        for i, (tag, end, text) in enumerate((("title", "title", self.title), ("desc", "about", self.about))):
            described = ET.Element(tag, {"id": f"{self.name}-{end}"})
            described.text = text
            drawn.insert(i, described)
        return ET.tostring(drawn, encoding="unicode")


def frame(axes: Axes, named_rows: bool) -> None:
    """Gives a chart its grid, its labels and their colours."""
    axes.spines[["top", "left", "right"]].set_visible(False)
    axes.spines["bottom"].set_color(MUTED)
    axes.spines["bottom"].set_visible(not named_rows)
    axes.tick_params(which="both", bottom=False, left=False, labelcolor=MUTED, pad=7)
    axes.grid(True, axis="x" if named_rows else "both", color=GRID, linewidth=1)
    axes.set_axisbelow(True)
    if named_rows:
        axes.tick_params(axis="y", labelcolor=INK)
    # Where the label stands must not follow from the widths of a font that the reader lacks.
    height = axes.bbox.height
    axes.xaxis.set_label_coords(0.5, -(BOTTOM - 6) / height)
    axes.xaxis.label.set_verticalalignment("baseline")


def limits(axes: Axes, direction: str) -> str:
    """What the page's script needs to tell a value from its place: limits, and 1 if the scale is logarithmic."""
    low, high = getattr(axes, f"get_{direction}lim")()
    return f"{float(low)!r},{float(high)!r},{int(getattr(axes, f'get_{direction}scale')() == 'log')}"


def inline(text: str, names: Sequence[str]) -> ET.Element:
    """matplotlib's SVG file as an element of a page.

    Colours become the style sheet's variables and gids its classes: `series-3` is class `series` and has 3 in `data-s`.
    """
    drawn = ET.fromstring(text)
    for parent in list(drawn.iter()):
        for element in list(parent):
            if element.tag in (f"{NAMESPACE}metadata", f"{NAMESPACE}style"):
                parent.remove(element)
    for element in drawn.iter():
        element.tag = element.tag.removeprefix(NAMESPACE)
        if HREF in element.attrib:
            element.set("href", element.attrib.pop(HREF))
        if "d" in element.attrib:
            element.set("d", re.sub(r"-?\d+\.\d+", tenth, " ".join(element.attrib["d"].split())))
        if "style" in element.attrib:
            element.set("style", themed(element.attrib["style"]))
        if element.tag == "g":
            kind, _, number = element.attrib.pop("id", "").partition("-")
            if number:
                element.set("class", kind)
                element.set("data-s", number)
            if kind == "series":
                element.set("data-name", names[int(number)])
    return drawn


def tenth(number: re.Match[str]) -> str:
    """A coordinate to a tenth of a pixel."""
    return f"{float(number[0]):.1f}".removesuffix(".0")


def themed(style: str) -> str:
    """An element's style in the page's colours, and without a font: the style sheet has the page's."""
    style = re.sub(r"font(-\w+)?: [^;]*;?\s*", "", style)
    return re.sub("#[0-9a-f]{6}", lambda colour: f"var(--{VARIABLES[colour[0]]})" if colour[0] in VARIABLES else colour[0], style)
