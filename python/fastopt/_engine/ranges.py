"""Numbers that the tensors' arithmetic holds: float32 would make 0 or Inf of others, and the step would do something else in silence."""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from typing import Any

from ..rules import Rule
from ..rules.words import shown

__all__ = ["FACTORS", "LARGEST", "check_group", "check_options", "check_single"]

NORMAL, LARGEST = 2.0**-126, 2.0**127
"""Between these float32 holds every number; the others are looked at closely."""

FACTORS = ("grad_scale", "clip_value", "max_norm")
"""The options that every gradient meets in the arithmetic of its tensor."""


def check_single(value: float | None, name: str, tensor: str, *, vanishing: bool = True) -> None:
    """ValueError for a number that float32, in which `tensor` is computed, holds as Inf or, if `vanishing` matters, as 0."""
    if not value or NORMAL <= abs(value) <= LARGEST:
        return
    try:
        rounded = struct.unpack("<f", struct.pack("<f", value))[0]
    except OverflowError:
        rounded = math.copysign(math.inf, value)
    if math.isinf(rounded) or (vanishing and rounded == 0):
        expected = "at most 3.4e38" if not vanishing else "0, or from 1.4e-45 to 3.4e38"
        raise ValueError(
            f"{name}: got {shown(value)}, which is {rounded:g} in float32, the arithmetic of {tensor}; expected a size of {expected}"
        )


def check_options(values: Mapping[str, Any], tensor: str | None) -> None:
    """Refuses checked options in the same way; `tensor`: the name of one that is computed in float32, None without any."""
    if tensor is not None:
        for name in FACTORS:
            check_single(values.get(name), name, tensor)


def check_group(rule: Rule, values: Mapping[str, Any], tensor: str | None, *, scheduled: bool = False) -> None:
    """Refuses checked hyperparameters in the same way, those with components aside.

    An lr may vanish, which is a step of 0, as decays end; one that a schedule says is taken as it comes.
    """
    if tensor is None:
        return
    for h in rule.arguments:
        value = values[h.name]
        if h.choices or h.components or h.constant or not isinstance(value, (int, float)) or (h.name == "lr" and scheduled):
            continue
        check_single(value, h.name, tensor, vanishing=h.name != "lr")
