"""What a plan knows of gradients that came: what it needs to launch a step, and whether they are those of the last step."""

from __future__ import annotations

import functools
import sys
import weakref
from typing import TYPE_CHECKING, Any

import numpy as np

from .._arrays.buffers import SIZES
from .._arrays.device import DeviceArray
from .._arrays.memory import same_order
from .bound import Memory
from .launches import NON_NULL

if TYPE_CHECKING:
    from .launches import Launch

__all__ = ["Gradients", "Spans", "address", "of_torch", "overlap"]


class Gradients:
    """What the plan knows of gradients that came.  It keeps none of them."""

    def __init__(self, given: Any, pointers: list[int], dtypes: list[str | None], *, writable: bool = True) -> None:
        self.pointers = np.array(pointers, np.uint64)
        self.dtypes = dtypes
        self.writable = writable
        self.launches: list[Launch] | None = None
        self.variants: tuple[str, ...] = ()
        self._given = [missing if grad is None else weak(grad) for grad in given]
        self._memory = Memory(given, "grads")

    def is_same(self, grads: Any) -> bool:
        """Whether these are the same arrays over the same memory."""
        for grad, known in zip(grads, self._given, strict=True):
            if known() is not grad or (grad is None and known is not missing):  # an array that is gone gives None too
                return False
        return self._memory.holds(grads, ordered=True)


def missing() -> None:
    """Stands for a reference to a gradient of None."""


def weak(grad: Any) -> Any:
    """A reference that does not keep `grad`; if its class allows none, a reference to something else each time."""
    try:
        return weakref.ref(grad)
    except TypeError:
        return object


def of_torch(grads: Any, params: list[DeviceArray], in_order: list[bool]) -> Gradients | None:
    """Gradients that are all plain tensors of torch as a step takes them, quickly; None if one of them is not, or may not be.

    `in_order`: which of the parameters are C-contiguous.
    """
    torch = sys.modules.get("torch")
    if torch is None:
        return None
    tensor, strided, names = torch.Tensor, torch.strided, torch_names()
    dispatch = tensor.__torch_dispatch__  # a class with its own has tensors without memory: fake ones, wrappers
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
            or type(grad).__torch_dispatch__ is not dispatch
            or not (grad.is_contiguous() if contiguous else same_layout(grad, param))
        ):
            return None
        if grad.requires_grad or grad.is_neg():
            return None
        pointer = grad.data_ptr()
        if param.size and not (pointer and reaches(grad, param.size)):  # freed, or zeros that have no memory
            return None
        pointers.append(pointer or NON_NULL)
        dtypes.append(name)
    return Gradients(grads, pointers, dtypes)


def reaches(grad: Any, size: int) -> bool:
    """Whether a dense tensor's storage has all of its elements: a storage may be shortened under a tensor."""
    return bool(grad.untyped_storage().nbytes() >= (grad.storage_offset() + size) * grad.element_size())


def same_layout(grad: Any, param: DeviceArray) -> bool:
    """Whether a tensor of the parameter's shape has its elements in the order of the parameter's."""
    return same_order(param.shape, grad.stride(), [step // param.itemsize for step in param.strides])


@functools.cache
def torch_names() -> dict[Any, str]:
    """The names of the dtypes that a gradient may have, by torch's dtype."""
    return {getattr(sys.modules["torch"], name): name for name in SIZES}


class Spans:
    """Where a plan's own arrays lie, each from its first byte to behind its last, in order."""

    def __init__(self, spans: list[tuple[int, int]]) -> None:
        ordered = np.array(sorted(spans), np.uint64).reshape(-1, 2)
        self._begins, self._ends = ordered[:, 0].copy(), ordered[:, 1].copy()

    def meet(self, pointers: np.ndarray[Any, Any], nbytes: np.ndarray[Any, Any]) -> bool:
        """Whether one of the arrays at `pointers` shares memory with the plan's."""
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


def address(view: DeviceArray | None) -> int:
    """The address that a kernel takes for a gradient: 0 for no gradient."""
    if view is None:
        return 0
    return view.pointer if view.size else NON_NULL
