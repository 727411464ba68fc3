"""Taking on a snapshot, what `Optimizer.load_state_dict` does: first every check, then every change, or none."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._arrays import buffers
from .._storage.formats import check_seed
from ..rules.checks import check_count, check_number
from ..rules.words import describe, naming, shown
from .aliases import Aliases
from .engine import Engine
from .groups import Group
from .interrupts import finish
from .options import BY_NAME
from .snapshot_formats import check_snapshot
from .snapshots import copied, small_dtype
from .tensors import Tensor

__all__ = ["check_override", "load"]

KEYS = ("rule", "steps", "skipped_steps", "seed", "state_dtype", "master", "state", "groups", "options")

COUNTS = 2**63
"""Where counts end: the plan keeps them in 64 bits, and what it counts must be loadable."""


@dataclass(frozen=True)
class Entry:
    """A tensor's entry, checked: its progress, and each live array with what is to be copied into it."""

    progress: tuple[int, list[float]]
    arrays: list[tuple[buffers.Array, buffers.Array]]


@dataclass(frozen=True)
class GroupEntry:
    """A group's entry, checked."""

    values: dict[str, Any]
    schedule: Callable[[int], float] | None
    """What its lr follows from now on."""
    state: list[tuple[Any, Any, str]]
    """The group's schedule if it takes the state of the snapshot, with that state and its name in messages."""


def check_override(engine: Engine, override: Any) -> dict[str, Any]:
    """The values that go before a snapshot's, each checked alone; TypeError or ValueError for what no group and no option takes."""
    if override is None:
        return {}
    if not isinstance(override, Mapping):
        raise TypeError(f"override: got {describe(override)}, expected a dict of hyperparameters and options")
    names = [*engine.rule.defaults, *BY_NAME]
    for key, value in override.items():
        if key not in names:
            from .._names.suggestions import suggestion

            cure = suggestion(key, names, rule=engine.rule.name)
            raise TypeError(f"override: got the key {key!r}, expected one of {', '.join(names)}{cure}")
        if key in engine.rule.frozen:
            raise ValueError(f"override: {key}: it acts when the optimizer is built and cannot be changed afterwards")
        with naming("override"):
            if key in BY_NAME:
                engine.options.accept({key: value})
            elif key != "lr":  # which may be a schedule or on a GPU: the groups know
                engine.rule.argument(key).check(value)
            else:
                for group in engine.groups:
                    group.accept({key: value})
    return dict(override)


def load(engine: Engine, state_dict: Any, override: Any = None) -> None:
    """`Optimizer.load_state_dict`."""
    given = check_override(engine, override)
    check_head(engine, state_dict)
    check_snapshot(engine, state_dict)
    with naming("state_dict"):
        seed = check_seed(state_dict["seed"])
    for name, count in (("state", len(engine.tensors)), ("groups", len(engine.groups))):
        check_length(state_dict[name], f"state_dict[{name!r}]", count)
    completed, skipped = (check_count(state_dict[key], f"state_dict[{key!r}]", COUNTS) for key in ("steps", "skipped_steps"))
    entries = [
        read_entry(engine, tensor, entry, f"state_dict['state'][{i}]")
        for i, (tensor, entry) in enumerate(zip(engine.tensors, by_name(engine.tensors, state_dict["state"]), strict=True))
    ]
    groups = [
        read_group(group, values, given, completed, f"state_dict['groups'][{i}]")
        for i, (group, values) in enumerate(zip(engine.groups, state_dict["groups"], strict=True))
    ]
    options = read_options(engine, state_dict["options"], given)
    arrays = separated([pair for entry in entries for pair in entry.arrays])
    progress = [entry.progress for entry in entries]

    def write() -> None:
        for live, values in arrays:
            buffers.copy_values(live, values)
        for group, entry in zip(engine.groups, groups, strict=True):
            group.restore(entry.values, entry.schedule, replaced="lr" in given)
        engine.options.assign(options)
        engine.plan.seed = seed
        engine.plan.completed, engine.plan.skipped = completed, skipped
        engine.plan.set_progress(progress)

    change([state for group in groups for state in group.state], write)


