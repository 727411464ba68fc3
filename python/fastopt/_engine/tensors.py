"""`Tensor`: one parameter as the plan has it, with its state, average, copy and master."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from .._arrays import buffers
from .._arrays.memory import BLOCK
from .._storage.formats import Formats, param_format, state_format
from .._storage.stored import Stored, stored
from ..rules import Slot
from .groups import Group

__all__ = ["CORRECTIONS", "MASTER", "Tensor", "check_formats"]

CORRECTIONS = {"24bit": np.int8, "32bit": np.int16, "float32": np.float32}
MASTER = "master"


class Tensor:
    """One parameter: its view, its names, its arrays."""

    def __init__(
        self, param: buffers.Array, name: str, key: str | None = None, group: int = 0, offset: int = 0, owner: Any = None
    ) -> None:
        self.name = name  # in messages
        self.key = key  # the caller's, in a dict
        self.group = group
        self.offset = offset  # elements of the tensors before it, padded to blocks
        self.param = param
        self.owner = owner  # the caller's object that `param` is a view of, if steps are to look whether it moves
        self.behind = buffers.memory_behind(owner)
        self.copy_owner: Any = None
        self.copy_behind: tuple[int, int] | None = None
        self._views = buffers.Views()
        self.dtype = buffers.dtype_name(self.param)
        self.state: dict[str, buffers.Array | Stored] = {}
        self.ema: buffers.Array | None = None
        self.copy: buffers.Array | None = None
        self.copy_dtype = 0
        self.copy_name = ""
        self.format, self.stochastic = param_format(self.dtype, None)
        self.extra: buffers.Array | None = None  # the master's, beside the parameter
        self.master: buffers.Array | Stored | None = None

    @property
    def arithmetic(self) -> np.dtype[Any]:
        """What the rule computes in."""
        return buffers.arithmetic(self.param)

    def take_copy(self, value: Any, name: str) -> None:
        if value is not None:
            self.copy, self.copy_dtype = buffers.check_copy(value, name, self.param, self.name)
            self.copy_name, self.copy_owner, self.copy_behind = name, value, buffers.memory_behind(value)

    def check_unmoved(self) -> None:
        """ValueError or TypeError, with words, if the caller's objects are not what they were when the plan was bound to them."""
        for owner, view, name, behind in (
            (self.owner, self.param, self.name, self.behind),
            (self.copy_owner, self.copy, self.copy_name, self.copy_behind),
        ):
            if owner is not None and view is not None:
                buffers.check_unmoved(owner, view, name, written=True, behind=behind)

    def allocate(self, group: Group, *, average: bool) -> None:
        """Makes its state, in the group's slots and formats, and its master and average if they are asked for."""
        formats = group.formats
        for slot in group.slots:
            format = state_format(formats.state_dtype, group.rule.slot(slot))
            initial = group.initial[slot]
            if format is not None:
                self.state[slot] = stored(format, self.param, initial)
            else:
                self.state[slot] = buffers.full_like(self.param, initial, self.arithmetic)
        if self.format is not None:
            self.format, self.stochastic = param_format(self.dtype, formats.master)
            self.take_master(formats.master)
        if average:
            self.ema = buffers.new_like(self.param, self.arithmetic)
            self.take_values(self.ema)

    def take_values(self, array: buffers.Array) -> None:
        """The parameter's values, as the arithmetic has them."""
        same = self.param.dtype == array.dtype
        buffers.copy_values(array, self.param if same else buffers.widened(self.param))

    def take_master(self, master: str | None) -> None:
        """A master of the parameter as it is."""
        if self.format is None or master not in CORRECTIONS:
            return
        self.extra = buffers.new_like(self.param, CORRECTIONS[master])
        if master == "float32":
            self.master = self.extra
        else:
            self.master = Stored(self.format, self.param.shape, self.param, self.extra, {"corrections": self.extra})
        self.reset_master()

    def reset_master(self) -> None:
        """The master becomes the parameter: for the corrections that is 0."""
        if self.extra is None:
            return
        if self.extra.dtype == np.float32:
            self.take_values(self.extra)
        else:
            buffers.copy_values(self.extra, np.zeros(self.extra.shape, self.extra.dtype))

    def entries(self) -> dict[str, Any]:
        """State and master."""
        return self.state if self.master is None else {**self.state, MASTER: self.master}

    def shown(self) -> dict[str, Any]:
        """What `opt.state` shows of them."""
        return {key: self._views.of(key, value) for key, value in self.entries().items()}

    def shown_average(self) -> Any:
        """What `opt.ema_params` shows of it; None without an average."""
        return self._views.of("ema", self.ema)

    def snapshot(self) -> dict[str, Any]:
        """The live arrays that a snapshot copies: of one in a format its raw arrays by their names."""
        entries = {**self.entries(), **({"ema": self.ema} if self.ema is not None else {})}
        return {key: value.arrays if isinstance(value, Stored) else value for key, value in entries.items()}

    def planned(self, slots: list[str]) -> dict[str, Any]:
        """What the plan takes of it; `slots` are all of the rule's."""

        def entry(array: buffers.Array | Stored | None) -> Any:
            return array.planned() if isinstance(array, Stored) else None if array is None else (array, None, 0)

        return {
            "param": (self.param, self.extra, self.format.index if self.format else 0),
            "state": [entry(self.state.get(slot)) for slot in slots],
            "dtype": buffers.DTYPES.index(buffers.dtype_name(self.param) if self.format is None else "float32"),
            "stochastic": self.stochastic,
            "ema": self.ema,
            "copy": self.copy,
            "copy_dtype": self.copy_dtype,
            "group": self.group,
            "offset": self.offset,
            "owner": self.owner,
            "copy_owner": self.copy_owner,
        }

    @property
    def has_blocks(self) -> bool:
        """Whether a part of a step has to begin and end with a block."""
        return any(isinstance(array, Stored) and "blocks" in array.arrays for array in self.state.values())

    @property
    def padded(self) -> int:
        """Elements with the padding that a flat buffer gives them."""
        return -(-self.param.size // BLOCK) * BLOCK

    def arrays(self) -> list[tuple[str, buffers.Array]]:
        """All that a step writes, with names for messages."""
        named = [(self.name, self.param)]
        for key, value in self.entries().items():
            label = f"state of {self.name}: {key}"
            named += [(label, array) for array in value.arrays.values()] if isinstance(value, Stored) else [(label, value)]
        if self.ema is not None:
            named.append((f"the average of {self.name}", self.ema))
        if self.copy is not None:
            named.append((self.copy_name, self.copy))
        return named


def check_formats(params: Iterable[tuple[str, str]], rule: str, slots: Iterable[Slot], formats: Formats) -> None:
    """ValueError if parameters, given by name and dtype, or state of these slots cannot have these formats; it names those that they can."""
    params = list(params)
    state_dtype, master = formats.state_dtype, formats.master
    for name, dtype in params:
        possible = ("float64",) if dtype == "float64" else ("float32", "bfloat16", "8bit")
        if state_dtype is not None and state_dtype not in possible:
            words = ", ".join(map(repr, possible))
            raise ValueError(f"state_dtype: got {state_dtype!r}, expected None or one of {words} for {name}, which is {dtype}")
    if state_dtype in ("bfloat16", "8bit"):
        slots = list(slots)
        if not any(state_format(state_dtype, slot) for slot in slots):
            kept = "keeps no state" if not slots else f"keeps {', '.join(slot.name for slot in slots)} in full precision"
            raise ValueError(f"state_dtype: got {state_dtype!r}, expected None, since {rule} {kept} with these arguments")
    if master is not None and not any(param_format(dtype, None)[0] for _, dtype in params):
        name, dtype = params[0]
        raise ValueError(
            f"master: got {master!r}, expected None for {name} of {dtype}; "
            "bfloat16 and float16 parameters can have '24bit', '32bit', 'float32', 'stochastic'"
        )
