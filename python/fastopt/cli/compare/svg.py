"""matplotlib's charts as parts of a page: inline SVG whose colours and fonts are the page's, by its style sheet."""

from __future__ import annotations

import io
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from ..palette import COLOURS, GRID, INK, MUTED

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["WIDTH", "chart"]

WIDTH, HEIGHT = 520, 340
LEFT, RIGHT, TOP, BOTTOM = 66, 22, 12, 44

FONT = 13
"""Pixels, as in page.css; matplotlib's points are the drawing's pixels."""

VARIABLES = {INK: "ink", MUTED: "muted", GRID: "grid"} | {colour: f"c{i}" for i, colour in enumerate(COLOURS)}
"""Colours that are drawn -> the style sheet's variables, which have other values in the dark."""

SETTINGS = {"svg.fonttype": "none", "path.simplify": False, "font.size": FONT, "xtick.labelsize": FONT, "ytick.labelsize": FONT}

NAMESPACE, HREF = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}href"


def chart(
    name: str, title: str, about: str, draw: Callable[[Axes], None], names: Mapping[str, str], *, rows: int = 0, unit: str = ""
) -> str:
    """An SVG element with what `draw` draws.

    `name`: the chart's, unique in the page; `title` and `about`: what a screen reader says; `names`: the numbers of rules -> their
    names; `rows`: lines of a chart that has one for each rule, whose names stand at its left; `unit`: what the vertical axis shows,
    for the tip under the pointer.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    left = 162 if rows else LEFT
    height = TOP + 22 * rows + BOTTOM if rows else HEIGHT
    with mpl.rc_context({**SETTINGS, "svg.hashsalt": name}):
        figure = Figure(figsize=(WIDTH / 72, height / 72), dpi=72)
        wide, high = WIDTH - left - RIGHT, height - TOP - BOTTOM
        axes = figure.add_axes((left / WIDTH, BOTTOM / height, wide / WIDTH, high / height))
        draw(axes)
        frame(axes, rows > 0)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True)
    attributes = {
        "id": name,
        "class": "chart",
        "viewBox": f"0 0 {WIDTH} {height}",
        "role": "img",
        "aria-labelledby": f"{name}-title {name}-about",
    }
    if unit:
        attributes |= {"data-x": limits(axes, "x"), "data-y": limits(axes, "y"), "data-xlabel": axes.get_xlabel()}
        attributes |= {"data-ylabel": unit, "data-box": f"{left},{TOP},{WIDTH - RIGHT},{height - BOTTOM}"}
    return inline(buffer.getvalue(), attributes, {"title": title, "desc": about}, names)


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


def inline(text: str, attributes: Mapping[str, str], labels: Mapping[str, str], names: Mapping[str, str]) -> str:
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
            if number in names:
                element.attrib |= {"class": kind, "data-s": number}
            elif kind == "level":
                element.set("class", kind)
            if number in names and kind == "series":
                element.set("data-name", names[number])
    drawn.attrib = dict(attributes)
    for i, (tag, words) in enumerate(labels.items()):
        label = ET.Element(tag, {"id": f"{attributes['id']}-{'about' if tag == 'desc' else tag}"})
        label.text = words
        drawn.insert(i, label)
    return ET.tostring(drawn, encoding="unicode")


def tenth(number: re.Match[str]) -> str:
    """A coordinate to a tenth of a pixel."""
    return f"{float(number[0]):.1f}".removesuffix(".0")


def themed(style: str) -> str:
    """An element's style in the page's colours, and without a font: the style sheet has the page's."""
    style = re.sub(r"font(-\w+)?: [^;]*;?\s*", "", style)
    return re.sub("#[0-9a-f]{6}", lambda colour: f"var(--{VARIABLES[colour[0]]})" if colour[0] in VARIABLES else colour[0], style)
