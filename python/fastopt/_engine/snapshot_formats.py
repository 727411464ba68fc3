"""What a snapshot says of groups with formats of their own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..rules.words import shown
from .engine import Engine

__all__ = ["check_snapshot", "snapshot_of_formats"]

KEY = "group_formats"
"""The key of a snapshot that has such groups."""


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
