"""`Stored`: an array in a storage format, with its values as float32."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from .._arrays import buffers
from .._arrays.buffers import Array
from .formats import FORMATS, Format
from .shown import Shown

__all__ = ["Stored", "stored"]


class Stored(NDArrayOperatorsMixin):
    """An array kept in fewer bytes, such as `opt.state[0]["exp_avg"]` with `state_dtype="8bit"`.

    `np.asarray(stored)` and `stored[...]` give the present values as a new float32 array, so that NumPy's functions and operators
    take a `Stored`.  `stored[...] = values` sets the array, rounded to nearest, and the next step uses the new values.  Setting
    some elements decodes and encodes all of them, which rounds the rest of an 8-bit block anew; the padding stays.  `raw` has the
    live arrays of the format itself (docs/formats.md has their bits).  If the optimizer is on a GPU, so are the raw arrays:
    reading copies the values to the host, and setting copies them back.
    `copy.copy`, `copy.deepcopy` and pickle make a separate `Stored` with the same bits, on the host.
    """

    def __init__(
        self, format: Format, shape: tuple[int, ...], data: Array, extra: Array | None, arrays: dict[str, Array]
    ) -> None:
        self._format = format
        self._shape = shape
        self._data = data  # whole blocks, padded, if the format has blocks
        self._extra = extra
        self.arrays = arrays
        views = buffers.Views()
        self.raw = Shown({name: views.of(name, array) for name, array in arrays.items()})

    @property
    def format(self) -> str:
        """The format's name, as in docs/formats.md."""
        return self._format.name

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of the values."""
        return np.dtype(np.float32)

    @property
    def shape(self) -> tuple[int, ...]:
        return self._shape

    @property
    def ndim(self) -> int:
        return len(self._shape)

    @property
    def size(self) -> int:
        return math.prod(self._shape)

    @property
    def nbytes(self) -> int:
        """The bytes of all raw arrays together."""
        return sum(array.nbytes for array in self.arrays.values())

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        if copy is False:
            raise ValueError(f"copy: got False, expected None or True, since the values are in the format {self.format!r}")
        values: Array = self._decoded()[: self.size].reshape(self._shape)
        return values if dtype is None else values.astype(dtype, copy=False)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **arguments: Any) -> Any:
        if any(isinstance(each, Stored) for each in arguments.get("out", ())):
            raise TypeError(f"{ufunc.__name__}: got a Stored to write to, expected an array; to set it: stored[...] = values")
        values = (np.asarray(each) if isinstance(each, Stored) else each for each in inputs)
        return getattr(ufunc, method)(*values, **arguments)

    def astype(self, dtype: Any) -> Array:
        """The values, converted."""
        return self.__array__().astype(dtype, copy=False)

    def __getitem__(self, key: Any) -> Any:
        return self.__array__()[key]

    def __setitem__(self, key: Any, value: Any) -> None:
        padded = self._decoded()
        padded[: self.size].reshape(self._shape)[key] = value
        self._set(padded)

    def fill(self, value: float) -> None:
        """Sets every element to `value`, rounded to nearest, and the padding of the last block too, as in a flat buffer."""
        self._set(np.full(self._data.size, value, np.float32))

    def _set(self, padded: Array) -> None:
        if self._format.name.endswith("non-negative") and (padded < 0).any():
            raise ValueError(f"value: got {padded.min()}, expected no value below 0 in a non-negative slot")
        data, extra = self._on_host()
        self._format.encode(padded, data, extra)
        for live, host in ((self._data, data), (self._extra, extra)):
            if live is not None and live is not host:
                buffers.copy_values(live, host, str(self))

    def _decoded(self) -> Array:
        values: Array = self._format.decode(*self._on_host())
        return values

    def _on_host(self) -> tuple[Array, Array | None]:
        """The arrays of the format in NumPy: themselves, or copies of those on a GPU."""
        data, extra = (None if array is None else buffers.to_host(array, str(self)) for array in (self._data, self._extra))
        assert data is not None
        return data, extra

    def __len__(self) -> int:
        if not self._shape:
            raise TypeError("len() of a state without dimensions")
        return self._shape[0]

    def __repr__(self) -> str:
        return f"Stored({self.format!r}, shape {self.shape}, {self.nbytes} bytes)"

    def __reduce__(self) -> Any:
        data, extra = (None if array is None else buffers.to_host(array).copy() for array in (self._data, self._extra))
        return restored, (self._format.name, self._shape, data, extra, {n: a is self._data for n, a in self.arrays.items()})

    def planned(self) -> tuple[Array, Array | None, int]:
        """The array, its extras and its format, as the plan takes them."""
        return self._data, self._extra, self._format.index


def restored(format: str, shape: tuple[int, ...], data: Array, extra: Array | None, names: dict[str, bool]) -> Stored:
    """Rebuilds what `__reduce__` took apart.  `names` maps each raw array's name to whether the array is `data`."""
    arrays = {name: data if is_data else extra for name, is_data in names.items()}
    return Stored(FORMATS[format], shape, data, extra, {name: array for name, array in arrays.items() if array is not None})


def stored(format: Format, param: Array, value: float) -> Stored:
    """A new `Stored` with the shape of `param`, filled with `value`."""
    if format.extra_size == 0:
        data = buffers.new_like(param, np.uint16)
        result = Stored(format, param.shape, data, None, {"bits": data})
    else:
        blocks = format.extras(param.size)
        codes, words = buffers.blocks_like(param, blocks, format.extra_span)
        result = Stored(format, param.shape, codes, words, {"codes": codes, "blocks": words})
    if value != 0:
        result.fill(value)
    return result
