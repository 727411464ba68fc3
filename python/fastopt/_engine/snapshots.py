"""Snapshots of an engine: what `Optimizer.state_dict` gives and `load_state_dict` takes."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._arrays import buffers
from .._storage.formats import check_seed
from ..rules.checks import check_count, check_number
from ..rules.words import describe, naming, shown
from .engine import Engine
from .groups import Group
from .snapshot_formats import check_snapshot, snapshot_of_formats
from .tensors import Tensor

__all__ = ["load", "snapshot"]

KEYS = ("rule", "steps", "skipped_steps", "seed", "state_dtype", "master", "state", "groups", "options")


def snapshot(engine: Engine) -> dict[str, Any]:
    """`Optimizer.state_dict`."""
    return {
        "rule": engine.rule.name,
        "steps": engine.plan.completed,
        "skipped_steps": engine.plan.skipped,
        "seed": engine.plan.seed,
        "state_dtype": engine.formats.state_dtype,
        "master": engine.formats.master,
        "state": [snapshot_of(engine, i) for i in range(len(engine.tensors))],
        "groups": [{**group.hyperparameters(), **group.schedule_state} for group in engine.groups],
        "options": dict(engine.options),
        **snapshot_of_formats(engine),
    }


def snapshot_of(engine: Engine, index: int) -> dict[str, Any]:
    """One tensor's entry."""
    tensor = engine.tensors[index]
    steps, running = engine.plan.progress_of(index)
    return {
        **({"name": tensor.key} if tensor.key is not None else {}),
        "step": steps,
        **small_dtype(tensor),
        **dict(zip(engine.rule.carried, map(np.float64, running), strict=True)),
        **{key: copied(value) for key, value in tensor.snapshot().items()},
    }


def small_dtype(tensor: Tensor) -> dict[str, str]:
    """The dtype of a 16-bit parameter, which its state and its master do not tell."""
    return {"dtype": tensor.dtype} if tensor.format is not None else {}


def copied(value: Any) -> Any:
    """A copy on the host."""
    if isinstance(value, Mapping):
        return {name: copied(array) for name, array in value.items()}
    host = buffers.to_host(value)
    return host if host is not value else value.copy()


@dataclass(frozen=True)
class Entry:
    """A tensor's entry, checked: its progress, and each live array with what is to be copied into it."""

    progress: tuple[int, list[float]]
    arrays: list[tuple[buffers.Array, buffers.Array]]


@dataclass(frozen=True)
class GroupEntry:
    """A group's entry, checked."""

    values: dict[str, Any]
    schedules: list[tuple[Any, Any, str]]
    """The group's schedule if it has state, with the state that it is to take and its name in messages."""


def load(engine: Engine, state_dict: Any) -> None:
    """`Optimizer.load_state_dict`: first every check, then every change."""
    check_head(engine, state_dict)
    check_snapshot(engine, state_dict)
    with naming("state_dict"):
        seed = check_seed(state_dict["seed"])
    for name, count in (("state", len(engine.tensors)), ("groups", len(engine.groups))):
        check_length(state_dict[name], f"state_dict[{name!r}]", count)
    completed, skipped = (check_count(state_dict[key], f"state_dict[{key!r}]") for key in ("steps", "skipped_steps"))
    entries = [
        read_entry(engine, tensor, entry, f"state_dict['state'][{i}]")
        for i, (tensor, entry) in enumerate(zip(engine.tensors, by_name(engine.tensors, state_dict["state"]), strict=True))
    ]
    groups = [
        read_group(group, values, f"state_dict['groups'][{i}]")
        for i, (group, values) in enumerate(zip(engine.groups, state_dict["groups"], strict=True))
    ]
    options = read_options(engine, state_dict["options"])
    restore_schedules([schedule for group in groups for schedule in group.schedules])  # the last that may refuse
    for entry in entries:
        for live, array in entry.arrays:
            buffers.copy_values(live, array)
    for group, accepted in zip(engine.groups, groups, strict=True):
        group.restore(accepted.values)
    engine.options.assign(options)
    engine.plan.seed = seed
    engine.plan.completed, engine.plan.skipped = completed, skipped
    engine.plan.set_progress([entry.progress for entry in entries])


