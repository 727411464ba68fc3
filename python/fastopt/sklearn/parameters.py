"""The estimators' parameters -> an optimizer's class and arguments, and the numbers of the training loop; all checked."""

from __future__ import annotations

import copy
import functools
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from numbers import Integral
from typing import Any

import numpy as np

from .. import optimizers
from ..optimizer import Optimizer
from ..rules import OPTIONS, RULES
from ..rules.checks import check_flag, check_number
from ..rules.words import shown
from ..schedules import ReduceOnPlateau

__all__ = [
    "LINEAR_RATES",
    "NETWORK_RATES",
    "Loop",
    "Settings",
    "bounded",
    "check_whole",
    "own_schedule",
    "plain",
    "rate_words",
    "read_loop",
    "read_optimizer",
    "read_settings",
]

NAMED = ("momentum", "nesterov", "eps", "amsgrad", "centered", "max_norm", "clip_value", "ema_decay")
"""Parameters that an estimator hands to the optimizer under the same name; None is the rule's default."""

REFUSED = {
    "weight_decay": "the parameter l2 of the estimator",
    "l1": "the parameter l1 of the estimator",
    "params": "none: the estimator has them",
    "grads": "none: the estimator has them",
    "copy_to": "none",
    "maximize": "none: the loss is minimised",
}
"""What a configured class must not set, and what sets that instead."""

LINEAR_RATES = {"SGD": 0.1, "Adagrad": 0.1, "Adadelta": 1.0, "Lion": 3e-3}
NETWORK_RATES = {"SGD": 0.1, "Adagrad": 1e-2, "Adadelta": 1.0, "Lion": 1e-4}
"""The rules' learning rates if none is given; the other rules share a rate."""


def rate_words(rates: Mapping[str, float], other: float, whole: float | None = None) -> str:
    """The default rates for a docstring: "0.01, or 0.05 if all rows are one batch; 0.1 for SGD and Adagrad, 0.003 for Lion"."""
    rules: dict[float, list[str]] = {}
    for rule, rate in rates.items():
        rules.setdefault(rate, []).append(rule)
    each = ", ".join(f"{rate:g} for {' and '.join(names)}" for rate, names in rules.items())
    return f"{other:g}" + ("" if whole is None else f", or {whole:g} if all rows are one batch") + f"; {each}"


@dataclass(frozen=True)
class Settings:
    """What an optimizer is built from.  A training continues under equal settings."""

    optimizer: type[Optimizer]
    lr: Any
    """A number or a schedule."""
    l1: float
    l2: float
    arguments: Mapping[str, Any] = field(default_factory=dict)
    default_rate: bool = False
    """Whether `lr` is the estimator's default."""

    @property
    def decoupled(self) -> bool:
        """Whether l2 decays the weights themselves instead of entering the objective."""
        default = self.optimizer.rule.defaults["decoupled_weight_decay"]
        return bool(self.arguments.get("decoupled_weight_decay", default))

    def same_rule(self, other: Settings) -> bool:
        """Whether an optimizer with these settings can continue the state of one with `other`."""
        return self.optimizer is other.optimizer and dict(self.arguments) == dict(other.arguments)


def read_settings(estimator: Any, rates: Mapping[str, float], other_rate: float) -> Settings:
    """The optimizer that an estimator's parameters name.  Raises TypeError or ValueError if they do not fit together."""
    chosen, arguments = read_optimizer(estimator.optimizer)
    rule = chosen.rule
    known = {h.name for h in (*rule.arguments, *OPTIONS)}
    for name, instead in REFUSED.items():
        if name in arguments:
            raise ValueError(f"optimizer: got {rule.name} with {name}={shown(arguments[name])}, expected {instead}")
    configured = dict(arguments)

    def take(name: str, source: str, value: Any) -> None:
        if name not in known:
            raise ValueError(f"{source}: got {shown(value)}, expected None, since {rule.name} has no {name}")
        if name in configured:
            raise ValueError(
                f"{source}: got {shown(value)}, expected None, since optimizer= already has {name}={configured[name]!r}"
            )
        arguments[name] = plain(value)

    for name in NAMED:
        value = getattr(estimator, name)
        if value is not None:
            take(name, name, value)
    if estimator.rho is not None:
        take("alpha" if "alpha" in known else "rho", "rho", estimator.rho)
    betas = (estimator.beta1, estimator.beta2)
    if betas != (None, None):
        for name, value in zip(("beta1", "beta2"), betas, strict=True):
            if value is not None and "betas" not in known:
                take("betas", name, value)
        own = configured.pop("betas", rule.defaults["betas"])
        if not (isinstance(own, (tuple, list)) and len(own) == 2):
            raise TypeError(f"optimizer: got {rule.name} with betas={shown(own)}, expected a pair of numbers")
        pair = zip(own, betas, ("beta1", "beta2"), strict=True)
        arguments["betas"] = tuple(
            default if value is None else check_number(plain(value), name, "[0, 1)") for default, value, name in pair
        )
    lr = plain(estimator.learning_rate)
    if lr is not None:
        take("lr", "learning_rate", lr)
    lr = arguments.pop("lr", None)
    default_rate = lr is None
    if lr is None:
        lr = rates.get(rule.name, other_rate)
    elif not callable(lr):
        lr = check_number(lr, "learning_rate", "[0, inf)", "a real number or a callable")
    for name in arguments:
        if name not in known and name not in ("state_dtype", "master", "seed"):
            raise ValueError(f"optimizer: got {rule.name} with {name}, which it does not have")
    l1, l2 = (check_number(plain(getattr(estimator, name)), name, "[0, inf)") for name in ("l1", "l2"))
    return Settings(chosen, lr, l1, l2, arguments, default_rate)


