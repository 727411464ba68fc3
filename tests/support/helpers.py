"""What the tests share: argument combinations out of the table, hostile data, placed arrays, comparisons."""

from __future__ import annotations

import hashlib
import itertools
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from fastopt import _core
from fastopt.rules import RULES, Hyperparameter, Rule

Array = np.ndarray[Any, Any]
Arguments = dict[str, Any]

DTYPES = (np.float32, np.float64)
ISAS = tuple(name for name in _core.isa_compiled() if _core.isa_available(name))


def random_number(h: Hyperparameter, rng: np.random.Generator) -> Any:
    """A value of a numeric hyperparameter, of the size that people use."""
    if h.parts:
        return tuple(round(float(b), 4) for b in np.sort(rng.uniform((0.5, 0.9), (0.95, 0.9995))))
    low, high = (float(end) for end in h.range[1:-1].split(","))
    if np.isfinite(high):
        return float(rng.uniform(low + 0.3 * (high - low), low + 0.95 * (high - low)))
    if h.name == "momentum":
        return float(rng.uniform(0.3, 0.95))
    typical = h.default or {"initial_accumulator_value": 0.1}.get(h.name, 1e-2)
    return float(low + (typical - low) * 10 ** rng.uniform(-0.5, 0.5))


def levels(h: Hyperparameter, rng: np.random.Generator) -> tuple[Any, ...]:
    """The values that a product over the arguments runs through: each choice; a number, and 0 where 0 switches it off."""
    if h.choices:
        return h.choices
    if h.optional:
        return None, random_number(h, rng)
    return (random_number(h, rng),) if h.parts or h.default != 0 else (0.0, random_number(h, rng))


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
    off = {h.name: h.default for h in rule.own if h.choices or (not h.parts and h.default == 0)}

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


def gradients(shape: int | tuple[int, ...], dtype: Any, rng: np.random.Generator, scale: Any = 1.0) -> Array:
    """Random, of either sign, and never zero."""
    magnitude = rng.uniform(0.5, 2.0, shape) * scale
    return np.asarray(magnitude * rng.choice([-1.0, 1.0], shape), dtype)


def hostile(n: int, dtype: Any, rng: np.random.Generator) -> Array:
    """Values over the whole range of the type: most ordinary, among them denormals, NaN, Inf, zeros of both signs, huge."""
    info = np.finfo(dtype)
    ordinary = rng.standard_normal(n) * 10.0 ** rng.uniform(-6, 6, n)
    values = ordinary.astype(dtype)
    tiny = (float(info.tiny) * rng.uniform(-1, 1, n)).astype(dtype)
    root = (float(info.tiny) ** 0.5 * rng.uniform(-4, 4, n)).astype(dtype)  # squares and quotients are denormal
    kind = rng.integers(0, 24, n)
    for number, replacement in enumerate((tiny, tiny, root, root)):
        values = np.where(kind == number, replacement, values)
    specials = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, info.max, -info.max, info.smallest_subnormal, -info.tiny], dtype)
    return np.where((kind == 4) | (kind == 5), specials[rng.integers(0, len(specials), n)], values).astype(dtype)


def same_bits(a: Array, b: Array) -> bool:
    """The same bytes, where a NaN equals any NaN."""
    assert a.dtype == b.dtype
    assert a.shape == b.shape
    unsigned = np.uint32 if a.dtype == np.float32 else np.uint64
    return bool(np.all((a.view(unsigned) == b.view(unsigned)) | (np.isnan(a) & np.isnan(b))))


def differences(a: Array, b: Array) -> str:
    unsigned = np.uint32 if a.dtype == np.float32 else np.uint64
    bad = np.flatnonzero((a.view(unsigned) != b.view(unsigned)) & ~(np.isnan(a) & np.isnan(b)))
    return f"{bad.size} of {a.size} differ, first at {bad[:3]}: {a.ravel()[bad[:3]]} {b.ravel()[bad[:3]]}"


def assert_same_bits(actual: list[Array], expected: list[Array], where: Any = "") -> None:
    assert len(actual) == len(expected)
    for i, (a, b) in enumerate(zip(actual, expected, strict=True)):
        assert same_bits(a, b), f"{where} array {i}: {differences(a, b)}"


def assert_close(actual: Array, expected: Array, scale: Array, ulps: float, where: Any = "") -> None:
    """Within `ulps` units in the last place of `scale`, in the type of `actual`."""
    error = np.abs(np.asarray(actual, np.float64) - np.asarray(expected, np.float64)) / (
        np.asarray(scale, np.float64) * np.finfo(actual.dtype).eps
    )
    worst = float(error.max(initial=0.0))
    assert worst <= ulps, f"{where}: {worst:.1f} ulps of its scale at {int(error.argmax())}, expected at most {ulps}"


class History:
    """What an error of a few roundings a step is measured against: the largest value that each element passed through,
    and for a parameter also the way it went, since each update is rounded relative to itself."""

    def __init__(self) -> None:
        self.scales: dict[str, Array] = {}
        self.last: Array | None = None

    def see(self, p: Array, state: Mapping[str, Array]) -> None:
        for name, value in state.items():
            self.scales[name] = np.maximum(self.scales.get(name, np.zeros_like(value)), np.abs(value))
        way = self.scales.get("params", np.abs(p)) if self.last is None else self.scales["params"] + np.abs(p - self.last)
        self.scales["params"] = np.maximum(way, np.abs(p))
        self.last = p


def digest(*arrays: Any) -> str:
    """A hash of the arrays' bytes."""
    total = hashlib.sha256()
    for array in arrays:
        total.update(np.asarray(array).tobytes())
    return total.hexdigest()


def run_python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs `code` in a new interpreter whose environment has no other of fastopt's variables."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("FASTOPT_")}
    return subprocess.run(
        [sys.executable, "-c", code], env=clean | environment, capture_output=True, check=False, text=True, timeout=120
    )
