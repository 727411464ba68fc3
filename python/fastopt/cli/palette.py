"""The look of all pictures: colours and dashes that tell rules apart, and the frame around them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["COLOURS", "DASHES", "GRID", "INK", "MUTED", "dash", "look", "style"]

COLOURS = ("#0072b2", "#b27300", "#00805c", "#cf4d00", "#b0508b", "#3088c0", "#756200", "#3d4753")
"""Okabe & Ito's palette, which colour-blind readers can tell apart, darkened to show on white; page.css has the same colours."""

DASHES = ("-", (0, (3, 2)), (0, (1, 1)), (0, (5, 1.5, 1, 1.5)))
"""Matplotlib's; page.css has the same dashes.  With the colours they tell 32 series apart."""

INK, MUTED, GRID = "#1f2933", "#616e7c", "#e4e7eb"


def dash(number: int) -> int:
    """The dashes of a rule.  Neighbours differ, since their lines may coincide; where the colours begin again, all differ."""
    return (number % 2 + number // len(COLOURS)) % len(DASHES)


def look(number: int) -> str:
    """The classes that give the rule of this number its colour and dashes on a page."""
    return f"c{number % len(COLOURS)} d{dash(number)}"


def style(axes: Axes, title: str) -> None:
    """Gives a panel its title, its grid and its colours."""
    axes.set_title(title, loc="left", fontsize=11, fontweight="bold", color=INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(MUTED)
    axes.tick_params(which="both", color=GRID, labelcolor=MUTED, labelsize=9)
    axes.grid(True, which="major", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
