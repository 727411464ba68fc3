"""From the rows that `_core.Plan` takes to those of `table.TENSOR`."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._arrays.device import DeviceArray
from .._storage.formats import FORMATS
from . import table

__all__ = ["FORMAT_NAMES", "spans", "state_dtype", "tensor_row"]

FORMAT_NAMES = {0: "", **{format.index: name for name, format in FORMATS.items()}}


def tensor_row(row: dict[str, Any]) -> Any:
    """The row of `table.TENSOR` for a row for `_core.Plan`."""
    data, extra, format = row["param"]
    result = np.zeros((), table.TENSOR)
    result["param"], result["param_extra"], result["param_format"] = data.pointer, pointer_of(extra), format
    for k, entry in enumerate(row["state"]):
        if entry is not None:
            result["state"][k], result["state_extra"][k] = entry[0].pointer, pointer_of(entry[1])
            result["state_format"][k] = entry[2]
    result["ema"], result["copy"] = pointer_of(row["ema"]), pointer_of(row["copy"])
    result["length"] = data.size
    for field in ("offset", "dtype", "stochastic", "copy_dtype", "group"):
        result[field] = row[field]
    return result


def pointer_of(array: DeviceArray | None) -> int:
    return 0 if array is None else array.pointer


def state_dtype(row: dict[str, Any]) -> str | None:
    """The argument that gave the state of a row its formats."""
    formats = [FORMAT_NAMES[entry[2]] for entry in row["state"] if entry is not None and entry[2]]
    return formats[0].removesuffix(" non-negative") if formats else None


def spans(rows: list[dict[str, Any]]) -> list[tuple[int, int]]:
    """The memory of all arrays, each from its first byte to behind its last."""
    arrays = []
    for row in rows:
        arrays += [*row["param"][:2], row["ema"], row["copy"]]
        arrays += [array for entry in row["state"] if entry is not None for array in entry[:2]]
    return [(array.pointer, array.pointer + array.nbytes) for array in arrays if array is not None and array.nbytes]
