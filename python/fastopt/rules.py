"""The table of update rules: every fact about a rule that is not its arithmetic.

A row gives the rule's name, state slots, hyperparameters (range, default, doc) and the scalars that
each step derives from them in float64.  The classes, their signatures and docstrings, the argument
checks, the README's table, the test matrix and, through `csrc/generate.py`, the C++ structures and
derivations all follow from here.  The arithmetic itself stands in `csrc/rules/<arithmetic>.h`.

Expressions are strings that mean the same in Python and in C++: + - * / comparisons, `and`, `or`,
`sqrt(x)`, `power(x, t)` (repeated squaring) and `where(condition, a, b)`; `t` is the number of the step,
from 1.  Each may use the hyperparameters and the scalars above it.  No pow, exp or log, so that every
device derives the same bits.

This file imports nothing but the standard library: the build reads it before NumPy is there.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import numbers
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import CodeType
from typing import Any, Literal

__all__ = ["RULES", "STAGES", "Hyperparameter", "Rule", "Slot", "Variant", "derive", "evaluate", "shown"]


def shown(value: Any) -> str:
    """`value` in an error message: short, whatever it is."""
    if isinstance(value, int) and abs(value) >= 2**64:
        return "a whole number beyond 64 bits"
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


@dataclass(frozen=True)
class Hyperparameter:
    """One argument of a rule: a number in `range`, a pair of them, a flag, or one of `choices`."""

    name: str
    default: Any
    doc: str
    range: str = ""
    """For numbers: an interval such as "[0, 1)"."""
    parts: tuple[str, ...] = ()
    """For a tuple of numbers such as `betas`: the name of each in expressions."""
    choices: tuple[Any, ...] = ()
    """For a choice: the values; C++ sees a value's index."""

    @property
    def scalars(self) -> tuple[str, ...]:
        """The names under which expressions know the value."""
        return self.parts or (self.name,)

    def check(self, value: Any) -> Any:
        """`value` as this hyperparameter keeps it; TypeError or ValueError if it is not one."""
        if value is self.default:
            return value
        if self.choices:
            if not any(value is c or (type(value) is type(c) and value == c) for c in self.choices):
                expected = ", ".join(map(repr, self.choices))
                error = TypeError if not isinstance(value, (str, bool)) else ValueError
                raise error(f"{self.name}: got {value!r}, expected one of {expected}")
            return value
        if not self.parts:
            return self._number(self.name, value)
        if not isinstance(value, (tuple, list)) or len(value) != len(self.parts):
            error = ValueError if isinstance(value, (tuple, list)) else TypeError
            raise error(f"{self.name}: got {value!r}, expected {len(self.parts)} numbers")
        return tuple(self._number(f"{self.name}[{i}]", v) for i, v in enumerate(value))

    def _number(self, name: str, value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, numbers.Real):
            raise TypeError(f"{name}: got {type(value).__name__} {shown(value)}, expected a real number")
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        low, high = self.ends
        above = number > low or (number == low and self.range[0] == "[")
        below = number < high or (number == high and self.range[-1] == "]")
        if not (above and below and math.isfinite(number)):
            raise ValueError(f"{name}: got {shown(value)}, expected a number in {self.range}")
        return number

    @functools.cached_property
    def ends(self) -> tuple[float, float]:
        """The numbers in `range`."""
        low, high = self.range[1:-1].split(",")
        return float(low), float(high)

    def codes(self, value: Any) -> tuple[float, ...]:
        """A checked value as the float64 numbers that C++ takes."""
        if self.choices:
            return (float(self.choices.index(value)),)
        return tuple(value) if self.parts else (value,)


def flag(name: str, default: bool, doc: str) -> Hyperparameter:
    """A hyperparameter that is True or False."""
    return Hyperparameter(name, default, doc, choices=(False, True))


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
class Variant:
    """One function of the rule's header, for the arguments where `when` holds; the first that does is taken."""

    name: str
    slots: tuple[str, ...]
    when: str = "1"


