"""`flatten` and `FlatBuffer`: many tensors in one aligned buffer, each a view of it.

A step over the buffer is a step of a single tensor, so that many small tensors have no overhead each.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ._arrays import buffers
from ._arrays.buffers import Array
from ._arrays.memory import BLOCK, allocate
from ._engine.arguments import named
from .rules.words import counted, cured

if TYPE_CHECKING:
    from ._arrays.typed import AnyArray, Arrays

__all__ = ["BLOCK", "FlatBuffer", "flatten"]


class FlatBuffer:
    """Tensors of one dtype, one after another in an aligned buffer; made by `fastopt.flatten`.

    Tensor `i` has shape `shapes[i]` and begins at element `offsets[i]` of `data`, a multiple of `BLOCK`; zeros pad it to the next
    multiple.  `names` are the keys if the arrays came in a dict, else None.

    A FlatBuffer has `__array_interface__`, so fastopt and NumPy take it as the array `data`; `len` is the number of elements of
    `data`.  `copy.copy`, `copy.deepcopy` and pickle make a separate buffer with the same values.  An optimizer that is copied or
    pickled in the same call has the new buffer if it was built over the buffer itself, `AdamW(flat)`.

    >>> flat = fastopt.flatten([np.ones((2, 2)), np.zeros(3)])
    >>> flat.shapes, flat.offsets, len(flat)
    (((2, 2), (3,)), (0, 256), 512)
    """

    def __init__(self, shapes: Sequence[tuple[int, ...]], names: Sequence[str] | None, dtype: np.dtype[Any]) -> None:
        self.shapes = tuple(shapes)
        self.names = None if names is None else tuple(names)
        padded = (-(-math.prod(shape) // BLOCK) * BLOCK for shape in self.shapes)
        *offsets, size = itertools.accumulate(padded, initial=0)
        self.offsets = tuple(offsets)
        self._data: Array = allocate(size * dtype.itemsize).view(dtype)
        self._views = self.split(self._data)

    @property
    def data(self) -> Array:
        """The whole buffer, padding included: 1-D, writable, in the tensors' dtype."""
        return self._data

    @data.setter
    def data(self, value: Array) -> None:
        if value is not self._data:  # `flat.data *= 2` assigns the same array
            raise AttributeError("data: got another array, which is not what the views show; write into it: flat.data[:] = ...")

    @property
    def views(self) -> Any:
        """The tensors: writable views of `data`, in a list, or in a dict if they have names.

        Each call makes a new list or dict.  To change a tensor, write into its view: `flat.views[0][:] = ...`.
        """
        return self._views.copy()

    def split(self, array: AnyArray) -> Any:
        """Views of another array, with the tensors' places in `data`: a list, or a dict if they have names.

        `array`: 1-D, as long as `data`, in any dtype; for instance a state array of an optimizer over `data` (`np.asarray` of
        state in a storage format).  Raises TypeError or ValueError for anything else.
        """
        whole = array if isinstance(array, np.ndarray) else buffers.as_host_array(array, "array")
        if whole.shape != self._data.shape:
            raise ValueError(f"array: got shape {whole.shape}, expected {self._data.shape} as data has")
        views = [
            whole[offset : offset + math.prod(shape)].reshape(shape, copy=False)
            for offset, shape in zip(self.offsets, self.shapes, strict=True)
        ]
        return views if self.names is None else dict(zip(self.names, views, strict=True))

    def zeros_like(self) -> FlatBuffer:
        """A new buffer of zeros with the same shapes, names and dtype: for gradients, averages or your own state."""
        return FlatBuffer(self.shapes, self.names, self._data.dtype)

    def copy_from(self, arrays: Arrays) -> None:
        """Copies the values of `arrays` into the tensors; the padding stays as it is.

        `arrays`: a list or tuple in the tensors' order, or a dict with their names.  Each array has its tensor's shape and dtype,
        and any strides.  Raises TypeError or ValueError, and writes nothing, if one does not fit.
        """
        if isinstance(arrays, Mapping):
            if self.names is None:
                raise TypeError("arrays: got a dict, expected a list, since the tensors have no names")
            for key in arrays:
                if key not in self._views:
                    raise ValueError(f"arrays: got the name {key!r}, which no tensor has")
            for key in self.names:
                if key not in arrays:
                    raise ValueError(f"arrays: got none for {key!r}, expected an array for every tensor")
            arrays = {key: arrays[key] for key in self.names}
        entries = named(arrays, "arrays")
        if len(entries) != len(self.shapes):
            raise ValueError(f"arrays: got {len(entries)}, expected {len(self.shapes)}, one for each tensor")
        sources = []
        own = buffers.as_array(self._data, "data")
        for (value, label, _), shape in zip(entries, self.shapes, strict=True):
            source = source_of(value, label)
            if buffers.dtype_name(source) != buffers.dtype_name(own):
                raise TypeError(f"{label}: got dtype {source.dtype}, expected {self._data.dtype} as the buffer has")
            if source.shape != shape:
                raise ValueError(f"{label}: got shape {source.shape}, expected {shape} as its tensor has")
            # A source in the buffer's own memory, such as a view in another order, is read before anything is written.
            sources.append(source.copy() if np.may_share_memory(source, self._data) else source)
        for view, source in zip(self._tensors(), sources, strict=True):
            view[...] = source.view(view.dtype) if source.dtype == buffers.BFLOAT16 else source

    def _tensors(self) -> list[Array]:
        return list(self._views) if self.names is None else list(self._views.values())

    @property
    def dtype(self) -> np.dtype[Any]:
        """The tensors' dtype."""
        dtype: np.dtype[Any] = self._data.dtype
        return dtype

    @property
    def __array_interface__(self) -> dict[str, Any]:
        return self._data.__array_interface__

    def __len__(self) -> int:
        return len(self._data)

    def __deepcopy__(self, memo: dict[int, Any]) -> FlatBuffer:
        """A copy that an optimizer over `data`, or over the views, meets where both are copied in one call, this first."""
        flat = restored(self.shapes, self.names, self._data)
        memo[id(self._data)] = flat._data
        memo.update(zip(map(id, self._tensors()), flat._tensors(), strict=True))
        return flat

    def __reduce__(self) -> Any:
        return restored, (self.shapes, self.names, self._data)  # pickled views would be separate from the data

    def __repr__(self) -> str:
        padding = self._data.size - sum(map(math.prod, self.shapes))
        return f"FlatBuffer({counted(len(self.shapes), 'tensor')}, {self._data.size} elements of {self._data.dtype}, {padding} padding)"


