"""A row of the table: every fact about a rule but its arithmetic."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from .checks import closed_ends
from .expressions import evaluate, names_in
from .hyperparameters import STAGES, Hyperparameter

__all__ = ["Form", "Rule", "Running", "Slot", "Variant"]


@dataclass(frozen=True)
class Slot:
    """One state array of a rule, of the shape of its parameter."""

    name: str
    kind: Literal["signed", "non-negative", "parameter", "full"]
    """What a storage format may assume; "parameter" and "full" are never compressed."""
    doc: str
    initial: str = "0"
    """An expression in the hyperparameters."""


@dataclass(frozen=True)
class Running:
    """A scalar that each tensor carries from step to step, in float64; its expression may use the last value."""

    name: str
    doc: str
    range: str
    initial: float
    """The value before the first step.  At t == 1 the expression must not depend on it."""


@dataclass(frozen=True)
class Variant:
    """One function of the rule's header.  The first variant whose `when` holds for the arguments is taken."""

    name: str
    slots: tuple[str, ...]
    when: str = "1"


@dataclass(frozen=True)
class Form:
    """How a framework or a textbook computes the rule, and the arguments that compute the same."""

    name: str
    formula: str
    arguments: Mapping[str, Any]

    def call(self, rule: Rule) -> str:
        """The call in Python."""
        return f"{rule.name}(p, {', '.join(f'{name}={value!r}' for name, value in self.arguments.items())})"


@dataclass(frozen=True)
class Rule:
    """One row of the table."""

    name: str
    arithmetic: str
    """The header in `csrc/rules` and the name of its structure; rows may share one."""
    summary: str
    paper: str
    formula: str
    hyperparameters: tuple[Hyperparameter, ...]
    """In torch's order, which is the order of the positional arguments."""
    slots: tuple[Slot, ...]
    variants: tuple[Variant, ...]
    scalars: Mapping[str, str]
    """Name to expression, in order.  `t` is the number of the step, from 1.  An expression may use the hyperparameters and the
    scalars above it.
    """
    forms: tuple[Form, ...]
    keyword_only: tuple[Hyperparameter, ...] = ()
    """Hyperparameters beyond torch's, which are keyword-only."""
    requires: tuple[tuple[str, str], ...] = ()
    """Pairs (expression, words): what must hold between arguments."""
    running: tuple[Running, ...] = ()
    """The scalars that continue from their own last value."""
    factor: str = ""
    """An expression for what multiplies a tensor's step, by `param_norm` and `direction_norm`, the norms of the whole tensor's parameter
    and direction; it may use the hyperparameters and the scalars.  "" for none."""
    example: str = "lr=0.1"
    """The arguments with which the example in the classes' documentation comes to its minimum in 200 steps."""

    @functools.cached_property
    def arguments(self) -> tuple[Hyperparameter, ...]:
        """Every hyperparameter of the class, the stages' last."""
        return self.hyperparameters + self.keyword_only + self.stages

    @property
    def stages(self) -> tuple[Hyperparameter, ...]:
        """The stages' hyperparameters that the row does not list with a default of its own."""
        own = {h.name for h in self.hyperparameters + self.keyword_only}
        return tuple(s for s in STAGES if s.name not in own)

    @functools.cached_property
    def own(self) -> tuple[Hyperparameter, ...]:
        """The hyperparameters that only the rule reads, in the order of the C++ row."""
        shared = {"lr", *(s.name for s in STAGES)}
        return tuple(h for h in self.hyperparameters + self.keyword_only if h.name not in shared)

    @functools.cached_property
    def frozen(self) -> tuple[str, ...]:
        """The hyperparameters that only first values use: they act when state is made and never again."""
        begun = {name for slot in self.slots for name in names_in(slot.initial)}
        stepping = [*self.scalars.values(), *(variant.when for variant in self.variants)]
        used = {name for expression in stepping for name in names_in(expression)}
        used |= {"lr", *(stage.name for stage in STAGES)}
        return tuple(h.name for h in self.arguments if begun & set(h.scalars) and not used & set(h.scalars))

    @functools.cached_property
    def numbers(self) -> tuple[tuple[str, int, int, float, float, bool], ...]:
        """The hyperparameters of plain numbers that may change at any step: name, place of the first among a C++ row's numbers from `lr`
        on, how many they are, the least and the largest value, and whether other values or the state depend on which of them are 0.
        """
        conditions = " ".join([condition for condition, _ in self.requires] + [variant.when for variant in self.variants])
        places = {"lr": 0, "weight_decay": 1, "l1": 2}
        end = 3
        for h in self.own:
            places[h.name] = end
            end += len(h.scalars)
        rows = []
        for h in self.arguments:
            uses = sum(len(re.findall(rf"\b{name}\b", conditions)) for name in h.scalars)
            of_zero = sum(len(re.findall(rf"\b{name} (?:==|>) 0\b", conditions)) for name in h.scalars)
            if h.choices or h.constant or h.optional or h.name in self.frozen or uses != of_zero:
                continue
            rows.append((h.name, places[h.name], len(h.scalars), *closed_ends(h.range), uses > 0))
        return tuple(rows)

    @property
    def carried(self) -> tuple[str, ...]:
        """The names of the running scalars."""
        return tuple(scalar.name for scalar in self.running)

    @property
    def defaults(self) -> dict[str, Any]:
        return {h.name: h.default for h in self.arguments}

    def check(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """A full set of arguments, checked one by one and against each other."""
        checked = {h.name: h.check(values[h.name]) for h in self.arguments}
        for condition, words in self.requires:
            if not self.evaluate(condition, checked):
                raise ValueError(f"{self.name}: {words}")
        return checked

    def variant(self, values: Mapping[str, Any]) -> Variant:
        """The variant that these (checked) arguments take."""
        return next(v for v in self.variants if self.evaluate(v.when, values))

    def evaluate(self, expression: str, values: Mapping[str, Any]) -> Any:
        """The value of an expression for checked arguments."""
        return evaluate(expression, self.names(values))

    def names(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Checked arguments under the names that expressions use."""
        return {name: value for h in self.arguments for name, value in h.names(values[h.name]).items()}

    def argument(self, name: str) -> Hyperparameter:
        return next(h for h in self.arguments if h.name == name)

    def codes(self, values: Mapping[str, Any]) -> list[float]:
        """The rule's own hyperparameters as the numbers of the C++ row."""
        return [code for h in self.own for code in h.codes(values[h.name])]

    @functools.cached_property
    def _slots(self) -> dict[str, Slot]:
        return {slot.name: slot for slot in self.slots}

    def slot(self, name: str) -> Slot:
        return self._slots[name]

    def derive(self, values: Mapping[str, Any], t: int, running: Mapping[str, float]) -> dict[str, float]:
        """The float64 scalars of step `t` (from 1), with the bits that C++ derives; `running` has the values before the step."""
        known = self.names(values) | dict(running) | {"t": t}
        for name, expression in self.scalars.items():
            known[name] = float(evaluate(expression, known))
        return {name: known[name] for name in self.scalars}