def bounded(settings: Settings, curvature: float) -> Settings:
    """Holds SGD's default rate to 1 / curvature of the squared error: its steps grow with the gradient, and diverge at twice that.

    The steps of the other rules do not grow with the gradient.
    """
    if settings.optimizer.rule.name != "SGD" or not settings.default_rate:
        return settings
    return replace(settings, lr=min(settings.lr, 1 / curvature))


def read_optimizer(optimizer: Any) -> tuple[type[Optimizer], dict[str, Any]]:
    """The class, and the arguments that a partial has bound."""
    if isinstance(optimizer, str):
        by_name = {name.lower(): name for name in RULES}
        name = by_name.get(optimizer.lower())
        if name is None:
            raise ValueError(f"optimizer: got {shown(optimizer)}, expected one of {', '.join(map(repr, by_name))}")
        found: type[Optimizer] = getattr(optimizers, name)
        return found, {}
    arguments: dict[str, Any] = {}
    if isinstance(optimizer, functools.partial):
        if optimizer.args:
            raise ValueError(f"optimizer: got {shown(optimizer)}, expected a partial with arguments by name alone")
        optimizer, arguments = optimizer.func, dict(optimizer.keywords)
    if not (isinstance(optimizer, type) and issubclass(optimizer, Optimizer) and optimizer is not Optimizer):
        raise TypeError(
            f"optimizer: got {shown(optimizer)}, expected a rule's name, its class, such as fastopt.AdamW, or a partial of one"
        )
    return optimizer, arguments


def own_schedule(lr: Any) -> Any:
    """`lr` for an optimizer: a copy of a schedule with state, so that the estimator's parameter does not change."""
    return copy.deepcopy(lr) if isinstance(lr, ReduceOnPlateau) else lr


@dataclass(frozen=True)
class Loop:
    """The training loop's numbers."""

    batch_size: int | None
    """None is "auto"."""
    max_iter: int
    tol: float | None
    n_iter_no_change: int | None
    """None is the estimator's default."""
    standardize: bool
    shuffle: bool
    early_stopping: bool
    validation_fraction: float
    warm_start: bool
    verbose: bool


def read_loop(estimator: Any) -> Loop:
    """The loop's numbers from an estimator's parameters.  Raises TypeError or ValueError if one is wrong."""
    batch_size = estimator.batch_size
    tol, patience = plain(estimator.tol), estimator.n_iter_no_change
    return Loop(
        batch_size=None
        if isinstance(batch_size, str) and batch_size == "auto"
        else check_whole(batch_size, "batch_size", "'auto' or "),
        max_iter=check_whole(estimator.max_iter, "max_iter"),
        tol=None if tol is None else check_number(tol, "tol", "[0, inf)", "a real number or None"),
        n_iter_no_change=None if patience is None else check_whole(patience, "n_iter_no_change", "None or "),
        validation_fraction=check_number(plain(estimator.validation_fraction), "validation_fraction", "(0, 1)"),
        # scikit-learn's own estimators take 0 and 1 for verbose too.
        verbose=bool(estimator.verbose) if estimator.verbose in (0, 1) else check_flag(estimator.verbose, "verbose"),
        **{
            name: check_flag(getattr(estimator, name), name)
            for name in ("standardize", "shuffle", "early_stopping", "warm_start")
        },
    )


def plain(value: Any) -> Any:
    """A NumPy scalar, such as a parameter search sets, as Python's type; any other value as it is."""
    return value.item() if isinstance(value, np.generic) else value


def check_whole(value: Any, name: str, other: str = "") -> int:
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, Integral):
        raise TypeError(f"{name}: got {shown(value)}, expected {other}a whole number from 1")
    if value < 1:
        raise ValueError(f"{name}: got {shown(value)}, expected {other}a whole number from 1")
    return int(value)
