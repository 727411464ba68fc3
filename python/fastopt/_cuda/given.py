"""Gradients as they came to a plan: what it has to know of them to launch a step, and whether they are those of the last."""

from __future__ import annotations

import functools
import sys
import weakref
from typing import TYPE_CHECKING, Any

import numpy as np

from .._arrays import buffers
from .._arrays.device import DeviceArray, as_device_array, is_cupy, is_torch
from .launches import NON_NULL

if TYPE_CHECKING:
    from .launches import Launch

__all__ = ["SIZES", "Gradients", "Spans", "address", "name_of", "of_torch", "overlap"]


SIZES = {"float32": 4, "float64": 8, "bfloat16": 2, "float16": 2}
"""Bytes of an element."""


class Gradients:
    """What the plan knows of gradients that came; it does not keep them."""

    def __init__(self, given: Any, pointers: list[int], dtypes: list[str | None], *, writable: bool = True) -> None:
        self.pointers = np.array(pointers, np.uint64)
        self.dtypes = dtypes
        self.writable = writable
        self.launches: list[Launch] | None = None
        self.variants: tuple[str, ...] = ()
        self._given = [missing if grad is None else weak(grad) for grad in given]
        # An array of CuPy keeps its memory.  A tensor of torch may have been given other, and so may another library's array,
        # which besides may name a stream that its memory is ready on.
        owners = [grad.owner if isinstance(grad, DeviceArray) else grad for grad in given]
        self._tensors = [i for i, owner in enumerate(owners) if is_torch(owner)]
        self._places = [pointers[i] for i in self._tensors]
        self._others = [i for i, owner in enumerate(owners) if not (owner is None or is_torch(owner) or is_cupy(owner))]

    def is_same(self, grads: Any) -> bool:
        """Whether these are the same arrays over the same memory."""
        # A reference to an array that is gone gives None too.
        for grad, known in zip(grads, self._given, strict=True):
            if known() is not grad or (grad is None and known is not missing):
                return False
        if self._tensors and [grads[i].data_ptr() or NON_NULL for i in self._tensors] != self._places:
            return False
        return all(address(as_device_array(grads[i], "grads")) == int(self.pointers[i]) for i in self._others)

    def wait(self, grads: Any) -> None:
        """Lets the stream in use wait for the streams that arrays of other libraries say they are ready on."""
        for i in self._others:
            as_device_array(grads[i].owner if isinstance(grads[i], DeviceArray) else grads[i], "grads")


def missing() -> None:
    """To no gradient."""


def weak(grad: Any) -> Any:
    """A reference that keeps nothing; to what has none, one that is never the same."""
    try:
        return weakref.ref(grad)
    except TypeError:
        return object


def of_torch(grads: Any, params: list[DeviceArray], in_order: list[bool]) -> Gradients | None:
    """Gradients that are all plain tensors of torch as a step takes them, quickly; None where one is not, or is not sure to be.

    `in_order`: which of the parameters are C-contiguous.
    """
    torch = sys.modules.get("torch")
    if torch is None:
        return None
    tensor, strided, names = torch.Tensor, torch.strided, torch_names()
    pointers: list[int] = []
    dtypes: list[str | None] = []
    for grad, param, contiguous in zip(grads, params, in_order, strict=True):
        if grad is None:
            pointers.append(0)
            dtypes.append(None)
            continue
        if not isinstance(grad, tensor) or grad.get_device() != param.device or grad.shape != param.shape:
            return None
        name = names.get(grad.dtype)
        if (
            name is None
            or (name == "float64" and param.dtype != np.float64)
            or grad.layout is not strided
            or not (grad.is_contiguous() if contiguous else same_layout(grad, param))
        ):
            return None
        if grad.requires_grad or grad.is_neg():
            return None
        pointers.append(grad.data_ptr() or NON_NULL)
        dtypes.append(name)
    return Gradients(grads, pointers, dtypes)


def same_layout(grad: Any, param: DeviceArray) -> bool:
    """A tensor's elements stand in the order of the parameter's."""
    steps = zip(param.shape, grad.stride(), param.strides, strict=True)
    return param.size == 0 or all(n == 1 or a == b // param.itemsize for n, a, b in steps)


@functools.cache
def torch_names() -> dict[Any, str]:
    """The dtypes that a gradient may have, as torch's."""
    return {getattr(sys.modules["torch"], name): name for name in SIZES}


class Spans:
    """Where a plan's own arrays lie: from first byte to behind the last, in order."""

    def __init__(self, spans: list[tuple[int, int]]) -> None:
        ordered = np.array(sorted(spans), np.uint64).reshape(-1, 2)
        self._begins, self._ends = ordered[:, 0].copy(), ordered[:, 1].copy()

    def meet(self, pointers: np.ndarray[Any, Any], nbytes: np.ndarray[Any, Any]) -> bool:
        """Whether one of these arrays shares memory with them."""
        begins = pointers[nbytes > 0]
        ends = begins + nbytes[nbytes > 0]
        before = np.searchsorted(self._begins, ends) - 1
        return bool(((before >= 0) & (self._ends[np.maximum(before, 0)] > begins)).any()) if len(self._ends) else False


def overlap(pointers: np.ndarray[Any, Any], nbytes: np.ndarray[Any, Any]) -> bool:
    """Whether one of these arrays shares memory with another."""
    begins = pointers[nbytes > 0]
    ends = begins + nbytes[nbytes > 0]
    order = np.argsort(begins)
    return bool((ends[order][:-1] > begins[order][1:]).any())


def name_of(array: DeviceArray) -> str:
    """Its dtype's name."""
    return buffers.dtype_name(array)


def address(view: DeviceArray | None) -> int:
    if view is None:
        return 0
    return view.pointer if view.size else NON_NULL
