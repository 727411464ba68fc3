"""Arrays on a GPU as the rest of fastopt sees them: pointer, shape, dtype, device.

Such arrays are CuPy's, torch's CUDA tensors, and all others with `__cuda_array_interface__` or with CUDA memory by DLPack.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np

from .driver import CudaError, driver
from .memory import BFLOAT16, same_order

__all__ = [
    "DeviceArray",
    "as_device_array",
    "copy_values",
    "is_cupy",
    "is_on_device",
    "is_torch",
    "new",
    "refuse_allocation",
    "refuse_waiting",
    "stream_of",
    "to_host",
]

Host = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Flags:
    """An array's flags under NumPy's names."""

    c_contiguous: bool
    aligned: bool
    writeable: bool


class DeviceArray:
    """A view of memory on a GPU, with the attributes by which NumPy describes an array.

    `owner` keeps the memory, and is the array that users see.  `source` is the caller's array, which may get other memory while
    `owner` keeps this.  `torch` says whose current stream to use: torch's, else CuPy's.
    """

    def __init__(
        self,
        pointer: int,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        device: int,
        owner: Any,
        *,
        strides: tuple[int, ...] | None = None,
        writable: bool = True,
        torch: bool = False,
        source: Any = None,
    ) -> None:
        self.pointer = pointer
        self.shape = shape
        self.dtype = dtype
        self.device = device
        self.owner = owner
        self.strides = contiguous_strides(shape, dtype.itemsize) if strides is None else strides
        self._writable = writable
        self.torch = torch
        self.source = owner if source is None else source

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def itemsize(self) -> int:
        return self.dtype.itemsize

    @property
    def nbytes(self) -> int:
        return self.size * self.itemsize

    @property
    def flags(self) -> Flags:
        contiguous = same_order(self.shape, self.strides, contiguous_strides(self.shape, self.itemsize))
        return Flags(contiguous, self.pointer % self.itemsize == 0, self._writable)

    @property
    def steps(self) -> tuple[int, ...]:
        """The strides in elements."""
        return tuple(stride // self.itemsize for stride in self.strides)

    def same_layout(self, other: DeviceArray) -> bool:
        """Whether both have one shape and their elements in one order in memory."""
        return self.shape == other.shape and same_order(self.shape, self.steps, other.steps)

    @property
    def place(self) -> str:
        """The device's name in messages."""
        return f"cuda:{self.device}"

    def part(self, begin: int, end: int) -> DeviceArray:
        """Elements `begin` to `end` of a contiguous array, in one dimension."""
        pointer, shape = self.pointer + begin * self.itemsize, (end - begin,)
        return DeviceArray(pointer, shape, self.dtype, self.device, self.owner, writable=self._writable, torch=self.torch)

    def __repr__(self) -> str:
        return f"<array of {'bfloat16' if self.dtype == BFLOAT16 else self.dtype}, shape {self.shape}, on {self.place}>"


def contiguous_strides(shape: tuple[int, ...], itemsize: int) -> tuple[int, ...]:
    return tuple(itemsize * math.prod(shape[i + 1 :]) for i in range(len(shape)))


def is_torch(value: Any) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def is_cupy(value: Any) -> bool:
    return type(value).__module__.partition(".")[0] == "cupy"


def is_on_device(value: Any) -> bool:
    """Whether `value` is an array on a GPU."""
    if is_torch(value):
        return bool(value.is_cuda)
    try:
        if hasattr(value, "__cuda_array_interface__"):
            return True
        return hasattr(value, "__dlpack_device__") and int(value.__dlpack_device__()[0]) == 2  # kDLCUDA
    except Exception:  # from somebody else's class; `as_array` then says what is wrong
        return False


def as_device_array(value: Any, name: str, *, ordered: bool = True) -> DeviceArray:
    """A view of `value`'s memory.  Raises TypeError if `value` gives none, CudaError if no GPU can be used.

    If `ordered`, the stream in use waits for the stream that `value` names, on which the memory is ready.
    """
    if isinstance(value, DeviceArray):
        return value
    try:
        device_driver = driver()
    except CudaError as error:
        raise CudaError(f"{name}: got {type(value).__name__} on a CUDA device: {error}") from error
    if is_torch(value):
        return from_torch(value, name)
    if not hasattr(value, "__cuda_array_interface__"):
        value = device_driver.from_dlpack(value)
    try:
        interface = value.__cuda_array_interface__
    except Exception as error:  # from somebody else's class
        raise TypeError(f"{name}: got {type(value).__name__}, which does not give its memory: {error}") from error
    if interface.get("mask") is not None:
        raise TypeError(f"{name}: got a masked array, whose mask a step would ignore; expected a plain array")
    pointer, read_only = interface["data"]
    bfloat16 = str(getattr(value, "dtype", "")) == "bfloat16"
    dtype = BFLOAT16 if bfloat16 else np.dtype(interface["typestr"])
    if type(value).__module__.startswith("jax"):
        read_only = True  # JAX's arrays are immutable, whatever the interface says
    # Other libraries may number devices in their own way, so CUDA says which device has an address; an empty array has none.
    found: Any = getattr(value, "device", None)
    trusted = hasattr(found, "id") and (is_cupy(value) or not pointer)
    device = found.id if trusted else device_driver.device_of(pointer)
    strides = interface.get("strides")
    array = DeviceArray(
        int(pointer), tuple(interface["shape"]), dtype, int(device), value, strides=strides, writable=not read_only
    )
    if ordered:
        order_after(array, interface.get("stream"))
    return array


