"""Arguments for tests, from the table of rules: valid combinations, stages, a case for each variant."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from fastopt import _core
from fastopt.rules import RULES, Hyperparameter, Rule

Arguments = dict[str, Any]

DTYPES = (np.float32, np.float64)
ISAS = tuple(name for name in _core.isa_compiled() if _core.isa_available(name))
OPTIONS: dict[str, tuple[Any, ...]] = {
    "grad_scale": (1.0, 1 / 1024, -3.7),
    "skip_nonfinite": (False, True),
    "clip_value": (None, 0.3),
    "max_norm": (None, 0.5, 1e6),
    "norm_eps": (0.0, 1e-6, 0.5),
    "ema_decay": (None, 0.9),
    "zero_grad": (False, True),
}


def random_number(h: Hyperparameter, rng: np.random.Generator) -> Any:
    """A value of a numeric hyperparameter, of the size that people use."""
    if h.components:
        return tuple(round(float(b), 4) for b in np.sort(rng.uniform((0.5, 0.9), (0.95, 0.9995))))
    low, high = (float(end) for end in h.range[1:-1].split(","))
    if np.isfinite(high):
        return float(rng.uniform(low + 0.3 * (high - low), low + 0.95 * (high - low)))
    if h.name == "momentum":
        return float(rng.uniform(0.3, 0.95))
    typical = h.default or {"initial_accumulator_value": 0.1}.get(h.name, 1e-2)
    return float(low + (typical - low) * 10 ** rng.uniform(-0.5, 0.5))


def levels(h: Hyperparameter, rng: np.random.Generator) -> tuple[Any, ...]:
    """The values of an argument in a product over all arguments: each choice; a number, and 0 if 0 switches the argument off."""
    if h.choices:
        return h.choices
    if h.optional:
        return None, random_number(h, rng)
    return (random_number(h, rng),) if h.components or h.default != 0 else (0.0, random_number(h, rng))


def valid(rule: Rule, arguments: Mapping[str, Any]) -> bool:
    try:
        rule.check({**rule.defaults, **arguments})
    except ValueError:
        return False
    return True


def combinations(
    rule: Rule, rng: np.random.Generator, hyperparameters: tuple[Hyperparameter, ...] | None = None
) -> Iterator[Arguments]:
    """Every valid combination of the levels of the hyperparameters (by default the rule's own and lr)."""
    chosen = hyperparameters or tuple(h for h in rule.arguments if h.name == "lr" or h in rule.own)
    for values in itertools.product(*(levels(h, rng) for h in chosen)):
        arguments = dict(zip((h.name for h in chosen), values, strict=True))
        if valid(rule, arguments):
            yield arguments


OPTIONS: dict[str, tuple[Any, ...]] = {
    "grad_scale": (1.0, 1 / 1024, -3.7),
    "skip_nonfinite": (False, True),
    "clip_value": (None, 0.3),
    "max_norm": (None, 0.5, 1e6),
    "norm_eps": (0.0, 1e-6, 0.5),
    "ema_decay": (None, 0.9),
    "zero_grad": (False, True),
}
"""Values for every option of a whole step: off, and on in some ways."""


def stage_arguments(rng: np.random.Generator) -> list[Arguments]:
    """The stages off, each alone, and all together with decay of either kind."""
    decay, l1 = float(rng.uniform(0.01, 0.05)), float(rng.uniform(0.001, 0.02))
    off: Arguments = {"weight_decay": 0.0, "decoupled_weight_decay": False, "l1": 0.0, "maximize": False}
    return [
        off,
        off | {"weight_decay": decay},
        off | {"weight_decay": decay, "decoupled_weight_decay": True},
        off | {"l1": l1},
        off | {"maximize": True},
        off | {"weight_decay": decay, "l1": l1, "maximize": True},
        off | {"weight_decay": decay, "decoupled_weight_decay": True, "l1": l1, "maximize": True},
    ]


def arguments_with_state(name: str) -> Arguments:
    """The fewest arguments under which every slot of the rule is in use."""
    rule = RULES[name]
    off = {h.name: h.default for h in rule.own if h.choices or (not h.components and h.default == 0)}

    def changed(arguments: Arguments) -> Arguments:
        return {key: arguments[key] for key, default in off.items() if arguments[key] != default}

    def used(arguments: Arguments) -> int:
        return len(rule.variant(rule.check(rule.defaults | arguments)).slots)

    return changed(max(combinations(rule, np.random.default_rng(6)), key=lambda a: (used(a), -len(changed(a)))))


def label(arguments: Mapping[str, Any]) -> str:
    """A short name for a set of arguments."""
    words = [f"{k}={v}" if isinstance(v, str) else k for k, v in arguments.items() if v not in (0, 0.0, False) and k != "lr"]
    return "-".join(words) or "plain"


def kernel_cases() -> list[tuple[str, Arguments]]:
    """For every variant of every rule: one set of arguments without stages and one with all of them."""
    rng = np.random.default_rng(7)
    cases = []
    for rule in RULES.values():
        seen = set()
        for arguments in combinations(rule, rng):
            full = rule.check(rule.defaults | arguments)
            # Choices that reach a kernel only through its scalars count too: eps_in_root changes a comparison.
            key = (rule.variant(full).name, *(full[h.name] for h in rule.own if h.choices and h.name == "eps_in_root"))
            if key in seen:
                continue
            seen.add(key)
            stages = stage_arguments(rng)
            cases += [
                (rule.name, arguments | stages[0]),
                (rule.name, arguments | stages[-2]),
                (rule.name, arguments | stages[-1]),
            ]
    return cases


KERNEL_CASES = kernel_cases()


def case_id(case: tuple[str, Arguments]) -> str:
    return f"{case[0]}-{label(case[1])}"
