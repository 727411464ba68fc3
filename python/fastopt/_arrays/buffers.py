"""Any array -> a view of its memory, and the words of every input error.  The view is NumPy's, or a DeviceArray on a GPU.

The extension's fast check says only that an array will not do; the functions here say why.  Nothing is
ever copied: what cannot be viewed in place is refused.
"""

from __future__ import annotations

import functools
import operator
import sys
from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

import numpy as np

from .. import _core
from ..rules.words import describe
from . import device as cuda
from .device import DeviceArray
from .memory import BFLOAT16, LINE, Array, allocate

__all__ = [
    "BFLOAT16",
    "DTYPES",
    "Array",
    "DeviceArray",
    "address",
    "as_array",
    "as_host_array",
    "blocks_like",
    "check_copy",
    "check_disjoint",
    "check_gradient",
    "check_parameter",
    "check_place",
    "check_running",
    "check_state",
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

DTYPES = ("float32", "float64", "bfloat16", "float16")
"""In the order of C's fastopt_dtype."""

WIDER = {"float32": ("float32", "bfloat16", "float16"), "float64": ("float64", "float32", "bfloat16", "float16")}
"""The dtypes of gradients that an arithmetic holds without loss."""

SINGLE, DOUBLE = np.dtype(np.float32), np.dtype(np.float64)

Named: TypeAlias = tuple[str, Array]
"""Of arrays; those on a GPU stand under the same annotation, as what they have in common is all that is used."""


def is_array(value: Any) -> bool:
    """Whether `value` claims to be an array, by any of the protocols."""
    return any(has(value, name) for name in ("__array_interface__", "__dlpack__", "__cuda_array_interface__"))


def has(value: Any, name: str) -> bool:
    """hasattr; also where the attribute is there and fails, which `as_array` words."""
    try:
        return hasattr(value, name)
    except Exception:
        return True


def place_of(array: Any) -> str:
    """Where an array is, in messages."""
    return array.place if isinstance(array, DeviceArray) else "the CPU"


def check_place(array: Array, name: str, like: Array, like_name: str) -> None:
    """ValueError where two arrays of one optimizer are not on the same device."""
    if place_of(array) != place_of(like):
        raise ValueError(f"{name}: got an array on {place_of(array)}, expected one on {place_of(like)} as {like_name} is")


def address(array: Any) -> int:
    """Where its memory begins."""
    return int(array.pointer if isinstance(array, DeviceArray) else _core.address(array))


def given(array: Any) -> Any:
    """What users get to see of an array: of one on a GPU the framework's."""
    return array.owner if isinstance(array, DeviceArray) else array


@describe.register(np.ndarray)
@describe.register(DeviceArray)
def describe_array(array: Any) -> str:
    return f"an array of {dtype_name(array)}, shape {array.shape}"


def dtype_name(array: Any) -> str:
    return name_of_dtype(array.dtype)


@functools.cache
def name_of_dtype(dtype: np.dtype[Any]) -> str:
    return "bfloat16" if dtype == BFLOAT16 else dtype.newbyteorder("=").name


def as_array(value: Any, name: str) -> Array:
    """`value`'s memory as an ndarray, without a copy, of bfloat16 under the dtype BFLOAT16; TypeError where it has none on the CPU."""
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(f"{name}: got a masked array, whose mask a step would ignore; expected a plain array")
    if isinstance(value, np.ndarray):
        array = np.asarray(value)  # of a subclass, such as memmap, the plain view
        # Foreign byte order is kept, for check_layout to refuse.
        return array.view(BFLOAT16) if dtype_name(array) == "bfloat16" and array.dtype.isnative else array
    if isinstance(value, DeviceArray) or cuda.is_on_device(value):
        return cuda.as_device_array(value, name)  # type: ignore[return-value]  # see Named
    if str(getattr(value, "dtype", "")) == "torch.bfloat16" and "torch" in sys.modules:
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
                # The protocol has no word for bfloat16: it gives two bytes of anything.
                anything = array.dtype.kind == "V" and array.dtype.names is None
                return array.view(BFLOAT16) if anything and str(getattr(value, "dtype", "")) == "bfloat16" else array
            raise TypeError("NumPy makes a copy of it")
        if hasattr(value, "__dlpack__"):
            return np.from_dlpack(value, copy=False)
    except Exception as error:  # whatever somebody else's class raises
        raise TypeError(f"{name}: got {type(value).__name__}, which does not give its memory: {error}") from error
    raise TypeError(f"{name}: got {describe(value)}, expected an array (NumPy, __array_interface__ or DLPack)")


def as_host_array(value: Any, name: str) -> Array:
    """The same; ValueError for one on a GPU."""
    array = as_array(value, name)
    if isinstance(array, DeviceArray):
        raise ValueError(f"{name}: got an array on {array.place}, expected one on the CPU")
    return array


def from_torch(value: Any, name: str) -> Array:
    """The bits of a bfloat16 tensor, which torch gives by another type only."""
    if value.requires_grad:
        raise TypeError(f"{name}: got a {type(value).__name__} that requires grad, expected it detached from autograd")
    try:
        return as_array(value.view(sys.modules["torch"].uint16), name).view(BFLOAT16)
    except Exception as error:  # a layout without plain memory
        raise TypeError(f"{name}: got {type(value).__name__}, which does not give its memory: {error}") from error


def check_layout(array: Array, name: str) -> None:
    """Contiguous, aligned, in native byte order."""
    if not array.dtype.isnative:
        raise ValueError(f"{name}: got foreign byte order ({array.dtype.str}), expected native")
    if not array.flags.c_contiguous:
        raise ValueError(f"{name}: got strides {array.strides} for shape {array.shape}, expected a C-contiguous array")
    if not array.flags.aligned:
        raise ValueError(f"{name}: got elements that are not aligned to {array.dtype.itemsize} bytes, expected aligned ones")


def check_parameter(value: Any, name: str) -> Array:
    """An array that a step can write in place: of one of DTYPES, contiguous, native, writable."""
    array = check_dtype(as_array(value, name), name)
    check_layout(array, name)
    check_writable(array, name)
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
    """An array that takes copies of `param`, in one of DTYPES, and the C number of that."""
    array = check_parameter(value, name)
    check_shape(array, name, param, param_name)
    return array, DTYPES.index(dtype_name(array))


def check_gradient(value: Any, name: str, param: Array, param_name: str, *, written: bool = False) -> Array:
    """A gradient for `param`, of a dtype that its arithmetic holds; it may be read-only where it is not written."""
    array = as_array(value, name)
    possible = WIDER[arithmetic(param).name]
    if dtype_name(array) not in possible:
        expected = f"{', '.join(possible[:-1])} or {possible[-1]}"
        raise TypeError(f"{name}: got dtype {array.dtype}, expected {expected}, since {param_name} is {dtype_name(param)}")
    check_shape(array, name, param, param_name)
    if written:
        check_writable(array, name)
    return array


def arithmetic(param: Array) -> np.dtype[Any]:
    """What a rule computes in."""
    return DOUBLE if param.dtype == DOUBLE else SINGLE


def widened(param: Array) -> Array:
    """`param` as the arithmetic has it; a new array for a 16-bit one, and of one on a GPU, in NumPy."""
    if isinstance(param, DeviceArray):
        param = cuda.to_host(param)
    if param.dtype == BFLOAT16:
        return (param.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
    return param.astype(arithmetic(param), copy=False)


def check_state(value: Any, name: str, param: Array, param_name: str) -> Array:
    """A state array for `param`, to be updated in place, of the dtype of the arithmetic."""
    array = check_parameter(value, name)
    if array.dtype != arithmetic(param):
        raise TypeError(
            f"{name}: got dtype {dtype_name(array)}, expected {arithmetic(param)}, since {param_name} is {dtype_name(param)}"
        )
    check_shape(array, name, param, param_name)
    return array


def check_running(value: Any, name: str) -> Array:
    """A scalar that a step carries on: a float64 array of no dimension, to be updated in place."""
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
    """A new array of zeros of the shape of `param`; where elements have its size placed like it relative to the cache lines, so
    that one peeled head aligns both."""
    if isinstance(param, DeviceArray):
        return cuda.new(param, param.shape, dtype)
    size = np.dtype(dtype).itemsize
    offset = _core.address(param) % LINE if size == param.itemsize else 0
    return np.ndarray(param.shape, dtype, allocate(param.size * size + LINE).data, offset)


def blocks_like(param: Array, count: int, length: int) -> tuple[Array, Array]:
    """Zeros for the codes of so many blocks, and a word for each, where `param` is."""
    if isinstance(param, DeviceArray):
        return cuda.new(param, (count, length), np.uint8), cuda.new(param, (count,), np.uint32)
    return allocate(count * length).reshape(count, length), allocate(4 * count).view(np.uint32)


def part_of(array: Array, begin: int, end: int) -> Array:
    """Elements of a contiguous array, in one dimension."""
    return array.part(begin, end) if isinstance(array, DeviceArray) else array.reshape(-1)[begin:end]


def full_like(param: Array, value: float, dtype: Any) -> Array:
    """The same, filled with `value`."""
    array = new_like(param, dtype)
    if value != 0:
        copy_values(array, np.full(param.shape, value, dtype))
    return array


def copy_values(to: Array, values: Any) -> None:
    """Copies values of the same shape and dtype; either side may be on a GPU."""
    if isinstance(to, DeviceArray):
        cuda.copy_values(to, values)
    else:
        np.copyto(to, to_host(values))


def to_host(array: Any) -> Array:
    """An array of NumPy as it is, one on a GPU as a copy."""
    return cuda.to_host(array) if isinstance(array, DeviceArray) else array


def check_disjoint(arrays: Iterable[Named], known: Sequence[Named] = (), *, shared: bool = False) -> None:
    """ValueError where one of `arrays` shares memory with another, unless they may be `shared`, or with one of `known`; all are contiguous."""
    spans = []
    for new, group in ((False, known), (True, arrays)):
        for name, array in group:
            begin = address(array)
            if array.nbytes:
                spans.append((begin, begin + array.nbytes, name, new))
    spans.sort(key=operator.itemgetter(0, 1))
    furthest: dict[bool, tuple[int, int, str, bool]] = {}  # of the new ones and of the known
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
