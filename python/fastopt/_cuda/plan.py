"""The plan of an optimizer whose arrays are on a GPU: what `_core.Plan` is on the CPU.

Tensors, counts of steps, groups and the results of measurements lie in tables on the device.  A step sends what has changed in
them, via kernels of a few words, and launches one kernel for all tensors of one kind (and one before, if a stage needs the norm or
the finite check).  The host waits for nothing, and after the first step of a kind nothing is allocated.
"""

from __future__ import annotations

import itertools
import threading
from typing import Any

import numpy as np

from .. import _core
from .._arrays import buffers
from .._arrays.buffers import dtype_name
from .._arrays.device import DeviceArray, as_device_array, is_on_device, refuse_waiting, stream_of
from .._arrays.driver import driver
from ..rules import Rule
from . import table
from .bound import Bound
from .counts import Counts
from .given import Gradients, Spans, address, of_torch, overlap
from .kinds import Launches
from .launches import TICKETS, uploaded, write
from .rows import spans, state_dtype, tensor_row

__all__ = ["CudaPlan"]

SINGLE = ("lr", "weight_decay", "l1")
"""The numbers of a group's row before the rule's own."""


class CudaPlan:
    """`_core.Plan`'s methods, over `rows` of DeviceArrays; `named`: these arrays with their names in messages."""

    def __init__(
        self,
        rule: Rule,
        rows: list[dict[str, Any]],
        groups: int,
        seed: int,
        progress: list[tuple[int, list[float]]],
        named: list[tuple[str, DeviceArray]],
    ) -> None:
        self._rule = rule
        self._watched = [Bound(named), Bound([]), Bound([])]  # parameters and copies; learning rates; bound gradients
        self._lock = threading.RLock()
        self._params: list[DeviceArray] = [row["param"][0] for row in rows]
        names = {id(array): name for name, array in named}
        self._names = [names[id(param)] for param in self._params]
        self._in_order = [param.flags.c_contiguous for param in self._params]
        first = self._params[0]
        self._like = first
        self.device = first.device
        self._driver = driver()
        self._arrays = rows  # kept alive, and their memory with them
        self._own = Spans(spans(rows))
        self._lengths = np.array([param.size for param in self._params], np.uint64)
        self._tensors = np.array([tensor_row(row) for row in rows], table.TENSOR)
        self._note_progress(progress)
        self._groups = np.zeros(groups, table.GROUP)
        self._variants = [""] * groups
        self._lr_arrays: dict[int, DeviceArray] = {}
        self._table = uploaded(first, self._tensors)
        self._counts = Counts(first, self._groups)
        self._tickets = itertools.count(0, TICKETS)
        self._grads = uploaded(first, np.zeros(len(rows), np.uint64)) if len(rows) > 1 else None
        self._launches = Launches(rule, self._tensors, [state_dtype(row) for row in rows], self._variants, self._base(), first)
        self._tiles = self._launches.tiles
        self._groups_changed = True
        self._sent: Gradients | None = None  # the gradients whose addresses the device has
        self._bound: Gradients | None = None
        self._last: Gradients | None = None
        self.seed = seed
        self._measured = False

    def _stream(self) -> int:
        return stream_of(self._like)

    def set_group(
        self, index: int, lr: Any, weight_decay: float, decoupled: bool, l1: float, maximize: bool, hyperparameters: list[float]
    ) -> None:
        with self._lock:
            row = self._groups[index]
            before = self._lr_arrays.pop(index, None)
            row["lr"], row["device_lr"] = 0.0, 0
            if isinstance(lr, DeviceArray):
                self._lr_arrays[index] = lr
                row["device_lr"], row["lr_is_double"] = lr.pointer, lr.dtype == np.float64
            else:
                row["lr"] = lr
            if before is not self._lr_arrays.get(index):
                self._watched[1] = Bound([("lr", array) for array in self._lr_arrays.values()])
            row["weight_decay"], row["l1"] = weight_decay, l1
            row["decoupled_weight_decay"], row["maximize"] = decoupled, maximize
            row["hyperparameters"][: len(hyperparameters)] = hyperparameters
            self._variants[index] = _core.variant_of(self._rule.arithmetic, hyperparameters)
            self._groups_changed = True

    def set_numbers(self, index: int, place: int, values: float | tuple[float, ...]) -> None:
        """Sets numbers of a group, from `place` on among those from `lr` on, of which none decides on the variant."""
        with self._lock:
            row = self._groups[index]
            if place < len(SINGLE):
                row[SINGLE[place]] = values
            else:
                numbers = values if isinstance(values, tuple) else (values,)
                row["hyperparameters"][place - len(SINGLE) :][: len(numbers)] = numbers
            self._groups_changed = True

    def bind(self, grads: list[Any], owners: list[Any]) -> bool:
        """Takes gradients for all steps without any."""
        with self._lock:
            taken = self._take(grads, written=False)
            if taken is not None:
                self._bound = taken
                names = [name.replace("params", "grads", 1) for name in self._names]
                given = [(name, grad) for name, grad in zip(names, grads, strict=True) if grad is not None]
                self._watched[2] = Bound(given, written=False, ordered=True)
            return taken is not None

    def step(self, grads: Any, options: _core.Options) -> bool:
        """Makes one step; False, with nothing done, if `grads` are not what the plan expects."""
        with self._lock:
            self._check_unmoved(bound_gradients=grads is None)
            taken = self._bound if grads is None else self._take(grads, written=options.zero_grad)
            if taken is None or (options.zero_grad and not taken.writable):
                return False
            stream = self._stream()
            launches = self._launches.of_all(taken, stream)
            measured = options.max_norm > 0 or options.skip_nonfinite
            if measured:
                for launch in launches:
                    launch.load_sweep(stream)  # whatever can fail does so before anything is launched
            capturing = self._notice_capture(stream)
            self._send(taken, stream)
            if measured:
                for i, launch in enumerate(launches):
                    launch.sweep(options, next(self._tickets), ends=i + 1 == len(launches), stream=stream)
            for i, launch in enumerate(launches):
                ticket, ends = next(self._tickets), i + 1 == len(launches)
                launch.step(options, self.seed, ticket, measured=measured, ends=ends, stream=stream)
            self._measured = measured
            self._counts.note_step(captured=capturing, decided=options.skip_nonfinite)
            return True

    def step_part(self, grad: Any, index: int, begin: int, end: int, options: _core.Options) -> bool:
        """Makes a step over elements of one tensor without counting it; False, with nothing done, if `grad` is not as expected."""
        with self._lock:
            self._check_unmoved()
            array = self._view(grad)
            param = self._params[index]
            if array is None or not 0 <= begin <= end <= param.size:
                return False
            offset = 0
            if array.shape != param.shape:
                if array.shape != (end - begin,) or not array.flags.c_contiguous:
                    return False
                offset = begin * array.itemsize
            elif not array.same_layout(param):
                return False
            if not self._fits(array, param.dtype, options.zero_grad):
                return False
            if self._own.meet(np.array([array.pointer], np.uint64), np.array([array.nbytes], np.uint64)):
                return False
            if begin == end:
                return True
            stream = self._stream()
            launch = self._launches.of_one(index, dtype_name(array), stream)
            self._notice_capture(stream)
            self._send_groups(stream)
            launch.part(options, self.seed, self._tiles, index, array.pointer - offset, begin, end, stream)
            self._measured = False
            return True

    def count(self, index: int) -> None:
        """Counts the step of a tensor that has had all its parts."""
        with self._lock:
            stream = self._stream()
            self._notice_capture(stream)
            self._send_groups(stream)
            self._launches.of_one(index, None, stream).count(self._tiles, index, next(self._tickets), stream)

    def end(self) -> None:
        """Counts a step that was made in parts."""
        with self._lock:
            stream = self._stream()
            capturing = self._notice_capture(stream)
            self._send_groups(stream)
            self._launches.of_one(0, None, stream).count(self._tiles, None, next(self._tickets), stream)
            self._counts.note_step(captured=capturing, decided=False)

    def _notice_capture(self, stream: int) -> bool:
        """Whether what is launched goes into a graph.

        From the first graph on every step sends its groups and gradients: the tables may hold those of a graph that ran, or those
        from before a graph that never ran.  A graph's launches have the same tickets at each replay, so `done` is set to 0 too.
        """
        capturing = bool(self._driver.is_capturing(stream))
        self._counts.captured = self._counts.captured or capturing
        if self._counts.captured:
            self._groups_changed, self._sent = True, None
        return capturing

    @property
    def grad_norm(self) -> float | None:
        """The norm that the last step measured, or None; waits for the stream."""
        with self._lock:
            return float(self._counts.read("grad_norm")["norm"]) if self._measured else None

    def progress_of(self, index: int) -> tuple[int, list[float]]:
        """A tensor's count of steps and its running scalars; waits for the stream."""
        with self._lock:
            row = np.zeros((), table.TENSOR)
            stream = refuse_waiting(self._like, "state")
            self._driver.read(self._table.pointer + index * row.nbytes, row, self.device, stream)
            return int(row["steps"]), [float(x) for x in row["running"][: len(self._rule.running)]]

    def set_progress(self, progress: list[tuple[int, list[float]]]) -> None:
        """Replaces the counts of steps and running scalars of all tensors; waits for the stream."""
        with self._lock:
            self.refuse_waiting("state")
            self._note_progress(progress)
            write(self._table.pointer, self._tensors, self.device, self._stream())
            self.settle()
            self._measured = False

    def progress_arrays(self) -> list[tuple[DeviceArray, list[DeviceArray]]]:
        """The count of steps and the running scalars of each tensor, on the device."""
        counts = [self._number(i, "steps", np.int64, 0) for i in range(len(self._params))]
        running = [
            [self._number(i, "running", np.float64, k) for k in range(len(self._rule.running))] for i in range(len(self._params))
        ]
        return list(zip(counts, running, strict=True))

    def _number(self, index: int, field: str, dtype: Any, k: int) -> DeviceArray:
        pointer = self._table.pointer + index * table.TENSOR.itemsize + table.offset_of(table.TENSOR, field) + 8 * k
        return DeviceArray(pointer, (), np.dtype(dtype), self.device, self._table, torch=self._like.torch)

    def _note_progress(self, progress: list[tuple[int, list[float]]]) -> None:
        for row, (steps, running) in zip(self._tensors, progress, strict=True):
            row["steps"] = steps
            row["running"][: len(running)] = running

    def settle(self) -> None:
        """Waits until the tables are on the device, for steps on any stream."""
        self._driver.synchronize(self.device, refuse_waiting(self._like, "state"))

    def refuse_waiting(self, call: str) -> None:
        """RuntimeError, beginning with `call`, if a wait for the stream would end the capture of a CUDA graph."""
        refuse_waiting(self._like, call)

    @property
    def completed(self) -> int:
        """Completed steps; may wait for the stream."""
        with self._lock:
            return self._counts.completed

    @completed.setter
    def completed(self, steps: int) -> None:
        with self._lock:
            self._counts.completed = steps

    @property
    def skipped(self) -> int:
        """Skipped steps; may wait for the stream."""
        with self._lock:
            return self._counts.skipped

    @skipped.setter
    def skipped(self, steps: int) -> None:
        with self._lock:
            self._counts.skipped = steps

    # Gradients

    def _check_unmoved(self, *, bound_gradients: bool = False) -> None:
        """TypeError or ValueError, naming the array, if the memory of one that is bound is no longer what it was."""
        for watched in self._watched if bound_gradients else self._watched[:2]:
            watched.check()

    def _take(self, grads: Any, *, written: bool) -> Gradients | None:
        """What came, checked; None if it is not what the plan expects."""
        if not isinstance(grads, (list, tuple)):
            grads = (grads,)
        if len(grads) != len(self._params):
            return None
        last = self._last
        if last is not None and last.is_same(grads) and (last.writable or not written):
            return last
        taken = of_torch(grads, self._params, self._in_order) or self._checked(grads, written)
        if taken is None:
            return None
        widths = np.array([0 if name is None else buffers.SIZES[name] for name in taken.dtypes], np.uint64)
        if self._own.meet(taken.pointers, widths * self._lengths):
            return None
        taken.writable = taken.writable and not overlap(
            taken.pointers, widths * self._lengths
        )  # what is only read may come twice
        if written and not taken.writable:
            return None
        self._last = taken
        return taken

    def _checked(self, grads: Any, written: bool) -> Gradients | None:
        views = [None if grad is None else self._view(grad) for grad in grads]
        for grad, view, param in zip(grads, views, self._params, strict=True):
            if grad is None:
                continue
            if view is None or not view.same_layout(param) or not self._fits(view, param.dtype, written):
                return None
        pointers = [address(view) for view in views]
        names = [None if view is None else dtype_name(view) for view in views]
        return Gradients(grads, pointers, names, writable=all(view is None or view.flags.writeable for view in views))

    def _view(self, grad: Any) -> DeviceArray | None:
        if not isinstance(grad, DeviceArray) and not is_on_device(grad):
            return None
        try:
            return as_device_array(grad, "grads")
        except TypeError:
            return None

    def _fits(self, grad: DeviceArray, param: np.dtype[Any], written: bool) -> bool:
        arithmetic = "float64" if param == np.float64 else "float32"
        flags = grad.flags
        return (
            grad.device == self.device
            and grad.dtype.isnative
            and dtype_name(grad) in buffers.GRADIENTS[arithmetic]
            and flags.aligned
            and (flags.writeable or not written)
        )

    def _base(self) -> np.ndarray[Any, Any]:
        """The fields that all launches share."""
        base = np.zeros((), table.LAUNCH)
        base["tensors"], base["groups"], base["control"] = self._table.pointer, self._counts.groups, self._counts.control
        base["grads"] = 0 if self._grads is None else self._grads.pointer
        return base

    def _send(self, grads: Gradients, stream: int) -> None:
        """Brings the tables on the device up to date, for a step with these gradients."""
        self._send_groups(stream)
        if grads is self._sent and self._grads is not None:
            return
        if self._grads is None:
            for launch in grads.launches or ():
                launch.set_gradient(int(grads.pointers[0]))
        elif self._sent is None or not np.array_equal(grads.pointers, self._sent.pointers):
            write(self._grads.pointer, grads.pointers, self.device, stream)
        self._sent = grads

    def _send_groups(self, stream: int) -> None:
        if self._groups_changed:
            self._counts.send_groups(self._groups, stream)
            self._groups_changed = False
