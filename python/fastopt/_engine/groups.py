"""Parameter groups: a checked mapping from hyperparameter to value that writes through to the plan."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from typing import Any

import numpy as np

from .. import _core
from .._arrays import buffers
from .._arrays.device import is_on_device
from .._storage.formats import Formats, with_variance_floor
from ..rules import Rule
from ..rules.checks import one_number
from ..rules.expressions import evaluate, names_in
from ..rules.words import counted, describe, naming
from ..schedules.schedule import has_state
from .locks import fork_safe_lock
from .ranges import check_group

__all__ = ["Group"]

Schedule = Callable[[int], float]
NO_FORMATS = Formats()


class Group(_core.Row, MutableMapping[str, Any]):
    """The hyperparameters of one group of tensors, as in `opt.groups[0]["lr"] = 1e-4`.

    A value is checked when it is assigned (TypeError, ValueError) and holds from the next step on; `update` takes on
    several at once, or none if one is refused.  `"params"` lists the group's arrays and cannot be changed.  `"lr"`
    may be given a callable of the number of completed steps; reading it then gives its latest value.  What such a callable keeps, by
    `state_dict` and `load_state_dict`, is kept in the optimizer's snapshots.  Where the parameters are on a
    GPU it may be an array of one element there, float32 or float64, which each step reads.

    A plain number in its range goes from `group["lr"] = x` to the plan in the extension (`_core.Row`), by one check and one store;
    all else comes to `update`.

    `formats`: what state and masters of its tensors are kept in, fixed when the optimizer is built.
    """

    def __init__(
        self,
        rule: Rule,
        params: Sequence[Any],
        values: Mapping[str, Any],
        schedule: Schedule | None = None,
        formats: Formats = NO_FORMATS,
        single: str | None = None,
    ) -> None:
        """`values` have been checked; `Group.read` checks.  `single`: the name of a tensor that is computed in float32."""
        self.rule = rule
        self.formats = formats
        self.single = single
        self.params = tuple(params)
        self.schedule = schedule
        self.slots = rule.variant(values).slots
        self._values = dict(values)
        self.initial = {slot: self._first_value(slot) for slot in self.slots}
        """The first values of the state arrays."""
        self._lock = fork_safe_lock()  # of a change: it reads the values, and writes them with some replaced
        self._write: Callable[[Group], None] = lambda group: None
        self._steps: Callable[[], int] = lambda: 0

    @classmethod
    def read(
        cls,
        rule: Rule,
        params: Sequence[Any],
        given: Mapping[str, Any],
        name: str,
        formats: Formats,
        single: str | None = None,
    ) -> Group:
        """A group with the caller's values; TypeError or ValueError, beginning with `name`, if one is not as expected."""
        with naming(name):
            values, schedule = checked(given, rule, params, formats.state_dtype, 0)
            check_group(rule, values, single, scheduled=schedule is not None)
        return cls(rule, params, values, schedule, formats, single)

    def attach(self, write: Callable[[Group], None], steps: Callable[[], int]) -> None:
        """Calls `write` now and after each change; `steps` counts for the schedule."""
        self._write, self._steps = write, steps
        write(self)

    def _first_value(self, slot: str) -> float:
        """The first value of a state array; an lr on a GPU is read to the host only if a slot begins at it."""
        expression = self.rule.slot(slot).initial
        return float(evaluate(expression, self.rule.names(self.hyperparameters()) if names_in(expression) else {}))

    def hyperparameters(self) -> dict[str, Any]:
        """A copy of the present values; an lr on a GPU is read to the host."""
        return {**self._values, "lr": self.number()}

    def number(self) -> float:
        """The learning rate, wherever it is."""
        lr = self._values["lr"]
        return float(lr) if isinstance(lr, (int, float)) else float(buffers.to_host(buffers.as_array(lr, "lr"), "lr").reshape(()))

    def written(self) -> dict[str, Any]:
        """What the plan takes."""
        lr = self._values["lr"]
        return self._values if isinstance(lr, (int, float)) else {**self._values, "lr": buffers.as_array(lr, "lr")}

    def numbers(self) -> tuple[tuple[str, int, int, float, float, bool], ...]:
        """What the extension may set: not an lr that a schedule says or that is on a GPU."""
        own = self.schedule is None and isinstance(self._values["lr"], (int, float))
        return tuple(row for row in self.rule.numbers if own or row[0] != "lr")

    def checked_rate(self, rate: Any) -> float:
        """What a schedule has said, checked."""
        return float(self.rule.argument("lr").check(one_number(rate, "lr")))

    @property
    def schedule_state(self) -> dict[str, Any]:
        """`{"schedule": its state}` if the schedule has one, such as a ReduceOnPlateau; else nothing."""
        schedule: Any = self.schedule
        return {"schedule": copy.deepcopy(schedule.state_dict())} if has_state(schedule) else {}

    def accept(self, values: Mapping[str, Any], steps: int | None = None) -> tuple[dict[str, Any], Schedule | None]:
        """`values` over the present ones, checked, for `assign`; nothing is changed yet.  A schedule among them says its lr after `steps`
        steps, by default those completed."""
        for key in values:
            if key not in self._values:
                raise TypeError(self._unknown(key))
        # Only a schedule asks for the steps: on a GPU the answer may take a wait.
        if steps is None:
            steps = self._steps() if callable(values.get("lr")) else 0
        accepted, schedule = checked(self._values | dict(values), self.rule, self.params, self.formats.state_dtype, steps)
        check_group(self.rule, accepted, self.single, scheduled=schedule is not None or self.schedule is not None)
        missing = [name for name in self.rule.variant(accepted).slots if name not in self.slots]
        if missing:
            raise ValueError(
                f"{self.rule.name}: these values need the state {missing[0]!r}, which the optimizer was built without"
            )
        return accepted, schedule

    def assign(self, values: Mapping[str, Any]) -> None:
        """Takes on values that have been checked."""
        with self._lock:
            self._closed = True
            try:
                self._values = self._values | dict(values)
                self._write(self)
            finally:
                self._closed = False

    def _store(self, key: str, place: int, value: Any) -> None:
        """A number that the extension has checked, for the plan of a GPU."""
        with self._lock:
            self._values[key] = value
            self._plan.set_numbers(self._index, place, value)

    def restore(self, values: Mapping[str, Any], schedule: Schedule | None, *, replaced: bool) -> None:
        """`assign` for those of a snapshot: an lr on a GPU stays the array that it is, and takes the value, if it is not to be `replaced`."""
        lr = self._values["lr"]
        self.schedule = schedule
        if not isinstance(lr, (int, float)) and not replaced:
            array = buffers.as_array(lr, "lr")
            buffers.copy_values(array, np.full(array.shape, values["lr"], array.dtype))
            values = {**values, "lr": lr}
        self.assign(values)

    def update(self, *args: Any, **kwargs: Any) -> None:
        values = dict(*args, **kwargs)
        if "params" in values:
            raise TypeError("params: a group's arrays are fixed when the optimizer is built")
        with self._lock:
            self._closed = True  # until all of it is done: what is checked together holds together
            try:
                accepted, schedule = self.accept(values)
                for name in self.rule.frozen:
                    if accepted[name] != self._values[name]:
                        raise ValueError(f"{name}: it acts when the optimizer is built and cannot be changed afterwards")
                if "lr" in values:
                    self.schedule = schedule
                self.assign(accepted)
            finally:
                self._closed = False

    def __getitem__(self, key: str) -> Any:
        if key in self._values:
            return self._values[key]
        if key == "params":
            return self.params
        raise KeyError(self._unknown(key))

    def __contains__(self, key: object) -> bool:
        return key == "params" or key in self._values

    def _unknown(self, key: object) -> str:
        """The words for a key that is no hyperparameter."""
        from .._names.suggestions import suggestion

        cure = suggestion(key, self._values, rule=self.rule.name)
        return f"{key}: {self.rule.name} has no such hyperparameter; it has {', '.join(self._values)}{cure}"

    def __iter__(self) -> Iterator[str]:
        yield "params"
        yield from self._values

    def __len__(self) -> int:
        return 1 + len(self._values)

    def __reduce__(self) -> Any:
        return dict, (dict(self),)  # a copy that wrote through would change this group, and one that did not would mislead

    def __repr__(self) -> str:
        values = ", ".join(f"{key}={value!r}" for key, value in self._values.items())
        schedule = f", schedule={self.schedule!r}" if self.schedule is not None else ""
        return f"Group({counted(len(self.params), 'array')}, {values}{schedule})"