@dataclass(frozen=True)
class Rule:
    """One row of the table."""

    name: str
    arithmetic: str
    """The header in `csrc/rules` and the name of its structure; rows may share one."""
    summary: str
    paper: str
    hyperparameters: tuple[Hyperparameter, ...]
    """In torch's order, which is the order of the positional arguments."""
    slots: tuple[Slot, ...]
    variants: tuple[Variant, ...]
    scalars: Mapping[str, str]
    """Name to expression, in order."""
    formula: str
    requires: tuple[tuple[str, str], ...] = ()
    """Pairs (expression, words): what must hold between arguments."""
    options: tuple[Hyperparameter, ...] = field(default=())
    """Keyword-only hyperparameters beyond torch's."""

    @functools.cached_property
    def arguments(self) -> tuple[Hyperparameter, ...]:
        """Every hyperparameter of the class, those of the stages last."""
        return self.hyperparameters + self.options + self.stages

    @property
    def stages(self) -> tuple[Hyperparameter, ...]:
        """The stages' hyperparameters that the row does not list with a default of its own."""
        own = {h.name for h in self.hyperparameters + self.options}
        return tuple(s for s in STAGES if s.name not in own)

    @functools.cached_property
    def own(self) -> tuple[Hyperparameter, ...]:
        """The hyperparameters that only the rule reads, in the order of the C++ row."""
        shared = {"lr", *(s.name for s in STAGES)}
        return tuple(h for h in self.hyperparameters + self.options if h.name not in shared)

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
        """An expression under checked arguments; a tuple such as `betas` goes by its parts."""
        return evaluate(expression, self.names(values))

    def names(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """What expressions know of these arguments."""
        known = dict(values)
        for h in self.arguments:
            known.update(zip(h.parts, values[h.name], strict=True) if h.parts else ())
        return known

    def argument(self, name: str) -> Hyperparameter:
        return next(h for h in self.arguments if h.name == name)

    def codes(self, values: Mapping[str, Any]) -> list[float]:
        """The rule's own hyperparameters as the numbers of the C++ row."""
        return [code for h in self.own for code in h.codes(values[h.name])]

    def slot(self, name: str) -> Slot:
        return next(s for s in self.slots if s.name == name)


def power(x: float, t: int) -> float:
    """x**t by repeated squaring: the same multiplications on every device."""
    result = 1.0
    while t:
        if t & 1:
            result *= x
        x *= x
        t >>= 1
    return result


def where(condition: bool, a: float, b: float) -> float:
    return a if condition else b


FUNCTIONS = {"__builtins__": {}, "sqrt": math.sqrt, "power": power, "where": where}


@functools.cache
def compiled(expression: str) -> CodeType:
    return compile(expression, "<rules>", "eval")


def evaluate(expression: str, names: Mapping[str, Any]) -> Any:
    """An expression of the table under named values."""
    return eval(compiled(expression), {**FUNCTIONS, **names})  # the expressions are this file's own


def derive(rule: Rule, values: Mapping[str, Any], t: int) -> dict[str, float]:
    """The scalars of step `t` (from 1) in float64: to the bit what C++ derives."""
    known = rule.names(values) | {"t": t}
    for name, expression in rule.scalars.items():
        known[name] = float(evaluate(expression, known))
    return {name: known[name] for name in rule.scalars}


LR_DOC = "learning rate, or a callable of the number of completed steps (from 0) that gives it"


def lr(default: float) -> Hyperparameter:
    return Hyperparameter("lr", default, LR_DOC, "[0, inf)")


def eps(default: float) -> Hyperparameter:
    return Hyperparameter("eps", default, "keeps the denominator from zero", "[0, inf)")


def weight_decay(default: float) -> Hyperparameter:
    return Hyperparameter(
        "weight_decay", default, "L2 penalty added to the gradient, or decoupled decay p *= 1 - lr*weight_decay", "[0, inf)"
    )


def decoupled(default: bool) -> Hyperparameter:
    return flag(
        "decoupled_weight_decay", default, "decay the parameter itself, before the rule, instead of adding to the gradient"
    )


BETAS = Hyperparameter(
    "betas", (0.9, 0.999), "decay of the averages of gradient and squared gradient", "[0, 1)", parts=("beta1", "beta2")
)

STAGES: tuple[Hyperparameter, ...] = (
    weight_decay(0.0),
    decoupled(False),
    Hyperparameter("l1", 0.0, "L1 penalty: l1*sign(p) is added to the gradient", "[0, inf)"),
    flag("maximize", False, "ascend instead of descend: the gradient changes sign before L1 and L2"),
)
"""What every rule takes and no rule computes; in C++ they are stages around the rule."""

SGD = Rule(
    name="SGD",
    arithmetic="sgd",
    summary="Stochastic gradient descent, with momentum (Polyak) or Nesterov's accelerated gradient.",
    paper="Sutskever et al., On the importance of initialization and momentum in deep learning, ICML 2013",
    hyperparameters=(
        lr(1e-3),
        Hyperparameter("momentum", 0.0, "decay of the momentum buffer; 0: no buffer", "[0, inf)"),
        Hyperparameter("dampening", 0.0, "the buffer takes (1 - dampening) of each gradient", "[0, 1]"),
        weight_decay(0.0),
        flag("nesterov", False, "step along g + momentum*buffer instead of the buffer"),
    ),
    options=(
        Hyperparameter(
            "momentum_init",
            "gradient",
            'the buffer\'s first value: "gradient" starts it at the whole first gradient (torch); "zero" at the '
            "recurrence from 0, which with dampening=momentum is the textbook average v = b*v + (1-b)*g",
            choices=("gradient", "zero"),
        ),
        flag(
            "lr_in_momentum",
            False,
            "the buffer sums lr*g instead of g (Keras, TensorFlow): a later lr acts on new gradients only",
        ),
    ),
    slots=(Slot("momentum_buffer", "signed", "decayed sum of gradients"),),
    variants=(
        Variant("plain", (), "momentum == 0"),
        Variant("accelerated", ("momentum_buffer",), "nesterov"),
        Variant("heavy_ball", ("momentum_buffer",)),
    ),
    scalars={
        "buffer_decay": 'where(t == 1 and momentum_init == "gradient", 0, momentum)',
        "buffer_gain": 'where(t == 1 and momentum_init == "gradient", 1, 1 - dampening) * where(lr_in_momentum, lr, 1)',
        "gradient_step": "lr",
        "buffer_step": "where(lr_in_momentum, 1, lr) * where(nesterov, momentum, 1)",
    },
    formula="b = momentum*b + (1-dampening)*g; p -= lr*b, Nesterov: p -= lr*(g + momentum*b)",
    requires=(
        ("where(nesterov, momentum > 0 and dampening == 0, 1)", "nesterov=True needs momentum > 0 and dampening = 0"),
        ("where(lr_in_momentum, momentum > 0, 1)", "lr_in_momentum=True needs momentum > 0"),
    ),
)

ADAM = Rule(
    name="Adam",
    arithmetic="adam",
    summary="Adam: steps by the average gradient over the root of the average squared gradient.",
    paper="Kingma & Ba, arXiv:1412.6980; AMSGrad: Reddi et al., arXiv:1904.09237",
    hyperparameters=(
        lr(1e-3),
        BETAS,
        eps(1e-8),
        weight_decay(0.0),
        Hyperparameter(
            "amsgrad",
            False,
            'divide by the largest v so far: True compares v as it is (torch, Keras), "corrected" its bias-corrected value (optax)',
            choices=(False, True, "corrected"),
        ),
    ),
    options=(
        Hyperparameter("eps_root", 0.0, "added inside the root, to the bias-corrected v (optax)", "[0, inf)"),
        flag(
            "eps_hat",
            False,
            'eps is added to the root before its bias correction: the paper\'s "epsilon hat" (Keras, TensorFlow)',
        ),
    ),
    slots=(
        Slot("exp_avg", "signed", "average gradient m"),
        Slot("exp_avg_sq", "non-negative", "average squared gradient v"),
        Slot("max_exp_avg_sq", "non-negative", "largest v so far (amsgrad)"),
    ),
    variants=(
        Variant("plain", ("exp_avg", "exp_avg_sq"), "amsgrad == False"),
        Variant("amsgrad", ("exp_avg", "exp_avg_sq", "max_exp_avg_sq")),
    ),
    scalars={
        "gain1": "1 - beta1",
        "decay2": "beta2",
        "gain2": "1 - beta2",
        "step_size": "lr / (1 - power(beta1, t))",
        "correction2": "1 / (1 - power(beta2, t))",
        "max_scale": 'where(amsgrad == "corrected", correction2, 1)',
        "root_scale": 'where(amsgrad == "corrected", 1, correction2)',
        "inside_root": "eps_root",
        "outside_root": "where(eps_hat, eps * sqrt(correction2), eps)",
    },
    formula="m += (1-b1)*(g-m); v = b2*v + (1-b2)*g*g; p -= lr/(1-b1^t) * m/(sqrt(v/(1-b2^t)) + eps)",
)

ADAMW = dataclasses.replace(
    ADAM,
    name="AdamW",
    summary="Adam with decoupled weight decay.",
    paper="Loshchilov & Hutter, arXiv:1711.05101; AMSGrad: Reddi et al., arXiv:1904.09237",
    hyperparameters=tuple(weight_decay(1e-2) if h.name == "weight_decay" else h for h in ADAM.hyperparameters),
    options=(*ADAM.options, decoupled(True)),
    formula=f"p *= 1 - lr*weight_decay; {ADAM.formula}",
)

ADAGRAD = Rule(
    name="Adagrad",
    arithmetic="adagrad",
    summary="Adagrad: divides by the root of the sum of all squared gradients.",
    paper="Duchi, Hazan & Singer, Journal of Machine Learning Research 12 (2011) 2121-2159",
    hyperparameters=(
        lr(1e-2),
        Hyperparameter("lr_decay", 0.0, "lr falls as 1 / (1 + (t-1)*lr_decay)", "[0, inf)"),
        weight_decay(0.0),
        Hyperparameter("initial_accumulator_value", 0.0, "the accumulator's first value (Keras, optax: 0.1)", "[0, inf)"),
        eps(1e-10),
    ),
    options=(
        flag("eps_in_root", False, "sqrt(sum + eps) instead of sqrt(sum) + eps (Keras, optax); no update where the sum is 0"),
    ),
    slots=(Slot("sum", "non-negative", "sum of squared gradients", "initial_accumulator_value"),),
    variants=(Variant("plain", ("sum",)),),
    scalars={
        "step_size": "lr / (1 + (t - 1) * lr_decay)",
        "inside_root": "where(eps_in_root, eps, 0)",
        "outside_root": "where(eps_in_root, 0, eps)",
        "no_update_at": "where(eps_in_root, 0, -1)",
    },
    formula="s += g*g; p -= lr/(1 + (t-1)*lr_decay) * g/(sqrt(s) + eps)",
)

RULES: dict[str, Rule] = {rule.name: rule for rule in (SGD, ADAM, ADAMW, ADAGRAD)}