def check_head(engine: Engine, state_dict: Any) -> None:
    """TypeError or ValueError for what is no snapshot, or one of another rule or of other formats."""
    if not isinstance(state_dict, Mapping):
        raise TypeError(f"state_dict: got {describe(state_dict)}, expected a dict from state_dict()")
    for key in KEYS:
        if key not in state_dict:
            raise ValueError(f"state_dict: got none of {key!r}, expected a dict from state_dict()")
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
    for key in keys:
        if names.count(key) != keys.count(key):
            raise ValueError(f"state_dict['state']: got the names {shown(names)}, expected {shown(keys)}")
    return [entry if key is None else entries[names.index(key)] for key, entry in zip(keys, entries, strict=True)]


def read_entry(engine: Engine, tensor: Tensor, entry: Any, name: str) -> Entry:
    """A tensor's entry; ValueError or TypeError if it is not of such a tensor."""
    own = tensor.snapshot()
    expected = {"step", *own, *engine.rule.carried, *small_dtype(tensor)} | ({"name"} if tensor.key is not None else set())
    if not isinstance(entry, Mapping) or set(entry) != expected:
        raise ValueError(f"{name}: got {keys_of(entry)}, expected {', '.join(sorted(expected))}")
    if entry.get("dtype", tensor.dtype) != tensor.dtype:
        raise ValueError(f"{name}['dtype']: got {shown(entry['dtype'])}, expected {tensor.dtype!r} as {tensor.name} has")
    running = [check_number(entry[scalar.name], f"{name}[{scalar.name!r}]", scalar.range) for scalar in engine.rule.running]
    progress = (check_count(entry["step"], f"{name}['step']"), running)
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
    return [(live, array)]


def read_group(group: Group, values: Any, name: str) -> GroupEntry:
    """A group's entry; ValueError or TypeError if it is not of such a group."""
    kept = [*group.hyperparameters(), *group.schedule_state]
    if not isinstance(values, Mapping) or set(values) != set(kept):
        raise ValueError(f"{name}: got {keys_of(values)}, expected {', '.join(kept)}")
    schedules = [(group.schedule, values["schedule"], f"{name}['schedule']")] if group.schedule_state else []
    with naming(name):
        check_number(values["lr"], "lr", group.rule.argument("lr").range)  # its value: a snapshot has no callable
        return GroupEntry(group.accept({key: values[key] for key in group.hyperparameters()})[0], schedules)


def read_options(engine: Engine, values: Any) -> dict[str, Any]:
    if not isinstance(values, Mapping) or set(values) != set(engine.options):
        raise ValueError(f"state_dict['options']: got {describe(values)}, expected a dict of {', '.join(engine.options)}")
    with naming("state_dict['options']"):
        return engine.options.accept(values)


def keys_of(value: Any) -> str:
    """What came instead of an entry: its keys, if it has any."""
    return ", ".join(map(str, value)) if isinstance(value, Mapping) else describe(value)


def restore_schedules(schedules: list[tuple[Any, Any, str]]) -> None:
    """Gives each schedule its state, or all of them what they had if one refuses its own."""
    states: dict[int, Any] = {}
    for schedule, state, name in schedules:
        if states.setdefault(id(schedule), state) != state:
            raise ValueError(f"{name}: got {shown(state)}, expected that of the other groups with this schedule")
    before = [(schedule, copy.deepcopy(schedule.state_dict())) for schedule, _, _ in schedules]
    try:
        for schedule, state, name in schedules:
            with naming(name):
                schedule.load_state_dict(copy.deepcopy(state))
    except BaseException:
        for schedule, state in before:
            schedule.load_state_dict(state)
        raise
