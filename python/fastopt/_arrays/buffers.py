"""Any array -> a view of its memory, and the words of every input error.  The view is NumPy's, or a DeviceArray on a GPU.

The extension's fast check says only that an array will not do; the functions here say why.  Nothing is ever copied: an array that
cannot be viewed in place is refused.
"""

from __future__ import annotations

import operator
import sys
from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

import numpy as np

from .. import _core
from ..rules.words import cured, describe
from . import device as cuda
from .device import DeviceArray
from .dtypes import DTYPES, GRADIENTS, SIZES, arithmetic, dtype_name
from .memory import BFLOAT16, LINE, Array, allocate

__all__ = [
    "BFLOAT16",
    "DTYPES",
    "GRADIENTS",
    "SIZES",
    "Array",
    "DeviceArray",
    "Views",
    "address",
    "arithmetic",
    "as_array",
    "as_host_array",
    "blocks_like",
    "check_copy",
    "check_disjoint",
    "check_gradient",
    "check_parameter",
    "check_place",
    "check_readable",
    "check_running",
    "check_state",
    "check_unmoved",
    "copy_values",
    "dtype_name",
    "full_like",
    "given",
    "is_array",
    "new_like",
    "part_of",
    "place_of",
    "to_host",
    "widened",
]

Named: TypeAlias = tuple[str, Array]
"""A name and an array.  Arrays on a GPU have the same annotation, since the code uses only what both kinds share."""


def is_array(value: Any) -> bool:
    """Whether `value` claims to be an array, with any of the protocols."""
    return any(has(value, name) for name in ("__array_interface__", "__dlpack__", "__cuda_array_interface__"))


def has(value: Any, name: str) -> bool:
    """hasattr, but True if reading the attribute fails: `as_array` then raises an error that says so."""
    try:
        return hasattr(value, name)
    except Exception:
        return True


def place_of(array: Any) -> str:
    """The name of an array's device, for messages."""
    return array.place if isinstance(array, DeviceArray) else "the CPU"


def check_place(array: Array, name: str, like: Array, like_name: str) -> None:
    """Raises ValueError if two arrays of an optimizer are not on the same device."""
    if place_of(array) != place_of(like):
        raise ValueError(f"{name}: got an array on {place_of(array)}, expected one on {place_of(like)} as {like_name} is")


def address(array: Any) -> int:
    """The address at which an array's memory begins."""
    return int(array.pointer if isinstance(array, DeviceArray) else _core.address(array))


def given(array: Any) -> Any:
    """The array that users see: on a GPU the framework's own."""
    return array.owner if isinstance(array, DeviceArray) else array


class Views:
    """Views of live arrays for users, who may give a view another layout and then get a new view; otherwise the same view."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[Any, Any]] = {}

    def of(self, name: str, array: Any) -> Any:
        """The view of `array`, the live array of that name now.  An array on a GPU, or None, comes as from `given`."""
        if not isinstance(array, np.ndarray):
            return given(array)
        live, view = self._known.get(name, (None, array))
        if live is not array or look_of(view) != look_of(array):
            view = array.view()
            self._known[name] = array, view
        return view


def look_of(array: Array) -> tuple[Any, ...]:
    """How an array lies in memory."""
    return array.dtype, array.shape, array.strides, array.flags.writeable


@describe.register(np.ndarray)
@describe.register(DeviceArray)
def describe_array(array: Any) -> str:
    return f"an array of {dtype_name(array)}, shape {array.shape}"


def as_array(value: Any, name: str) -> Array:
    """A view of `value`'s memory, without a copy; bfloat16 has the dtype BFLOAT16.  Raises TypeError without memory to view."""
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(f"{name}: got a masked array, whose mask a step would ignore; expected a plain array")
    if isinstance(value, np.ndarray):
        # A view of its own, since the caller may give `value` another dtype or shape later; a plain array for a subclass, such as
        # memmap.
        array = value.view(np.ndarray)
        # Foreign byte order is kept, for check_layout to refuse.
        return array.view(BFLOAT16) if dtype_name(array) == "bfloat16" and array.dtype.isnative else array
    if isinstance(value, DeviceArray) or cuda.is_on_device(value):
        return cuda.as_device_array(value, name)  # type: ignore[return-value]  # see Named
    if "torch" in sys.modules and isinstance(value, sys.modules["torch"].Tensor):
        check_torch(value, name)
        if str(value.dtype) == "torch.bfloat16":
            return from_torch(value, name)
    if isinstance(value, np.generic):
        raise TypeError(f"{name}: got the scalar {value!r}, expected an array (a scalar has no memory to update)")
    if value is None:
        raise TypeError(f"{name}: got None, expected an array")
    if getattr(value, "is_neg", bool)():
        raise TypeError(f"{name}: got a {type(value).__name__} that stands for minus its memory, expected one that was resolved")
    try:
        if hasattr(value, "__array_interface__"):
            array = np.asarray(value)
            if array.base is not None:  # a copy has no base
                # The protocol has no word for bfloat16 and calls it two bytes of anything.
                anything = array.dtype.kind == "V" and array.dtype.names is None
                return array.view(BFLOAT16) if anything and str(getattr(value, "dtype", "")) == "bfloat16" else array
            raise TypeError("NumPy makes a copy of it")
        if hasattr(value, "__dlpack__"):
            return np.from_dlpack(value, copy=False)
    except Exception as error:  # a foreign class may raise anything
        raise TypeError(f"{name}: got {type(value).__name__}, which does not give its memory: {error}") from error
    raise TypeError(f"{name}: got {describe(value)}, expected an array (NumPy, __array_interface__ or DLPack)")


