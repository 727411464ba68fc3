"""Which rule a checkpoint is of: by its name in ours, by the names of its hyperparameters in torch's, which do not say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..rules import RULES
from ..rules.words import describe, shown
from .book import Book

__all__ = ["check_origin"]


def check_origin(book: Book, given: Mapping[str, Any]) -> None:
    """ValueError for a checkpoint of another rule.

    torch's of Adam and AdamW differ in `decoupled_weight_decay` alone, which Adam takes as it comes.  Those of RAdam and Adamax differ in
    their state, which is looked at elsewhere.
    """
    rule = book.rule.name
    own = given.get("fastopt", {}).get("rule")
    if own is not None:
        if not isinstance(own, str):
            raise TypeError(f"state_dict['fastopt']['rule']: got {describe(own)}, expected {rule!r}")
        if own != rule:
            raise ValueError(f"state_dict: got the checkpoint of {shown(own)}, expected {rule}'s")
        return
    for group, present in zip(given["param_groups"], book.groups, strict=False):  # numbers that differ are refused elsewhere
        others = [name for name in likely(group) if name != rule]
        strange = sorted(HYPERPARAMETERS & group.keys() - names_of(rule) - present.keys())
        if strange or (others and rule not in likely(group)):
            reason = f"with {', '.join(strange)}" if strange else "without " + ", ".join(sorted(needed_by(rule) - group.keys()))
            came = f"the checkpoint of {' or '.join(others)}, " if others else "a checkpoint "
            raise ValueError(f"state_dict: got {came}{reason}, expected {rule}'s")
        if rule == "AdamW" and group.get("decoupled_weight_decay") is False and present.get("decoupled_weight_decay") is True:
            raise ValueError(
                "state_dict: got the checkpoint of Adam, with decoupled_weight_decay=False, expected AdamW's, or an optimizer that was "
                "built with decoupled_weight_decay=False"
            )


def names_of(rule: str) -> set[str]:
    return {h.name for h in RULES[rule].arguments}


def needed_by(rule: str) -> set[str]:
    """What torch's checkpoints of a rule have always had."""
    return {h.name for h in RULES[rule].hyperparameters} - {"decoupled_weight_decay"}


def likely(group: Mapping[str, Any]) -> list[str]:
    """The rules that a group has all hyperparameters of, and none beyond."""
    known = HYPERPARAMETERS & group.keys()
    return [name for name in RULES if needed_by(name) <= known <= names_of(name)]


HYPERPARAMETERS = {name for rule in RULES for name in names_of(rule)}
