"""Formats of groups: what a group names for itself holds in place of the optimizer's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from .._storage.formats import Formats
from ..rules.words import naming, shown
from .tensors import Tensor, check_formats

if TYPE_CHECKING:
    from .engine import Engine
    from .groups import Group

__all__ = ["FORMAT_KEYS", "check_groups", "check_snapshot", "snapshot_of_formats", "take_formats"]

FORMAT_KEYS = ("state_dtype", "master")
"""What a group may say of formats, beside its hyperparameters."""
KEY = "group_formats"
"""Of a snapshot, if groups have formats of their own."""


def take_formats(given: dict[str, Any], formats: Formats, name: str) -> Formats:
    """The formats of a group, whose keys for them leave `given`; TypeError or ValueError, beginning with `name`."""
    own = {**vars(formats), **{key: given.pop(key) for key in FORMAT_KEYS if key in given}}
    with naming(name):
        return Formats.check(*(own[key] for key in FORMAT_KEYS))


def check_groups(tensors: Iterable[Tensor], groups: list[Group], rule: str) -> None:
    """ValueError if tensors cannot have the formats of their groups.  Among those with the same formats, masters are for 16 bits."""
    tensors = list(tensors)
    for formats in dict.fromkeys(group.formats for group in groups):
        own = {i for i, group in enumerate(groups) if group.formats == formats}
        slots = [groups[i].rule.slot(name) for i in sorted(own) for name in groups[i].slots]
        check_formats([(each.name, each.dtype) for each in tensors if each.group in own], rule, slots, formats)


def own_formats(engine: Engine) -> list[dict[str, str | None]]:
    """For each group those of its formats that are not the optimizer's."""
    usual = vars(engine.formats)
    return [{key: value for key, value in vars(group.formats).items() if value != usual[key]} for group in engine.groups]


def snapshot_of_formats(engine: Engine) -> dict[str, Any]:
    """What a snapshot says of them: nothing if no group has its own."""
    own = own_formats(engine)
    return {KEY: own} if any(own) else {}


def check_snapshot(engine: Engine, state_dict: Mapping[str, Any]) -> None:
    """ValueError for a snapshot of groups with other formats."""
    came, built = state_dict.get(KEY), snapshot_of_formats(engine).get(KEY)
    if came != built:
        raise ValueError(f"state_dict[{KEY!r}]: got {shown(came)}, expected {shown(built)} as the optimizer was built with")
