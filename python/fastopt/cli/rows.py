"""The rows that the commands' tables have: every rule of the table of rules, some with several choices of arguments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import fastopt

from ..rules import RULES, Rule
from .arrays import Array, copy
from .formats import Formats

__all__ = ["ADAMW", "ROWS", "Row", "choose"]

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
"""Rule -> label -> arguments; a rule that is not here has one row with its defaults."""


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
        """What `--rules` may call it, in lower case."""
        return self.label.lower(), self.rule.name.lower()

    @property
    def slots(self) -> tuple[str, ...]:
        """The state arrays that a step reads and writes."""
        return self.rule.variant(self.rule.check({**self.rule.defaults, **self.arguments})).slots

    def optimizer(self, params: Any, **arguments: Any) -> fastopt.Optimizer:
        """The row's optimizer over `params`; `arguments` are added to the row's."""
        kept = self.formats.arguments if self.formats else {}
        made: fastopt.Optimizer = getattr(fastopt, self.rule.name)(params, **{**self.arguments, **kept, **arguments})
        return made

    def arrays(self, values: Array) -> tuple[Array, Array]:
        """A new parameter with these values, and a gradient: `values` itself where the row leaves the dtypes as they are."""
        return self.formats.arrays(values) if self.formats else (copy(values), values)


ROWS = tuple(
    Row(label, rule, arguments) for rule in RULES.values() for label, arguments in CHOICES.get(rule.name, {rule.name: {}}).items()
)

ADAMW = next(row for row in ROWS if row.rule.name == "AdamW")


def choose(wanted: Sequence[Row] | None) -> list[Row]:
    """The wanted rows, or one row for each rule and set of state arrays: others move the same bytes."""
    if wanted is not None:
        return list(wanted)
    first: dict[tuple[str, tuple[str, ...]], Row] = {}
    for row in ROWS:
        first.setdefault((row.rule.name, row.slots), row)
    return list(first.values())
