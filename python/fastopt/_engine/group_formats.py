"""Formats of groups: what a group names for itself holds in place of the optimizer's."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .._storage.formats import Formats
from ..rules.words import naming
from .groups import Group
from .tensors import Tensor, check_formats

__all__ = ["FORMAT_KEYS", "check_groups", "take_formats"]

FORMAT_KEYS = ("state_dtype", "master")
"""What a group may say of formats, beside its hyperparameters."""


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
