"""Checkpoints: what an optimizer's `state_dict` gives and `load_state_dict` takes, in torch's shape."""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from .._engine.group_formats import FORMAT_KEYS
from .._storage.formats import check_seed
from ..rules.checks import check_count
from ..rules.words import describe, naming
from .book import Book
from .origins import check_origin
from .state import STEP

__all__ = ["Loaded", "as_dict", "own", "read", "state_dict"]


def state_dict(book: Book, skipped: int) -> dict[str, Any]:
    """`Optimizer.state_dict` without its hooks."""
    groups: list[dict[str, Any]] = []
    keys: dict[torch.Tensor, int] = {}
    group_of: dict[int, dict[str, Any]] = {}
    first = 0
    for group in book.groups:
        # torch's numbers: a parameter that stands in a group twice has its last place's, one of an earlier group its place's there.
        keys.update({param: i for i, param in enumerate(group["params"], first) if param not in keys})
        first += len(group["params"])
        groups.append({**{k: v for k, v in group.items() if k != "params"}, "params": [keys[p] for p in group["params"]]})
        group_of.update(dict.fromkeys(groups[-1]["params"], group))
    state = {}
    for key, entry in book.state.items():
        i = keys[key] if isinstance(key, torch.Tensor) else key
        counted = isinstance(entry, dict) and STEP in entry
        state[i] = {**entry, STEP: exported(entry[STEP], group_of.get(i, {}))} if counted else entry
    return {"state": state, "param_groups": groups, "fastopt": own(book, skipped)}


def own(book: Book, skipped: int) -> dict[str, Any]:
    """What torch's checkpoints have no place for."""
    return {
        "rule": book.rule.name,
        **vars(book.formats),
        "options": dict(book.options),
        "seed": book.seed,
        "skipped_steps": skipped,
    }


def exported(step: Any, group: Mapping[str, Any]) -> Any:
    """A count as torch's optimizers keep it: in floating point, on the GPU only where they are to run there without the host."""
    if not isinstance(step, torch.Tensor) or step.is_floating_point():
        return step
    step = step.to(torch.float64 if torch.get_default_dtype() == torch.float64 else torch.float32)
    return step if group.get("capturable") or group.get("fused") else step.cpu()


@dataclass(frozen=True)
class Loaded:
    """A checkpoint as an optimizer takes it on, checked and copied."""

    state: defaultdict[Any, Any]
    groups: list[dict[str, Any]]
    options: dict[str, Any]
    seed: int
    skipped: int


def as_dict(given: Any) -> dict[str, Any]:
    """A copy of the outermost dict; TypeError for anything else."""
    if not isinstance(given, Mapping):
        raise TypeError(f"state_dict: got {describe(given)}, expected a dict from state_dict()")
    return dict(given)


def read(book: Book, defaults: Mapping[str, Any], given: Mapping[str, Any]) -> Loaded:
    """Every check of `Optimizer.load_state_dict`; nothing is changed."""
    check_parts(given)
    check_origin(book, given)
    saved = copy.deepcopy(given["param_groups"])
    groups, values = groups_of(book, defaults, saved)
    more = given.get("fastopt", {})
    with naming("state_dict['fastopt']"):
        options = book.options.accept(without_averages(more.get("options", {}), average=book.average))
        seed = check_seed(more.get("seed", book.seed))
        skipped = check_count(more.get("skipped_steps", 0), "skipped_steps")
    params = {
        key: (param, row, book.layout_of(new))
        for old, new, row in zip(saved, groups, values, strict=True)
        for key, param in zip(old["params"], new["params"], strict=True)
    }
    state: defaultdict[Any, Any] = defaultdict(dict)
    with torch.no_grad():
        for key, entry in given["state"].items():
            if key in params:
                param, row, layout = params[key]
                state[param] = layout.loaded(entry, param, row, f"state_dict['state'][{key!r}]")
            else:
                state[key] = entry
    return Loaded(state, groups, options, seed, skipped)


def check_parts(given: Mapping[str, Any]) -> None:
    """KeyError, as torch's, for what has no state or groups; TypeError if they are none."""
    for name, value in (("state", given["state"]), ("fastopt", given.get("fastopt", {}))):
        if not isinstance(value, Mapping):
            raise TypeError(f"state_dict[{name!r}]: got {describe(value)}, expected a dict")
    groups = given["param_groups"]
    if not isinstance(groups, list) or not all(isinstance(g, Mapping) and isinstance(g.get("params"), list) for g in groups):
        raise TypeError(
            f"state_dict['param_groups']: got {describe(groups)}, expected a list of dicts, each with a list of params"
        )


def groups_of(
    book: Book, defaults: Mapping[str, Any], saved: list[dict[str, Any]]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The saved groups with the optimizer's parameters, and their hyperparameters, checked; ValueError, as torch's, if they do not fit."""
    present = book.groups
    if len(saved) != len(present):
        raise ValueError("loaded state dict has a different number of parameter groups")
    if any(len(new["params"]) != len(old["params"]) for new, old in zip(saved, present, strict=True)):
        raise ValueError("loaded state dict contains a parameter group that doesn't match the size of optimizer's group")
    groups, values = [], []
    for i, (new, old) in enumerate(zip(saved, present, strict=True)):
        kept = {name: old[name] for name in (*defaults, "param_names") if name in old}
        formats = {key: old.get(key, defaults[key]) for key in FORMAT_KEYS}
        groups.append({**kept, **new, **formats, "params": old["params"]})
        with naming(f"state_dict['param_groups'][{i}]"):
            values.append(book.check_group(groups[-1], i))
    return groups, values


def without_averages(options: Any, *, average: bool) -> Mapping[str, Any]:
    """Options of a checkpoint; without `ema_decay` if only one of it and the optimizer has averages, which are a format."""
    if not isinstance(options, Mapping):
        raise TypeError(f"options: got {describe(options)}, expected a dict")
    if (options.get("ema_decay") is not None) != average:
        return {name: value for name, value in options.items() if name != "ema_decay"}
    return options