def flatten(arrays: Arrays) -> FlatBuffer:
    """Copies arrays into one aligned buffer: `flat.views` are the tensors, `flat.data` is the whole.

    `arrays`: a list, a tuple or a {name: array} dict of arrays with any shapes and strides, all in one dtype: float32, float64,
    float16 or bfloat16.  An array that comes twice becomes two tensors.  The arrays are only read.  From then on use the views,
    which follow the optimizer.  Arrays on a GPU are refused, since many tensors are a single launch there anyway.

    Raises TypeError for anything but arrays of one dtype, ValueError without arrays.

    >>> flat = fastopt.flatten({"w": np.ones((2, 3), np.float32), "b": np.zeros(3, np.float32)})
    >>> flat
    FlatBuffer(2 tensors, 512 elements of float32, 503 padding)
    >>> opt = fastopt.SGD(flat, lr=0.5)  # one tensor for the optimizer
    >>> grads = flat.zeros_like()
    >>> grads.views["w"][...] = 1.0
    >>> opt.step(grads)
    >>> flat.views["w"]
    array([[0.5, 0.5, 0.5],
           [0.5, 0.5, 0.5]], dtype=float32)
    """
    entries = named(arrays, "arrays")
    sources = [source_of(value, label) for value, label, _ in entries]
    first = sources[0].dtype
    for source, (_, label, _) in zip(sources, entries, strict=True):
        buffers.check_dtype(source, label)
        if source.dtype.num != first.num:
            raise TypeError(
                f"{label}: got dtype {buffers.dtype_name(source)}, expected {buffers.dtype_name(sources[0])} as {entries[0][1]} has"
            )
    names = list(arrays) if isinstance(arrays, Mapping) else None
    if first == buffers.BFLOAT16:
        first = named_bfloat16(entries[0][1])
    flat = FlatBuffer([source.shape for source in sources], names, first.newbyteorder("="))
    flat.copy_from(arrays)
    return flat


def source_of(value: Any, name: str) -> Array:
    """An array on the CPU whose values are copied."""
    try:
        return buffers.as_host_array(value, name)
    except TypeError as error:
        from ._arrays.gradient_cures import of_itself

        raise cured(error, lambda: of_itself(value, name)) from error.__cause__


def named_bfloat16(name: str) -> np.dtype[Any]:
    """The bfloat16 dtype of ml_dtypes, which NumPy can show."""
    try:
        import ml_dtypes
    except ImportError:
        raise TypeError(
            f"{name}: got bfloat16, for a buffer of which NumPy needs the package ml_dtypes: pip install ml_dtypes"
        ) from None
    named: np.dtype[Any] = np.dtype(ml_dtypes.bfloat16)
    return named


def restored(shapes: Sequence[tuple[int, ...]], names: Sequence[str] | None, data: Array) -> FlatBuffer:
    """Makes the buffer again that `__reduce__` took apart."""
    flat = FlatBuffer(shapes, names, data.dtype)
    flat.data[:] = data
    return flat
