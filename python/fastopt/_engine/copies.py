"""What copies and pickles of an optimizer are made of: the call that built it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .groups import Group

__all__ = ["call_now", "call_of", "is_grouped"]


def is_grouped(params: Any) -> bool:
    """Whether parameters come in groups."""
    return isinstance(params, (list, tuple)) and bool(params) and all(isinstance(entry, Mapping) for entry in params)


def call_of(given: Mapping[str, Any]) -> dict[str, Any]:
    """A call's arguments as they are now: the caller may change its lists and dicts later, the arrays in them stay the caller's."""
    return {name: held(value) for name, value in given.items()}


def held(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: held(each) for key, each in value.items()}
    return type(value)(map(held, value)) if type(value) in (list, tuple) else value


def call_now(call: Mapping[str, Any], groups: Sequence[Group]) -> dict[str, Any]:
    """The call that makes such an optimizer with the learning rates and schedules of now.  All else that a snapshot brings back is as it
    was, since it decided on the state that there is."""
    rates = [group["lr"] if group.schedule is None else group.schedule for group in groups]
    params = call["params"]
    if is_grouped(params):
        params = [{**entry, "lr": rate} for entry, rate in zip(params, rates, strict=True)]
    return {**call, "params": params, "lr": rates[0]}
