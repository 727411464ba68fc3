"""Methods: an optimizer over the point, made from `minimize`'s arguments."""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from .. import optimizers
from .._arrays.memory import Array
from ..optimizer import Optimizer, engine_of
from ..rules import RULES
from ..rules.words import describe, shown
from ..schedules import ReduceOnPlateau

__all__ = ["BY_NAME", "OUR_OWN", "check_method", "lacks_rate", "make_optimizer", "undecayed", "unwrapped"]

BY_NAME: Mapping[str, str] = {name.lower(): name for name in RULES}

OUR_OWN = {
    "params": "the point is",
    "grads": "jac gives them",
    "copy_to": "the result's x is a copy",
    "zero_grad": "the gradients are the caller's and only read",
    "maximize": "give the negative of fun and jac",
}
"""Arguments of an optimizer that `minimize` does not take, and why."""


def named_class(name: str) -> type[Optimizer]:
    """The class of a rule, by its name in upper or lower case."""
    if name.lower() not in BY_NAME:
        from .._names.suggestions import similar

        expected = f"a class, a callable that makes an optimizer, or {', '.join(BY_NAME)}"
        raise ValueError(f"method: got {shown(name)}, expected {expected}{similar(name, BY_NAME)}")
    cls: type[Optimizer] = getattr(optimizers, BY_NAME[name.lower()])
    return cls


def check_method(method: Any) -> Callable[..., Any]:
    """A class, or a callable that makes an optimizer of an array."""
    make = named_class(method) if isinstance(method, str) else method
    wrong_class = isinstance(make, type) and not (issubclass(make, Optimizer) and make is not Optimizer)
    if not callable(make) or wrong_class:
        raise TypeError(f"method: got {describe(method)}, expected a rule's name, a class, or a callable that makes an optimizer")
    return make


def bound(make: Any) -> dict[str, Any]:
    """The arguments that nested partials have bound by name."""
    found: dict[str, Any] = {}
    while isinstance(make, functools.partial):
        found = {**make.keywords, **found}
        make = make.func
    return found


def lacks_rate(method: Any, lr: Any) -> bool:
    """Whether neither `lr` nor the method says what the learning rate is.  A callable that is no class knows its own."""
    make = check_method(method)
    return lr is None and isinstance(unwrapped(make), type) and "lr" not in bound(make)


def undecayed(method: Any, hyperparameters: Mapping[str, Any]) -> dict[str, Any]:
    """The hyperparameters, with no decay unless the caller names one, so that the minimum is that of `fun`."""
    make = check_method(method)
    return (
        {"weight_decay": 0.0, **bound(make), **hyperparameters}
        if unwrapped(make).rule.defaults["weight_decay"]
        else dict(hyperparameters)
    )


def make_optimizer(
    method: Any,
    point: Array,
    *,
    lr: Any,
    seed: Any,
    hyperparameters: Mapping[str, Any],
    stochastic: bool,
    batched: bool,
    bounded: bool,
) -> Optimizer:
    """An optimizer that steps `point`.  Raises TypeError or ValueError if the arguments do not suit it or the objective."""
    make = check_method(method)
    given = {**hyperparameters, **({} if lr is None else {"lr": lr})}
    check_names(given, make)
    if seed is not None and not (batched and "seed" not in accepted(make, "seed")):  # it then orders the batches only
        check_names({"seed": seed}, make)
        given["seed"] = seed
    optimizer = make(point, **given)
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"method: got a callable that made {describe(optimizer)}, expected one that makes a fastopt.Optimizer")
    arrays = [array for group in optimizer.groups for array in group["params"]]
    if len(arrays) != 1 or arrays[0] is not point or optimizer.steps:
        raise ValueError(
            "method: got a callable whose optimizer is of other arrays, or has stepped, expected a new one of its argument"
        )
    check_stages(optimizer, stochastic=stochastic, bounded=bounded)
    group = optimizer.groups[0]
    if isinstance(group.schedule, ReduceOnPlateau):
        group["lr"] = copy.deepcopy(group.schedule)  # the caller's stays as new for the next run
    return optimizer


def check_names(given: Mapping[str, Any], make: Callable[..., Any]) -> None:
    for key in given:
        if key in OUR_OWN:
            raise TypeError(f"{key}: minimize does not take it: {OUR_OWN[key]}")
        possible = accepted(make, key)
        if key not in possible:
            name = getattr(unwrapped(make), "__name__", type(make).__name__)
            has = ", ".join(possible) or "none by name"
            lacks = f"{name} does not take it" if key in ("lr", "seed") else f"neither minimize nor {name} has such an argument"
            raise TypeError(f"{key}: {lacks}; {name} has {has}{cure_of(key, possible, name)}")


def cure_of(key: str, possible: list[str], name: str) -> str:
    """What to write instead of an argument that neither `minimize` nor the method, of that name, has."""
    from .. import minimize
    from .._names.optimizers import OPTIMIZERS
    from .._names.others import MINIMIZE
    from .._names.suggestions import suggestion

    own = [name for name in inspect.signature(minimize).parameters if name != "hyperparameters"]
    return suggestion(key, [*own, *possible], MINIMIZE, OPTIMIZERS, rule=name)


def accepted(make: Callable[..., Any], key: str) -> list[str]:
    """The arguments that a callable takes by name besides its first; just `key` if it takes any name, or does not say."""
    try:
        parameters = list(inspect.signature(make).parameters.values())
    except (TypeError, ValueError):  # a call will tell
        return [key]
    if any(each.kind is each.VAR_KEYWORD for each in parameters):
        return [key]
    by_name = (each.name for each in parameters[1:] if each.kind not in (each.POSITIONAL_ONLY, each.VAR_POSITIONAL))
    return [name for name in by_name if name not in OUR_OWN]


def unwrapped(make: Any) -> Any:
    """The callable inside nested partials."""
    while isinstance(make, functools.partial):
        make = make.func
    return make


def check_stages(optimizer: Optimizer, *, stochastic: bool, bounded: bool) -> None:
    """Raises ValueError for stages of `OUR_OWN` that a partial has bound, and for stages without effect or with a wrong one."""
    options = optimizer.options
    if options["zero_grad"]:
        raise ValueError(f"zero_grad: got True, expected False: {OUR_OWN['zero_grad']}")
    if optimizer.groups[0].get("maximize"):
        raise ValueError(f"maximize: got True, expected False: {OUR_OWN['maximize']}")
    if not stochastic and options["ema_decay"] is not None:
        raise ValueError(
            f"ema_decay: got {options['ema_decay']}, expected None: of a deterministic fun the best point is the result; "
            "stochastic=True asks for the average"
        )
    if not stochastic and options["skip_nonfinite"]:
        raise ValueError("skip_nonfinite: got True, expected False: at the same point a deterministic fun is not finite again")
    if bounded and options["ema_decay"] is not None:
        raise ValueError(
            f"ema_decay: got {options['ema_decay']}, expected None with bounds, since it averages points before their projection"
        )
    master = engine_of(optimizer).formats.master
    if bounded and master not in (None, "stochastic"):
        raise ValueError(
            f"master: got {master!r}, expected None or 'stochastic' with bounds, since a projection does not reach the masters"
        )