def as_host_array(value: Any, name: str) -> Array:
    """`as_array` for the CPU alone.  Raises ValueError for an array on a GPU."""
    array = as_array(value, name)
    if isinstance(array, DeviceArray):
        raise ValueError(f"{name}: got an array on {array.place}, expected one on the CPU")
    return array


def check_torch(value: Any, name: str) -> None:
    """TypeError for a tensor on the CPU whose memory does not hold its values: one that computes by itself, or whose storage is gone."""
    if type(value).__torch_dispatch__ is not sys.modules["torch"].Tensor.__torch_dispatch__:
        raise TypeError(f"{name}: got a {type(value).__name__}, which has no memory of its own, expected an ordinary tensor")
    if value.device.type != "cpu" or value.layout != sys.modules["torch"].strided or value.numel() == 0:
        return  # which DLPack has words for
    if value._is_zerotensor():
        raise TypeError(
            f"{name}: got a tensor that stands for zeros and has no memory, expected one that was made, such as zeros_like"
        )
    extent = sum((n - 1) * step for n, step in zip(value.shape, value.stride(), strict=True)) + 1
    needed = (value.storage_offset() + extent) * value.element_size()
    if value.untyped_storage().nbytes() < needed:
        raise TypeError(
            f"{name}: got a tensor whose storage was freed or cut, expected one with the {needed} bytes that it reaches over"
        )


def check_unmoved(value: Any, view: Array, name: str, *, written: bool) -> None:
    """ValueError if `value`, which a plan was bound to as `view`, is laid out otherwise now, elsewhere, or read-only though it is written."""
    array = as_array(value, name)
    cure = "write into it instead (array[...] = values), or build another optimizer"
    for what, now, then in (
        ("dtype", dtype_name(array), dtype_name(view)),
        ("shape", array.shape, view.shape),
        ("strides", array.strides, view.strides),
    ):
        if now != then:
            raise ValueError(f"{name}: got {what} {now}, expected {then} as when the optimizer was built; {cure}")
    if address(array) != address(view):
        raise ValueError(f"{name}: got other memory than when the optimizer was built, expected the same; {cure}")
    if written:
        check_writable(array, name)


def from_torch(value: Any, name: str) -> Array:
    """The bits of a bfloat16 tensor, which torch gives only as another dtype."""
    if value.requires_grad:
        raise TypeError(f"{name}: got a {type(value).__name__} that requires grad, expected it detached from autograd")
    try:
        return as_array(value.view(sys.modules["torch"].uint16), name).view(BFLOAT16)
    except Exception as error:  # a layout without plain memory
        raise TypeError(f"{name}: got {type(value).__name__}, which does not give its memory: {error}") from error


