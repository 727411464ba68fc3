"""Storage formats, and the one that an argument means for an array.  `csrc/codecs` has the bits; docs/formats.md has both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import _core
from ..rules import Hyperparameter, Slot
from ..rules.words import shown

__all__ = [
    "FORMATS",
    "FORMAT_ARGUMENTS",
    "Format",
    "Formats",
    "check_seed",
    "param_format",
    "state_format",
    "with_variance_floor",
]


@dataclass(frozen=True)
class Format:
    """A row of `csrc/codecs/formats.h`."""

    name: str
    index: int
    """The format's number in C; 0 is the arithmetic's own dtype."""
    size: int
    """Bytes of an element."""
    extra_size: int
    """Further bytes for each `extra_span` elements: block words, corrections."""
    extra_span: int

    def extras(self, elements: int) -> int:
        """The number of extras that `elements` have."""
        return -(-elements // self.extra_span) if self.extra_size else 0

    def decode(self, data: Any, extra: Any) -> Any:
        """The float32 values, in one dimension."""
        return _core.decode(self.name, data.reshape(-1), None if extra is None else extra.reshape(-1))

    def encode(self, values: Any, data: Any, extra: Any) -> None:
        """Writes float32 values into `data` and `extra`, rounded to nearest."""
        _core.encode(self.name, values.reshape(-1), data.reshape(-1), None if extra is None else extra.reshape(-1), None)


FORMATS = {row[0]: Format(row[0], i, *row[1:]) for i, row in enumerate(_core.formats(), start=1)}

FORMAT_ARGUMENTS: tuple[Hyperparameter, ...] = (
    Hyperparameter(
        "state_dtype",
        None,
        "format of the state; None for the arithmetic's own dtype",
        choices=(None, "float32", "float64", "bfloat16", "8bit"),
    ),
    Hyperparameter(
        "master",
        None,
        "what bfloat16 and float16 parameters keep beyond their own bits: nothing, 8 or 16 bits of correction, a float32 copy; "
        '"stochastic": nothing, with stochastic rounding',
        choices=(None, "24bit", "32bit", "float32", "stochastic"),
    ),
    Hyperparameter("seed", 0, "seed of stochastic rounding: a whole number", "[0, 2^64)"),
)
"""Arguments of every class besides its rule's hyperparameters, fixed with the optimizer.  A group may name its own formats."""


@dataclass(frozen=True)
class Formats:
    """The formats of an optimizer's state and masters, as its arguments name them."""

    state_dtype: str | None = None
    master: str | None = None

    @staticmethod
    def check(state_dtype: Any, master: Any) -> Formats:
        """The two arguments, checked.  Raises TypeError or ValueError if one is not among its choices."""
        choices = {each.name: each for each in FORMAT_ARGUMENTS}
        return Formats(choices["state_dtype"].check(state_dtype), choices["master"].check(master))


COMPRESSED = ("signed", "non-negative")
RESOLUTION: Mapping[str | None, float] = {"bfloat16": 2.0**-7, "8bit": 2.0**-2}
"""The largest gap between neighbouring values, relative to the values.  The arithmetic knows the gap of its own dtype."""


def check_seed(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"seed: got {type(value).__name__} {shown(value)}, expected a whole number")
    if not 0 <= value < 2**64:
        raise ValueError(f"seed: got {shown(value)}, expected a whole number in [0, 2^64)")
    return int(value)


def state_format(state_dtype: str | None, slot: Slot) -> Format | None:
    """The format of a slot; None for the arithmetic's own dtype."""
    if state_dtype not in RESOLUTION or slot.kind not in COMPRESSED:
        return None
    return FORMATS[f"{state_dtype} non-negative" if slot.kind == "non-negative" else f"{state_dtype}"]


def param_format(dtype: str, master: str | None) -> tuple[Format | None, bool]:
    """The format of a parameter, and whether it is rounded stochastically."""
    if dtype not in ("bfloat16", "float16"):
        return None, False
    if master in (None, "stochastic"):
        return FORMATS[dtype], master == "stochastic"
    # A bfloat16 with 16 further bits is a float32 and needs no rounding.  A float16 with 16 further bits does not hold every
    # float32: its denormals fall short.
    return FORMATS[f"{dtype} {master}"], master == "24bit" or (dtype, master) == ("float16", "32bit")


def with_variance_floor(values: Mapping[str, Any], state_dtype: str | None) -> Mapping[str, Any]:
    """RMSprop's arguments with a `variance_floor` of None replaced by the least share that compressed state can tell from 0.

    Raises ValueError for a floor below that share.
    """
    least = RESOLUTION.get(state_dtype)
    floor = values.get("variance_floor", least)
    if least is None or floor is least:
        return values
    if floor is None:
        return {**values, "variance_floor": least}
    if values["centered"] is True and isinstance(floor, (int, float)) and floor < least:
        raise ValueError(
            f"variance_floor: got {shown(floor)}, expected None or {least:g} and above with state_dtype={state_dtype!r}"
        )
    return values
