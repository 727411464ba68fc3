"""How many steps were made: the device counts, since it decides about some, and the host knows what it can without asking."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._arrays.device import DeviceArray, refuse_waiting, stream_of
from .._arrays.driver import driver
from . import table
from .launches import uploaded, write

__all__ = ["Counts"]


class Counts:
    """`table.CONTROL` on the device, with the groups behind it, and what the host knows of its counts."""

    def __init__(self, like: DeviceArray, groups: np.ndarray[Any, Any]) -> None:
        self._like = like
        # The groups lie behind `done`, the last field, so that sending them sets it to 0.
        self._memory = uploaded(like, np.concatenate([np.zeros(table.CONTROL.itemsize, np.uint8), groups.view(np.uint8)]))
        self.control = self._memory.pointer
        self.groups = self.control + table.CONTROL.itemsize
        self._completed = self._skipped = 0
        self._unsure = False  # whether the device has decided about a step since the host read the counts
        self.captured = False  # whether graphs may make steps of which the host never hears

    def send_groups(self, groups: np.ndarray[Any, Any], stream: int) -> None:
        """Writes the groups, and the count of thread blocks back to 0."""
        words = np.concatenate([np.zeros(1, np.uint64), groups.view(np.uint64)])
        write(self.control + table.offset_of(table.CONTROL, "done"), words, self._like.device, stream)

    def note_step(self, *, captured: bool, decided: bool) -> None:
        """After the launches of a step; `decided`: the device may skip it."""
        self._unsure = self._unsure or decided
        self._completed += not captured

    def read(self, name: str) -> Any:
        """The whole of it; waits for the stream.  RuntimeError, beginning with `name`, while a CUDA graph is captured."""
        control = np.zeros((), table.CONTROL)
        driver().read(self.control, control, self._like.device, refuse_waiting(self._like, name))
        return control

    @property
    def completed(self) -> int:
        """Completed steps; waits for the stream if the device has decided about a step since the last reading."""
        self._settle("steps")
        return self._completed

    @completed.setter
    def completed(self, steps: int) -> None:
        self._set("steps", "completed", steps)
        self._completed = steps

    @property
    def skipped(self) -> int:
        """Skipped steps; waits as `completed` does."""
        self._settle("skipped_steps")
        return self._skipped

    @skipped.setter
    def skipped(self, steps: int) -> None:
        self._settle("skipped_steps")
        self._set("skipped_steps", "skipped_steps", steps)
        self._skipped = steps

    def _set(self, name: str, field: str, value: int) -> None:
        refuse_waiting(self._like, name)  # a graph would set it again at each replay
        place = self.control + table.offset_of(table.CONTROL, field)
        write(place, np.array([value], np.int64), self._like.device, stream_of(self._like))

    def _settle(self, name: str) -> None:
        if not (self._unsure or self.captured):
            return
        if not driver().may_wait(stream_of(self._like)):
            raise RuntimeError(
                f"{name}: a CUDA graph is being captured, and the count of steps is on the GPU: it can be read before; for a "
                "schedule give lr as an array on the GPU"
            )
        control = self.read(name)
        self._completed, self._skipped = int(control["completed"]), int(control["skipped_steps"])
        self._unsure = False