def check_layout(array: Array, name: str) -> None:
    """Raises ValueError unless the array is contiguous, aligned and in native byte order."""
    if not array.dtype.isnative:
        raise ValueError(f"{name}: got foreign byte order ({array.dtype.str}), expected native")
    if not array.flags.c_contiguous:
        raise ValueError(f"{name}: got strides {array.strides} for shape {array.shape}, expected a C-contiguous array")
    if not array.flags.aligned:
        raise ValueError(f"{name}: got elements that are not aligned to {array.dtype.itemsize} bytes, expected aligned ones")


def check_parameter(value: Any, name: str, rule: str = "AdamW") -> Array:
    """An array that a step can write in place: in one of DTYPES, contiguous, native, writable.  `rule`: the class that was called."""
    try:
        array = check_dtype(as_array(value, name), name)
        check_layout(array, name)
        check_writable(array, name)
    except (TypeError, ValueError) as error:
        from .parameter_cures import of_parameter

        raise cured(error, lambda: of_parameter(value, name, rule)) from error.__cause__
    return array


def check_readable(value: Any, name: str) -> Array:
    """An array that a kernel can read: in one of DTYPES, contiguous, native."""
    try:
        array = check_dtype(as_array(value, name), name)
        check_layout(array, name)
    except (TypeError, ValueError) as error:
        from .gradient_cures import of_itself

        raise cured(error, lambda: of_itself(value, name)) from error.__cause__
    return array


def check_dtype(array: Array, name: str) -> Array:
    if dtype_name(array) not in DTYPES:
        raise TypeError(f"{name}: got dtype {array.dtype}, expected {', '.join(DTYPES[:-1])} or {DTYPES[-1]}")
    return array


def check_writable(array: Array, name: str) -> None:
    if not array.flags.writeable:
        raise ValueError(f"{name}: got a read-only array, expected a writable one (it is updated in place)")


def check_shape(array: Array, name: str, param: Array, param_name: str) -> None:
    check_place(array, name, param, param_name)
    check_layout(array, name)
    if array.shape != param.shape:
        raise ValueError(f"{name}: got shape {array.shape}, expected {param.shape} as {param_name} has")


def check_copy(value: Any, name: str, param: Array, param_name: str) -> tuple[Array, int]:
    """An array that takes copies of `param`, and the C number of its dtype, one of DTYPES."""
    array = check_parameter(value, name)
    check_shape(array, name, param, param_name)
    return array, DTYPES.index(dtype_name(array))


def check_gradient(
    value: Any, name: str, param: Array, param_name: str, *, written: bool = False, cure: str = "pass {}"
) -> Array:
    """A gradient for `param`, in a dtype that its arithmetic holds.  It may be read-only unless `written`.

    `cure`: what to do with the expression that makes such a gradient of `value`.
    """
    try:
        return fitting_gradient(value, name, param, param_name, written=written)
    except (TypeError, ValueError) as error:
        from .gradient_cures import of_gradient

        raise cured(error, lambda: of_gradient(value, name, param, cure, written=written)) from error.__cause__


def fitting_gradient(value: Any, name: str, param: Array, param_name: str, *, written: bool) -> Array:
    """`check_gradient` without cures."""
    array = as_array(value, name)
    possible = GRADIENTS[arithmetic(param).name]
    if dtype_name(array) not in possible:
        expected = f"{', '.join(possible[:-1])} or {possible[-1]}"
        raise TypeError(f"{name}: got dtype {array.dtype}, expected {expected}, since {param_name} is {dtype_name(param)}")
    check_shape(array, name, param, param_name)
    if written:
        check_writable(array, name)
    return array