def change(schedules: list[tuple[Any, Any, str]], write: Callable[[], None]) -> None:
    """Gives each schedule its state, which it may refuse, then makes the rest; whatever is raised in between, all of it or nothing."""
    states: dict[int, Any] = {}
    for schedule, state, name in schedules:
        if not are_equal(states.setdefault(id(schedule), state), state):
            raise ValueError(f"{name}: got {shown(state)}, expected that of the other groups with this schedule")
    before = [(schedule, copy.deepcopy(schedule.state_dict())) for schedule, _, _ in schedules]

    def undo() -> None:
        for schedule, state in before:
            schedule.load_state_dict(copy.deepcopy(state))

    accepted = False
    try:
        for schedule, state, name in schedules:
            with naming(name):
                schedule.load_state_dict(copy.deepcopy(state))
        accepted = True
        write()
    except BaseException:
        finish(write if accepted else undo)
        raise


def are_equal(a: Any, b: Any) -> bool:
    """Whether two states of a schedule are, which may hold arrays."""
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return a.keys() == b.keys() and all(are_equal(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        return len(a) == len(b) and all(map(are_equal, a, b))
    return a is b or np.array_equal(a, b)


def separated(pairs: list[tuple[buffers.Array, buffers.Array]]) -> list[tuple[buffers.Array, buffers.Array]]:
    """The same pairs, in which no array is read that another pair writes: a snapshot may hold an optimizer's own live arrays."""
    written = Aliases(live for live, _ in pairs)
    return [(live, copied(array) if written.meet(array) else array) for live, array in pairs]


def check_head(engine: Engine, state_dict: Any) -> None:
    """TypeError or ValueError for what is no snapshot, or one of another rule or of other formats."""
    if not isinstance(state_dict, Mapping):
        raise TypeError(f"state_dict: got {describe(state_dict)}, expected a dict from state_dict()")
    for key in KEYS:
        if key not in state_dict:
            torchs = f"; fastopt.torch.{engine.rule.name} loads torch's" if "param_groups" in state_dict else ""
            raise ValueError(f"state_dict: got none of {key!r}, expected a dict from state_dict(){torchs}")
    if not isinstance(state_dict["rule"], str):
        raise TypeError(f"state_dict['rule']: got {describe(state_dict['rule'])}, expected {engine.rule.name!r}")
    if state_dict["rule"] != engine.rule.name:
        raise ValueError(f"state_dict: got the state of {state_dict['rule']}, expected {engine.rule.name}'s")
    for key, built in (("state_dtype", engine.formats.state_dtype), ("master", engine.formats.master)):
        if state_dict[key] is not None and not isinstance(state_dict[key], str):
            raise TypeError(f"state_dict[{key!r}]: got {describe(state_dict[key])}, expected {built!r}")
        if state_dict[key] != built:
            raise ValueError(
                f"state_dict[{key!r}]: got {shown(state_dict[key])}, expected {built!r} as the optimizer was built with"
            )


def check_length(value: Any, name: str, count: int) -> None:
    if not isinstance(value, (list, tuple)):
        raise TypeError(f"{name}: got {describe(value)}, expected a list")
    if len(value) != count:
        raise ValueError(f"{name}: got {len(value)} entries, expected {count}")


def by_name(tensors: tuple[Tensor, ...], entries: list[Any]) -> list[Any]:
    """The entries in the order of the tensors: by name, if the tensors have names."""
    names = [entry.get("name") if isinstance(entry, Mapping) else None for entry in entries]
    keys = [tensor.key for tensor in tensors]
    if all(name is None for name in names + keys):
        return entries
    if not all(name is None or isinstance(name, str) for name in names) or Counter(names) != Counter(keys):
        raise ValueError(f"state_dict['state']: got the names {shown(names)}, expected {shown(keys)}")
    places = dict(zip(names, entries, strict=True))
    return [entry if key is None else places[key] for key, entry in zip(keys, entries, strict=True)]


def read_entry(engine: Engine, tensor: Tensor, entry: Any, name: str) -> Entry:
    """A tensor's entry; ValueError or TypeError if it is not of such a tensor."""
    own = tensor.snapshot()
    expected = {"step", *own, *engine.rule.carried, *small_dtype(tensor)} | ({"name"} if tensor.key is not None else set())
    if not isinstance(entry, Mapping) or set(entry) != expected:
        raise ValueError(f"{name}: got {keys_of(entry)}, expected {', '.join(sorted(expected))}")
    dtype = entry.get("dtype", tensor.dtype)
    if not isinstance(dtype, str) or dtype != tensor.dtype:
        raise ValueError(f"{name}['dtype']: got {shown(dtype)}, expected {tensor.dtype!r} as {tensor.name} has")
    running = [check_number(entry[scalar.name], f"{name}[{scalar.name!r}]", scalar.range) for scalar in engine.rule.running]
    progress = (check_count(entry["step"], f"{name}['step']", COUNTS), running)
    arrays = [pair for slot, live in own.items() for pair in pairs(live, entry[slot], f"{name}[{slot!r}]", tensor)]
    return Entry(progress, arrays)


def pairs(live: Any, value: Any, label: str, tensor: Tensor) -> list[tuple[buffers.Array, buffers.Array]]:
    """Each live array with what is to be copied into it, checked."""
    if isinstance(live, Mapping):
        if not isinstance(value, Mapping) or set(value) != set(live):
            raise ValueError(f"{label}: got {describe(value)}, expected a dict of {', '.join(live)}")
        return [pair for name in live for pair in pairs(live[name], value[name], f"{label}[{name!r}]", tensor)]
    array = buffers.as_array(value, label)
    if array.dtype != live.dtype:
        raise TypeError(f"{label}: got dtype {array.dtype}, expected {live.dtype} as {tensor.name} has it")
    if array.shape != live.shape:
        raise ValueError(f"{label}: got shape {array.shape}, expected {live.shape} as {tensor.name} has it")
    if isinstance(array, buffers.DeviceArray):
        buffers.check_layout(array, label)
    if not live.flags.writeable:
        raise ValueError(f"{label}: got values for a read-only array of {tensor.name}'s state, expected a writable one")
    return [(live, array)]


def read_group(group: Group, values: Any, override: Mapping[str, Any], steps: int, name: str) -> GroupEntry:
    """A group's entry with the values that go before it; ValueError or TypeError if it is not of such a group."""
    names = list(group.hyperparameters())
    if not isinstance(values, Mapping) or set(values) - {"schedule"} != set(names):
        raise ValueError(f"{name}: got {keys_of(values)}, expected {', '.join([*names, *group.schedule_state])}")
    replaced = "lr" in override
    if "schedule" in values and not group.schedule_state and not replaced:
        raise ValueError(
            f"{name}: got the state of a schedule, expected none, since lr is not such a schedule here: build the optimizer "
            f"with the schedule, or say what lr is to be: override={{'lr': {shown(values['lr'])}}}"
        )
    kept = "schedule" in values and not replaced
    with naming(name):
        check_number(values["lr"], "lr", group.rule.argument("lr").range)  # its value: a snapshot has no callable
        own = {key: override.get(key, values[key]) for key in names}
        accepted, schedule = group.accept(own, steps)
    return GroupEntry(
        accepted,
        schedule if replaced else group.schedule,
        [(group.schedule, values["schedule"], f"{name}['schedule']")] if kept else [],
    )


def read_options(engine: Engine, values: Any, override: Mapping[str, Any]) -> dict[str, Any]:
    if not isinstance(values, Mapping) or set(values) != set(engine.options):
        raise ValueError(f"state_dict['options']: got {describe(values)}, expected a dict of {', '.join(engine.options)}")
    with naming("state_dict['options']"):
        return engine.options.accept({key: override.get(key, value) for key, value in values.items()})


def keys_of(value: Any) -> str:
    """What came instead of an entry: its keys, if it has any."""
    return ", ".join(map(str, value)) if isinstance(value, Mapping) else describe(value)
