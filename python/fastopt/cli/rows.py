"""The rows of the commands' tables: every rule of the table of rules, some with several choices of arguments."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import fastopt

from ..rules import RULES, Rule
from .formats import Formats

__all__ = ["ROWS", "Row"]

CHOICES: dict[str, dict[str, dict[str, Any]]] = {
    "SGD": {
        "SGD": {},
        "SGD momentum": {"momentum": 0.9},
        "SGD Nesterov": {"momentum": 0.9, "nesterov": True},
    },
    "RMSprop": {
        "RMSprop": {},
        "RMSprop centered": {"centered": True},
    },
}
"""Rule -> label -> arguments.  A rule that is not here has one row with its defaults."""


@dataclass(frozen=True)
class Row:
    """One rule with some of its arguments, and with its arrays in some formats."""

    label: str
    rule: Rule
    arguments: Mapping[str, Any]
    formats: Formats | None = None
    """None: all arrays of one dtype."""

    @property
    def names(self) -> tuple[str, str]:
        """What `--rules` may call the row, in lower case."""
        return self.label.lower(), self.rule.name.lower()

    @property
    def values(self) -> dict[str, Any]:
        """The rule's hyperparameters: its defaults and the row's arguments."""
        return {**self.rule.defaults, **self.arguments}

    @property
    def slots(self) -> tuple[str, ...]:
        """The state arrays that a step reads and writes."""
        return self.rule.variant(self.rule.check(self.values)).slots

    def optimizer(self, params: Any, **arguments: Any) -> fastopt.Optimizer:
        """The row's optimizer over `params`; `arguments` are added to the row's."""
        kept = self.formats.arguments if self.formats else {}
        made: fastopt.Optimizer = getattr(fastopt, self.rule.name)(params, **{**self.arguments, **kept, **arguments})
        return made


ROWS = tuple(
    Row(label, rule, arguments) for rule in RULES.values() for label, arguments in CHOICES.get(rule.name, {rule.name: {}}).items()
)
