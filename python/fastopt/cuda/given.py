"""Gradients as they came to a plan: what it has to know of them to launch a step, and whether they are those of the last."""

from __future__ import annotations

import itertools
import weakref
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import buffers
from .arrays import DeviceArray, as_device_array, is_cupy, is_torch
from .launches import NON_NULL

if TYPE_CHECKING:
    from .launches import Launch

__all__ = ["Gradients", "address", "name_of", "overlap"]


class Gradients:
    """What the plan knows of gradients that came; it does not keep them."""

    def __init__(self, given: Any, views: list[DeviceArray | None]) -> None:
        self.pointers = np.array([address(view) for view in views], np.uint64)
        self.dtypes = [None if view is None else name_of(view) for view in views]
        self.writable = all(view is None or view.flags.writeable for view in views)
        self.launches: list[Launch] | None = None
        self.variants: tuple[str, ...] = ()
        self._given = [missing if grad is None else weak(grad) for grad in given]
        # An array of CuPy keeps its memory; a tensor of torch may have been given other.
        self._places = [(i, grad.data_ptr()) for i, grad in enumerate(given) if is_torch(grad)]

        self._others = [
            i
            for i, grad in enumerate(given)
            if not (grad is None or isinstance(grad, DeviceArray) or is_torch(grad) or is_cupy(grad))
        ]

    def wait(self, grads: Any) -> None:
        """Lets the stream in use wait for the streams that arrays of other libraries say they are ready on."""
        for i in self._others:
            as_device_array(grads[i], "grads")

    def is_same(self, grads: Any) -> bool:
        """Whether these are the same arrays over the same memory."""
        # A reference to an array that is gone gives None too.
        same = all(known is missing if grad is None else known() is grad for grad, known in zip(grads, self._given, strict=True))
        return same and all(grads[i].data_ptr() == pointer for i, pointer in self._places)


def missing() -> None:
    """To no gradient."""


def weak(grad: Any) -> Any:
    """A reference that keeps nothing; to what has none, one that is never the same."""
    try:
        return weakref.ref(grad)
    except TypeError:
        return object


def overlap(views: list[DeviceArray]) -> bool:
    """Whether two of them share memory."""
    ends = sorted((view.pointer, view.pointer + view.nbytes) for view in views if view.nbytes)
    return any(first[1] > second[0] for first, second in itertools.pairwise(ends))


def name_of(array: DeviceArray) -> str:
    """Its dtype's name."""
    return buffers.dtype_name(array)


def address(view: DeviceArray | None) -> int:
    if view is None:
        return 0
    return view.pointer if view.size else NON_NULL
