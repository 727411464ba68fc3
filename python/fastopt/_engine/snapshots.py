"""Snapshots of an optimizer: what `state_dict` gives and `load_state_dict` takes."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from .._arrays import buffers
from .._storage.formats import check_seed
from ..rules.checks import check_count, check_number
from ..rules.words import describe, naming, shown
from .tensors import Tensor

if TYPE_CHECKING:
    from ..optimizer import Optimizer

__all__ = ["load", "snapshot"]


def snapshot(optimizer: Optimizer) -> dict[str, Any]:
    """`Optimizer.state_dict`."""
    state = []
    for i, tensor in enumerate(optimizer._tensors):
        steps, running = optimizer._plan.progress_of(i)
        state.append(
            {
                **({"name": tensor.key} if tensor.key is not None else {}),
                "step": steps,
                **small_dtype(tensor),
                **dict(zip(optimizer.rule.carried, map(np.float64, running), strict=True)),
                **{key: copied(value) for key, value in tensor.snapshot().items()},
            }
        )
    return {
        "rule": optimizer.rule.name,
        "steps": optimizer.steps,
        "skipped_steps": optimizer.skipped_steps,
        "seed": optimizer._plan.seed,
        **optimizer._formats(),
        "state": state,
        "groups": [{**group.hyperparameters(), **group.schedule_state} for group in optimizer.groups],
        "options": dict(optimizer.options),
    }


def small_dtype(tensor: Tensor) -> dict[str, str]:
    """The dtype of a 16-bit parameter, which its state and its master do not tell."""
    return {"dtype": tensor.dtype} if tensor.format is not None else {}


def copied(value: Any) -> Any:
    """On the host."""
    if isinstance(value, Mapping):
        return {name: copied(array) for name, array in value.items()}
    host = buffers.to_host(value)
    return host if host is not value else value.copy()


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


def load(optimizer: Optimizer, state_dict: Any) -> None:
    """`Optimizer.load_state_dict`: first every check, then every change."""
    rule, tensors, groups = optimizer.rule, optimizer._tensors, optimizer._groups
    if not isinstance(state_dict, Mapping):
        raise TypeError(f"state_dict: got {describe(state_dict)}, expected a dict from state_dict()")
    for key in ("rule", "steps", "skipped_steps", "seed", "state_dtype", "master", "state", "groups", "options"):
        if key not in state_dict:
            raise ValueError(f"state_dict: got none of {key!r}, expected a dict from state_dict()")
    if not isinstance(state_dict["rule"], str):
        raise TypeError(f"state_dict['rule']: got {describe(state_dict['rule'])}, expected {rule.name!r}")
    if state_dict["rule"] != rule.name:
        raise ValueError(f"state_dict: got the state of {state_dict['rule']}, expected {rule.name}'s")
    for key, built in optimizer._formats().items():
        if state_dict[key] is not None and not isinstance(state_dict[key], str):
            raise TypeError(f"state_dict[{key!r}]: got {describe(state_dict[key])}, expected {built!r}")
        if state_dict[key] != built:
            raise ValueError(
                f"state_dict[{key!r}]: got {shown(state_dict[key])}, expected {built!r} as the optimizer was built with"
            )
    with naming("state_dict"):
        seed = check_seed(state_dict["seed"])
    for name, count in (("state", len(tensors)), ("groups", len(groups))):
        if not isinstance(state_dict[name], (list, tuple)):
            raise TypeError(f"state_dict[{name!r}]: got {describe(state_dict[name])}, expected a list")
        if len(state_dict[name]) != count:
            raise ValueError(f"state_dict[{name!r}]: got {len(state_dict[name])} entries, expected {count}")
    completed, skipped = (check_count(state_dict[key], f"state_dict[{key!r}]") for key in ("steps", "skipped_steps"))
    progress: list[tuple[int, list[float]]] = []
    arrays: list[tuple[buffers.Array, buffers.Array]] = []
    entries = by_name(tensors, state_dict["state"])
    for i, (tensor, entry) in enumerate(zip(tensors, entries, strict=True)):
        name = f"state_dict['state'][{i}]"
        own = tensor.snapshot()
        expected = {"step", *own, *rule.carried, *small_dtype(tensor)} | ({"name"} if tensor.key is not None else set())
        if not isinstance(entry, Mapping) or set(entry) != expected:
            found = ", ".join(map(str, entry)) if isinstance(entry, Mapping) else describe(entry)
            raise ValueError(f"{name}: got {found}, expected {', '.join(sorted(expected))}")
        if entry.get("dtype", tensor.dtype) != tensor.dtype:
            raise ValueError(f"{name}['dtype']: got {shown(entry['dtype'])}, expected {tensor.dtype!r} as {tensor.name} has")
        running = [check_number(entry[scalar.name], f"{name}[{scalar.name!r}]", scalar.range) for scalar in rule.running]
        progress.append((check_count(entry["step"], f"{name}['step']"), running))
        for slot, live in own.items():
            arrays += pairs(live, entry[slot], f"{name}[{slot!r}]", tensor)
    accepted = []
    schedules: list[tuple[Any, Any, str]] = []
    for i, (group, values) in enumerate(zip(groups, state_dict["groups"], strict=True)):
        name = f"state_dict['groups'][{i}]"
        kept = [*group.hyperparameters(), *group.schedule_state]
        if not isinstance(values, Mapping) or set(values) != set(kept):
            found = ", ".join(map(str, values)) if isinstance(values, Mapping) else describe(values)
            raise ValueError(f"{name}: got {found}, expected {', '.join(kept)}")
        if group.schedule_state:
            schedules.append((group.schedule, values["schedule"], f"{name}['schedule']"))
        with naming(name):
            check_number(values["lr"], "lr", group.rule.argument("lr").range)  # its value: a snapshot has no callable
            accepted.append(group.accept({key: values[key] for key in group.hyperparameters()})[0])
    if not isinstance(state_dict["options"], Mapping) or set(state_dict["options"]) != set(optimizer.options):
        found = describe(state_dict["options"])
        raise ValueError(f"state_dict['options']: got {found}, expected a dict of {', '.join(optimizer.options)}")
    with naming("state_dict['options']"):
        options = optimizer.options.accept(state_dict["options"])
    restore_schedules(schedules)  # the last that may refuse
    for live, array in arrays:
        buffers.copy_values(live, array)
    for group, values in zip(groups, accepted, strict=True):
        group.restore(values)
    optimizer.options.assign(options)
    optimizer._plan.seed = seed
    optimizer._plan.completed, optimizer._plan.skipped = completed, skipped
    optimizer._plan.set_progress(progress)


def restore_schedules(schedules: list[tuple[Any, Any, str]]) -> None:
    """Gives each schedule its state, or all of them what they had where one refuses its own."""
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


def by_name(tensors: list[Tensor], entries: list[Any]) -> list[Any]:
    """The entries in the order of the tensors: of the tensors' names, where they have names."""
    names = [entry.get("name") if isinstance(entry, Mapping) else None for entry in entries]
    keys = [tensor.key for tensor in tensors]
    if all(name is None for name in names + keys):
        return entries
    for key in keys:
        if names.count(key) != keys.count(key):
            raise ValueError(f"state_dict['state']: got the names {shown(names)}, expected {shown(keys)}")
    return [entry if key is None else entries[names.index(key)] for key, entry in zip(keys, entries, strict=True)]
