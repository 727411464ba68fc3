"""Snapshots of an optimizer: what `state_dict` gives and `load_state_dict` takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from . import buffers
from .arguments import check_count

if TYPE_CHECKING:
    from .base import Optimizer

__all__ = ["load"]


def load(optimizer: Optimizer, state_dict: Any) -> None:
    """`Optimizer.load_state_dict`: first every check, then every change."""
    rule, tensors, groups = optimizer.rule, optimizer._tensors, optimizer._groups
    if not isinstance(state_dict, Mapping):
        raise TypeError(f"state_dict: got {buffers.describe(state_dict)}, expected a dict from state_dict()")
    for key in ("rule", "steps", "state", "groups"):
        if key not in state_dict:
            raise ValueError(f"state_dict: got none of {key!r}, expected a dict from state_dict()")
    if state_dict["rule"] != rule.name:
        raise ValueError(f"state_dict: got the state of {state_dict['rule']}, expected {rule.name}'s")
    for name, count in (("state", len(tensors)), ("groups", len(groups))):
        if not isinstance(state_dict[name], (list, tuple)):
            raise TypeError(f"state_dict[{name!r}]: got {buffers.describe(state_dict[name])}, expected a list")
        if len(state_dict[name]) != count:
            raise ValueError(f"state_dict[{name!r}]: got {len(state_dict[name])} entries, expected {count}")
    steps = [check_count(state_dict["steps"], "state_dict['steps']")]
    arrays: list[tuple[buffers.Array, buffers.Array]] = []
    for i, (tensor, entry) in enumerate(zip(tensors, state_dict["state"], strict=True)):
        name = f"state_dict['state'][{i}]"
        if not isinstance(entry, Mapping) or set(entry) != {"step", *tensor.state}:
            found = ", ".join(map(str, entry)) if isinstance(entry, Mapping) else buffers.describe(entry)
            raise ValueError(f"{name}: got {found}, expected {', '.join(['step', *tensor.state])}")
        steps.append(check_count(entry["step"], f"{name}['step']"))
        for slot, own in tensor.state.items():
            label = f"{name}[{slot!r}]"
            array = buffers.as_array(entry[slot], label)
            buffers.check_like(array, label, tensor.param, tensor.name)
            arrays.append((own, array))
    accepted = []
    for i, (group, values) in enumerate(zip(groups, state_dict["groups"], strict=True)):
        if not isinstance(values, Mapping) or set(values) != set(group.hyperparameters()):
            raise ValueError(f"state_dict['groups'][{i}]: expected the hyperparameters {', '.join(group.hyperparameters())}")
        accepted.append(group.accept(values)[0])
    for own, array in arrays:
        np.copyto(own, array)
    for group, values in zip(groups, accepted, strict=True):
        group.assign(values)
    optimizer._plan.completed, optimizer._plan.steps = steps[0], steps[1:]