def order_after(array: DeviceArray, stream: int | None) -> None:
    """Lets the stream in use wait for `stream`, which the array's owner names, and on which the memory is ready."""
    own = stream_of(array)
    named = 1 if own == 0 else own  # the protocol calls the default stream 1
    if stream is not None and stream != named and not is_cupy(array.owner):
        driver().follow(own, stream, array.device)


def from_torch(value: Any, name: str) -> DeviceArray:
    if value.requires_grad:
        raise TypeError(f"{name}: got a {type(value).__name__} that requires grad, expected it detached from autograd")
    if value.is_sparse or value.is_quantized or value.is_neg():
        raise TypeError(f"{name}: got a {type(value).__name__} whose memory does not hold its values, expected a plain one")
    if not has_memory(value):
        raise TypeError(
            f"{name}: got a {type(value).__name__} without memory for its values, freed or never made, expected a plain one"
        )
    word = str(value.dtype).removeprefix("torch.")
    try:
        dtype = BFLOAT16 if word == "bfloat16" else np.dtype(word)
    except TypeError:
        raise TypeError(f"{name}: got dtype {value.dtype}, which NumPy does not have") from None
    strides = tuple(step * dtype.itemsize for step in value.stride())
    # The owner is an alias: the tensor itself may get other memory, and would let go of this.
    return DeviceArray(
        value.data_ptr(), tuple(value.shape), dtype, value.device.index, value.detach(), strides=strides, torch=True, source=value
    )


def has_memory(tensor: Any) -> bool:
    """Whether a tensor's storage has its last element: a storage may be freed or shortened, a tensor fake or a wrapper."""
    if type(tensor).__torch_dispatch__ is not sys.modules["torch"].Tensor.__torch_dispatch__:
        return False
    if tensor.numel() == 0:
        return True
    last = tensor.storage_offset() + sum((n - 1) * step for n, step in zip(tensor.shape, tensor.stride(), strict=True))
    return bool(tensor.data_ptr()) and bool(tensor.untyped_storage().nbytes() >= (last + 1) * tensor.element_size())


def stream_of(array: DeviceArray) -> int:
    """The current stream of the framework to which the array belongs, or for which it was made."""
    if array.torch:
        return int(sys.modules["torch"].cuda.current_stream(array.device).cuda_stream)
    return int(driver().stream(array.device))


def refuse_waiting(like: DeviceArray, name: str) -> int:
    """The stream of `like` to wait for.  Raises RuntimeError, beginning with `name`, if waiting would end a graph's capture."""
    stream = stream_of(like)
    if not driver().may_wait(stream):
        raise RuntimeError(
            f"{name}: a CUDA graph is being captured, and this waits for the GPU, which would end the capture: do it before"
        )
    return stream


def refuse_allocation(stream: int) -> None:
    """Raises RuntimeError if getting memory, or loading code, on a stream would end the capture of a CUDA graph."""
    if not driver().may_wait(stream):
        raise RuntimeError("a CUDA graph is being captured, and this call needs memory: make one like it before")


def new(like: DeviceArray, shape: tuple[int, ...], dtype: Any) -> DeviceArray:
    """A new array of zeros beside `like`.  Raises RuntimeError while a CUDA graph is captured.

    The graph would fill the array again at each replay, and nobody knows who has the memory then.
    """
    dtype = np.dtype(dtype)
    stream = stream_of(like)
    refuse_allocation(stream)
    owner = driver().zeros(shape, dtype, like.device, stream)
    return DeviceArray(owner.__cuda_array_interface__["data"][0], shape, dtype, like.device, owner, torch=like.torch)


def to_host(array: DeviceArray, name: str) -> Host:
    """A copy in NumPy; waits for the stream.  Raises RuntimeError, beginning with `name`, while a CUDA graph is captured."""
    host = np.empty(array.shape, array.dtype)
    if host.nbytes:
        driver().read(array.pointer, host, array.device, refuse_waiting(array, name))
    return host


def copy_values(to: DeviceArray, values: Any, name: str) -> None:
    """Copies values of one shape and dtype, from either side.  Raises RuntimeError, beginning with `name`, in a graph's capture."""
    if not to.nbytes:
        return
    stream = refuse_waiting(to, name)
    if isinstance(values, DeviceArray) and values.device == to.device:
        driver().copy(to.pointer, values.pointer, to.nbytes, to.device, stream)
    else:
        host = to_host(values, name) if isinstance(values, DeviceArray) else np.ascontiguousarray(values)
        driver().write(to.pointer, host, to.device, stream)