def widened(param: Array) -> Array:
    """The values of `param` in the dtype of its arithmetic, on the CPU; a new array for 16 bits or a GPU."""
    if isinstance(param, DeviceArray):
        param = cuda.to_host(param, "params")
    if param.dtype == BFLOAT16:
        return (param.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
    return param.astype(arithmetic(param), copy=False)


def check_state(value: Any, name: str, param: Array, param_name: str) -> Array:
    """A state array for `param`, writable in place, in the dtype of the arithmetic."""
    array = check_parameter(value, name)
    if array.dtype != arithmetic(param):
        raise TypeError(
            f"{name}: got dtype {dtype_name(array)}, expected {arithmetic(param)}, since {param_name} is {dtype_name(param)}"
        )
    check_shape(array, name, param, param_name)
    return array


def check_running(value: Any, name: str) -> Array:
    """A scalar that steps carry on: a float64 array without dimensions, writable in place."""
    if value is None:
        raise ValueError(f"{name}: got None, expected a float64 array of shape (), which each step carries on")
    array = check_parameter(value, name)
    if isinstance(array, DeviceArray):
        raise TypeError(f"{name}: got an array on {array.place}, expected one on the CPU")
    if array.dtype != np.float64:
        raise TypeError(f"{name}: got dtype {array.dtype}, expected float64")
    if array.shape != ():
        raise ValueError(f"{name}: got shape {array.shape}, expected ()")
    return array


def new_like(param: Array, dtype: Any) -> Array:
    """A new array of zeros in the shape of `param`.

    If the elements of both have the same size, both begin at the same offset from a cache line: one peeled head aligns both.
    """
    if isinstance(param, DeviceArray):
        return cuda.new(param, param.shape, dtype)
    size = np.dtype(dtype).itemsize
    offset = _core.address(param) % LINE if size == param.itemsize else 0
    return np.ndarray(param.shape, dtype, allocate(param.size * size + LINE).data, offset)


def blocks_like(param: Array, count: int, length: int) -> tuple[Array, Array]:
    """Zeros for the codes of `count` blocks, and a word for each block, on the device of `param`."""
    if isinstance(param, DeviceArray):
        return cuda.new(param, (count, length), np.uint8), cuda.new(param, (count,), np.uint32)
    return allocate(count * length).reshape(count, length), allocate(4 * count).view(np.uint32)


def part_of(array: Array, begin: int, end: int) -> Array:
    """Elements `begin` to `end` of a contiguous array, in one dimension."""
    return array.part(begin, end) if isinstance(array, DeviceArray) else array.reshape(-1)[begin:end]


def full_like(param: Array, value: float, dtype: Any) -> Array:
    """A new array in the shape of `param`, filled with `value`."""
    array = new_like(param, dtype)
    if value != 0:
        copy_values(array, np.full(param.shape, value, dtype))
    return array


def copy_values(to: Array, values: Any, name: str = "an array on the GPU") -> None:
    """Copies values of the same shape and dtype; either side may be on a GPU.  `name` is for messages."""
    if isinstance(to, DeviceArray):
        cuda.copy_values(to, values, name)
    else:
        np.copyto(to, to_host(values, name))


def to_host(array: Any, name: str = "an array on the GPU") -> Array:
    """An array of NumPy as it is, and an array on a GPU as a copy.  `name` is for messages."""
    return cuda.to_host(array, name) if isinstance(array, DeviceArray) else array


def check_disjoint(arrays: Iterable[Named], known: Sequence[Named] = (), *, shared: bool = False) -> None:
    """Raises ValueError if one of `arrays` shares memory with one of `known` or, unless `shared`, with another of `arrays`.  All
    are contiguous."""
    spans = []
    for new, group in ((False, known), (True, arrays)):
        for name, array in group:
            begin = address(array)
            if array.nbytes:
                spans.append((begin, begin + array.nbytes, name, new))
    spans.sort(key=operator.itemgetter(0, 1))
    furthest: dict[bool, tuple[int, int, str, bool]] = {}  # the span that ends last, among new arrays and among known ones
    for span in spans:
        new = span[3]
        for other in furthest.values():
            if span[0] >= other[1] or (shared and new and other[3]):
                continue
            first, second = (span, other) if other[3] and not new else (other, span)
            if span[:2] == other[:2]:
                raise ValueError(f"{second[2]}: got the same memory as {first[2]}, expected separate arrays")
            raise ValueError(f"{second[2]}: got memory that overlaps {first[2]}, expected separate arrays")
        if new not in furthest or span[1] > furthest[new][1]:
            furthest[new] = span
