"""Norm, clipping and finiteness of gradients on a GPU, outside a step; the host waits for nothing."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from .. import _core
from .._arrays import buffers
from .._arrays.device import DeviceArray, new, stream_of
from .._arrays.driver import Parameters, driver
from . import table
from .compiler import loaded
from .given import address
from .kernels import GradientKernel, grad_format
from .launches import TICKETS, Tiles, launch_gradients, set_options, uploaded

__all__ = ["clip", "measure"]


def measure(arrays: list[DeviceArray], options: _core.Options) -> tuple[Any, Any]:
    """`_core.measure` on a GPU: the norm and whether all is finite, each as an array of no dimension on the device."""
    return Work(arrays, options).measured()


def clip(arrays: list[DeviceArray], options: _core.Options) -> tuple[Any, Any]:
    """`_core.clip` on a GPU: the norm and finiteness of the gradients before it, or None twice if `options` need neither."""
    work = Work(arrays, options)
    measured = options.max_norm > 0 or options.skip_nonfinite
    found = work.measured() if measured else (None, None)
    work.launch("Clip", measured=measured)
    return found


class Work:
    """Tables for some gradients, and launches over them."""

    def __init__(self, arrays: list[DeviceArray], options: _core.Options) -> None:
        self._like = arrays[0]
        self._stream = stream_of(self._like)
        lengths = np.array([array.size for array in arrays], np.int64)
        tensors = np.zeros(len(arrays), table.TENSOR)
        tensors["length"] = lengths
        pointers = np.array([address(array) for array in arrays], np.uint64)
        self._control = uploaded(self._like, np.zeros(1, table.CONTROL))
        self._tables = [uploaded(self._like, values) for values in (tensors, pointers)]
        base = np.zeros((), table.LAUNCH)
        base["tensors"], base["grads"] = (each.pointer for each in self._tables)
        base["control"] = self._control.pointer
        set_options(base, options)
        kinds = [kind_of(array) for array in arrays]
        self._tickets = itertools.count(0, TICKETS)
        self._launches = []
        for kind in dict.fromkeys(kinds):
            indices = np.array([i for i, each in enumerate(kinds) if each == kind], np.int32)
            tiles = Tiles(lengths[indices], indices, self._like)
            parameters = Parameters(table.LAUNCH)
            parameters.value[()] = base
            self._launches.append((kind, tiles, parameters))

    def launch(self, loop: str, *, measured: bool) -> None:
        """Runs one loop over all gradients."""
        for i, (kind, tiles, parameters) in enumerate(self._launches):
            parameters.value["measured"], parameters.value["ends"] = measured, i + 1 == len(self._launches)
            kernel = loaded(GradientKernel(loop, *kind), self._like.device, self._stream)
            launch_gradients(kernel, tiles, parameters, next(self._tickets), self._stream)

    def measured(self) -> tuple[Any, Any]:
        self.launch("Sweep", measured=False)
        return self._result("norm", np.float64), self._result("finite", np.bool_)

    def _result(self, field: str, dtype: Any) -> Any:
        source = self._control.pointer + table.offset_of(table.CONTROL, field)
        result = new(self._like, (), dtype)
        # `finite` is a whole number, 0 or 1: its low byte is the bool.
        driver().copy(result.pointer, source, result.nbytes, self._like.device, self._stream)
        return result.owner


def kind_of(array: DeviceArray) -> tuple[str, str]:
    """The arithmetic and the format of a gradient."""
    arithmetic = buffers.arithmetic(array).name  # type: ignore[arg-type]  # see buffers.Named
    return arithmetic, grad_format(arithmetic, buffers.dtype_name(array))