def checked(
    values: Mapping[str, Any], rule: Rule, params: Sequence[Any], state_dtype: str | None, steps: int
) -> tuple[dict[str, Any], Schedule | None]:
    """A full set of hyperparameters, checked, and the schedule if `lr` is one: then with its lr after `steps` steps."""
    lr = values["lr"]
    if is_on_device(lr):
        check_device_lr(lr, params)
        return {**checked({**values, "lr": 0.0}, rule, params, state_dtype, steps)[0], "lr": lr}, None
    schedule = lr if callable(lr) else None
    if schedule is not None:
        values = {**values, "lr": one_number(schedule(steps), "lr")}
    return rule.check(with_variance_floor(values, state_dtype)), schedule


def check_device_lr(lr: Any, params: Sequence[Any]) -> None:
    """TypeError or ValueError for an array that a step on the parameters' GPU cannot read its lr from."""
    array = buffers.as_array(lr, "lr")
    if buffers.dtype_name(array) not in ("float32", "float64") or array.size != 1:
        raise ValueError(f"lr: got {describe(array)}, expected one number of float32 or float64")
    if params:
        buffers.check_place(array, "lr", buffers.as_array(params[0], "params"), "the group's first parameter")
    buffers.check_layout(array, "lr")
    buffers.check_writable(array, "lr")  # a snapshot's goes there
