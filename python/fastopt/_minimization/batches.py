"""Mini-batches: some rows of the caller's arrays for each step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .._arrays.memory import Array
from .._storage.formats import check_seed
from ..rules.checks import check_flag
from ..rules.words import describe, shown
from .points import read_only

__all__ = ["Batches", "check_stochastic", "near_even"]


def near_even(rows: int, size: int) -> list[int]:
    """Where each batch of an epoch begins, and the end: as few batches of at most `size` rows as there can be, alike to one row.

    A last batch of the few rows that are left over would take a whole step in the direction of these rows.
    """
    count = -(-rows // size)
    least, larger = divmod(rows, count)
    return [i * least + min(i, larger) for i in range(count + 1)]


class Batches:
    """The rows of `data` in near-even batches, epoch after epoch."""

    def __init__(self, data: Any, batch_size: Any, shuffle: Any, seed: Any) -> None:
        values = data if isinstance(data, tuple) else (data,)
        if not values:
            raise ValueError("data: got no arrays, expected at least one")
        names = [f"data[{i}]" for i in range(len(values))] if isinstance(data, tuple) else ["data"]
        self.all = tuple(as_rows(value, name) for value, name in zip(values, names, strict=True))
        self.rows = int(self.all[0].shape[0])
        for array, name in zip(self.all, names, strict=True):
            if array.shape[0] != self.rows:
                raise ValueError(f"{name}: got {array.shape[0]} rows, expected {self.rows} as {names[0]} has")
        if not self.rows:
            raise ValueError(f"{names[0]}: got no rows, expected at least one")
        self.size = self.rows if batch_size is None else check_size(batch_size, self.rows)
        self._shuffle, self._rng = check_flag(shuffle, "shuffle"), np.random.default_rng(check_seed(seed))
        self._order: Array | None = None
        self._buffers: list[Array | None] = [None] * len(self.all)
        self._edges = near_even(self.rows, self.size)
        self._batch = len(self._edges) - 1

    @property
    def partial(self) -> bool:
        """Whether a batch has fewer than all rows."""
        return self.size < self.rows

    @property
    def at_end(self) -> bool:
        """Whether the last batch was its epoch's last."""
        return self._batch == len(self._edges) - 1

    def take(self) -> tuple[tuple[Any, ...], int]:
        """The next batch and its number of rows.  The batch after it reuses the same arrays."""
        if not self.partial:
            return self.all, self.rows
        if self.at_end:
            self._batch = 0
            self._order = self._rng.permutation(self.rows) if self._shuffle else None
        begin, end = self._edges[self._batch : self._batch + 2]
        self._batch += 1
        if self._order is None:
            return tuple(array[begin:end] for array in self.all), end - begin
        rows = self._order[begin:end]
        return tuple(self._gathered(i, array, rows) for i, array in enumerate(self.all)), len(rows)

    def first(self, objective: Callable[[Array, tuple[Any, ...]], tuple[float, Array]]) -> Callable[[Array], tuple[float, Array]]:
        """The objective of as many rows as a batch has, spread over all of them; the batches to come stay as they are."""
        rows = np.arange(self.size) * self.rows // self.size
        batch = tuple(read_only(part) if isinstance(part, np.ndarray) else part for part in (array[rows] for array in self.all))
        return lambda point: objective(point, batch)

    def _gathered(self, i: int, array: Any, rows: Array) -> Any:
        # NumPy's take would first copy an array in another order whole into C's order; a sparse array has no take.
        if not isinstance(array, np.ndarray) or not array.flags.c_contiguous:
            return array[rows]
        buffer = self._buffers[i]
        if buffer is None:
            buffer = self._buffers[i] = np.empty((self.size, *array.shape[1:]), array.dtype)
        # With the default mode, "raise", NumPy would first gather into its own buffer.
        return np.take(array, rows, axis=0, out=buffer[: len(rows)], mode="clip")


def as_rows(value: Any, name: str) -> Any:
    """A NumPy array, or a sparse array in rows."""
    if hasattr(value, "tocsr"):
        return value.tocsr()
    if isinstance(value, list) and value and all(isinstance(each, np.ndarray) and each.ndim for each in value):
        raise TypeError(f"{name}: got a list of {len(value)} arrays, expected a tuple for several, or an array of rows")
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(f"{name}: got a masked array, whose mask a batch would lose; expected a plain array")
    try:
        array = np.asarray(value)
    except Exception as error:  # ragged lists raise, and a foreign class may raise anything
        raise TypeError(f"{name}: got {type(value).__name__}, which is no array: {error}") from error
    if array.ndim == 0:
        raise TypeError(f"{name}: got {describe(value)}, expected an array of rows")
    if array.dtype.hasobject:
        raise TypeError(f"{name}: got {describe(value)} as Python objects, expected numbers of one dtype")
    return read_only(array)


def check_size(value: Any, rows: int) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"batch_size: got {describe(value)}, expected a whole number or None")
    if not 1 <= value <= rows:
        raise ValueError(f"batch_size: got {shown(value)}, expected a number of rows from 1 to {rows}, or None for all of them")
    return int(value)


def check_stochastic(stochastic: Any, batches: Batches | None, batch_size: Any, shuffle: Any) -> bool:
    """Whether the objective is stochastic.  Raises ValueError if the arguments about data and noise do not fit together."""
    if batches is None and batch_size is not None:
        raise ValueError(f"batch_size: got {shown(batch_size)}, expected None without data")
    if batches is None and not check_flag(shuffle, "shuffle"):
        raise ValueError("shuffle: got False, expected True without data")
    partial = batches is not None and batches.partial
    if stochastic is None:
        return partial
    if not check_flag(stochastic, "stochastic") and partial:
        raise ValueError("stochastic: got False, expected True or None, since batches of less than all rows differ")
    return bool(stochastic)
