"""The colours and dashes that tell rules apart, in pictures and on pages."""

from __future__ import annotations

__all__ = ["COLOURS", "DASHES", "dash"]

COLOURS = ("#0072b2", "#b27300", "#00805c", "#cf4d00", "#b0508b", "#3088c0", "#756200", "#3d4753")
"""Okabe & Ito's palette, which colour-blind readers can tell apart, darkened to show on white; page.css has it too."""

DASHES = ("-", (0, (3, 2)), (0, (1, 1)), (0, (5, 1.5, 1, 1.5)))
"""Matplotlib's; page.css has the same.  With the colours they tell 32 series apart."""


def dash(number: int) -> int:
    """Which dashes a rule has: neighbours have others, as they may coincide, and where the colours begin again, all have."""
    return (number % 2 + number // len(COLOURS)) % len(DASHES)
