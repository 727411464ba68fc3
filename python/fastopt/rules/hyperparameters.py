"""Hyperparameters: what an argument of a rule may be, and the arguments that several rules share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .checks import check_number
from .words import shown

__all__ = [
    "OPTIONS",
    "STAGES",
    "Hyperparameter",
    "betas",
    "decoupled",
    "eps",
    "flag",
    "lr",
    "weight_decay",
]


@dataclass(frozen=True)
class Constant:
    """A number that Python computes once from a value and hands to expressions and C++, which know neither pow nor None."""

    name: str
    formula: str
    of: Callable[[Any], float]


@dataclass(frozen=True)
class Hyperparameter:
    """One argument of a rule: a number in `range`, a pair of them, a flag, or one of `choices`."""

    name: str
    default: Any
    doc: str
    range: str = ""
    """For numbers: an interval such as "[0, 1)"."""
    components: tuple[str, ...] = ()
    """For a tuple of numbers such as `betas`: the name of each in expressions."""
    choices: tuple[Any, ...] = ()
    """For a choice: its values; C++ takes the index of one."""
    constant: Constant | None = None
    """For a value that only Python knows: the number that expressions and C++ take instead."""
    optional: bool = False
    """Whether the value may be None."""

    @property
    def scalars(self) -> tuple[str, ...]:
        """The names under which expressions know the value."""
        return (self.constant.name,) if self.constant else self.components or (self.name,)

    @property
    def expected(self) -> str:
        """What a value may be, in words."""
        return (self.range or " or ".join(map(repr, self.choices))) + (" or None" if self.optional else "")

    def check(self, value: Any) -> Any:
        """`value` as this hyperparameter keeps it.  Raises TypeError or ValueError if it is not allowed here."""
        if value is self.default or (value is None and self.optional):
            return value
        if self.choices:
            if not any(value is c or (type(value) is type(c) and value == c) for c in self.choices):
                expected = ", ".join(map(repr, self.choices))
                error = TypeError if not isinstance(value, (str, bool)) else ValueError
                raise error(f"{self.name}: got {shown(value)}, expected one of {expected}")
            return value
        if not self.components:
            return self._number(self.name, value)
        if not isinstance(value, (tuple, list)) or len(value) != len(self.components):
            error = ValueError if isinstance(value, (tuple, list)) else TypeError
            raise error(f"{self.name}: got {shown(value)}, expected a tuple of {len(self.components)} numbers")
        return tuple(self._number(f"{self.name}[{i}]", v) for i, v in enumerate(value))

    def _number(self, name: str, value: Any) -> float:
        return check_number(value, name, self.range, "a real number" + (" or None" if self.optional else ""))

    def codes(self, value: Any) -> tuple[float, ...]:
        """A checked value as the float64 numbers that C++ takes."""
        if self.choices:
            return (float(self.choices.index(value)),)
        if self.constant:
            return (self.constant.of(value),)
        return tuple(value) if self.components else (value,)

    def names(self, value: Any) -> dict[str, Any]:
        """A checked value under the names that expressions use: a choice as itself, anything else as C++ takes it."""
        return {self.name: value} if self.choices else dict(zip(self.scalars, self.codes(value), strict=True))


def flag(name: str, default: bool, doc: str) -> Hyperparameter:
    """A hyperparameter that is True or False."""
    return Hyperparameter(name, default, doc, choices=(False, True))


def lr(default: float) -> Hyperparameter:
    return Hyperparameter("lr", default, "learning rate", "[0, inf)")


def eps(default: float, doc: str = "keeps the denominator from zero") -> Hyperparameter:
    return Hyperparameter("eps", default, doc, "[0, inf)")


def betas(second: float, doc: str) -> Hyperparameter:
    return Hyperparameter("betas", (0.9, second), doc, "[0, 1)", components=("beta1", "beta2"))


def weight_decay(default: float) -> Hyperparameter:
    return Hyperparameter(
        "weight_decay", default, "L2 penalty added to the gradient, or decoupled decay p *= 1 - lr*weight_decay", "[0, inf)"
    )


def decoupled(default: bool) -> Hyperparameter:
    return flag(
        "decoupled_weight_decay", default, "decay the parameter itself, before the rule, instead of adding to the gradient"
    )


STAGES: tuple[Hyperparameter, ...] = (
    weight_decay(0.0),
    decoupled(False),
    Hyperparameter("l1", 0.0, "L1 penalty: l1*sign(p) is added to the gradient", "[0, inf)"),
    flag("maximize", False, "ascend instead of descend: the gradient changes sign before L1 and L2"),
)
"""Hyperparameters that every rule takes and no rule computes, set for each group; in C++ they are stages around the rule."""

OPTIONS: tuple[Hyperparameter, ...] = (
    Hyperparameter("grad_scale", 1.0, "multiplies every gradient first: 1/scale undoes a loss scale", "(-inf, inf)"),
    flag(
        "skip_nonfinite",
        False,
        "if a scaled gradient holds Inf or NaN, the step changes nothing and counts in skipped_steps",
    ),
    Hyperparameter(
        "clip_value", None, "holds each element of the gradient in [-clip_value, clip_value]", "(0, inf)", optional=True
    ),
    Hyperparameter(
        "max_norm", None, "scales all gradients by max_norm/norm if their joint norm is above max_norm", "(0, inf)", optional=True
    ),
    Hyperparameter(
        "norm_eps",
        0.0,
        "above 0, max_norm's factor is torch's: max_norm/(norm + norm_eps), at most 1, also if the norm is not finite",
        "[0, inf)",
    ),
    Hyperparameter(
        "ema_decay",
        None,
        "keeps an average of each parameter: ema = ema_decay*ema + (1-ema_decay)*p, at first p",
        "[0, 1)",
        optional=True,
    ),
    flag("zero_grad", False, "leaves zeros in the gradients, also after a skipped step"),
)
"""Stages that hold for all tensors of a step; docs/whole-step.md has the order of all stages."""
