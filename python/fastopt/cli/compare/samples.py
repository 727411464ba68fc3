"""What a source of data gives, and how data are refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..words import printable

__all__ = ["Array", "DataError", "Samples", "listed"]

Array = np.ndarray[Any, Any]


class DataError(ValueError):
    """What is wrong with the data that the user named, in one line; raised before any training."""

    def __init__(self, message: str) -> None:
        super().__init__(printable(" ".join(message.split())))


@dataclass(frozen=True)
class Samples:
    """What was read, neither split nor scaled; the test part is None if the source has none of its own."""

    name: str
    inputs: Array
    """Numbers; shape (samples, ...)."""
    labels: Array
    """Any type; shape (samples,) or (samples, 1)."""
    test_inputs: Array | None = None
    test_labels: Array | None = None
    features: Sequence[str] | None = None
    """The features' names, if they have names."""
    target: str | None = None
    """The name of what is predicted, if it has one."""
    images: bool = False
    """Whether all features are in the same unit, as pixels are."""


def listed(names: Sequence[Any], most: int = 10) -> str:
    """Names for an error: the first ones, if they are many."""
    shown = ", ".join(repr(name) for name in names[:most])
    return (shown or "(none)") + (f" and {len(names) - most} more" if len(names) > most else "")
