"""The cases that the driver `replay` gets: every rule over its choices, stages, options and lengths, and the storage formats."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np

import fastopt
from fastopt.rules import RULES, Rule
from tests.support import replay_formats
from tests.support.replay_file import COPIES, DTYPES, NEUTRAL, STAGED, WHOLE, Case, Result, awkward, header, joined

LENGTHS = (0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 1023, 1024, 1025, 5000)
PARALLEL, LONG = 100_003, 540_001  # elements: for the threads that are awake; enough to wake threads that sleep


def configurations(rule: Rule) -> Iterator[dict[str, Any]]:
    """Every combination of the rule's own choices, each number at its default and at 0.9."""

    def values(h: Any) -> tuple[Any, ...]:
        return h.choices or ((h.default,) if h.components else (h.default, 0.9)) + ((None,) if h.optional else ())

    for combination in itertools.product(*(values(h) for h in rule.own)):
        arguments = rule.defaults | NEUTRAL | dict(zip((h.name for h in rule.own), combination, strict=True))
        del arguments["grad_scale"]
        try:
            yield rule.check(arguments)
        except ValueError:  # combinations that the rule forbids
            continue


def stages() -> Iterator[dict[str, Any]]:
    """Every combination of stages; the kind of decay matters only where there is some."""
    for combination in itertools.product(*zip(NEUTRAL.values(), STAGED.values(), strict=True)):
        chosen = dict(zip(NEUTRAL, combination, strict=True))
        if chosen["weight_decay"] or not chosen["decoupled_weight_decay"]:
            yield chosen


def make_case(
    rule: Rule,
    arguments: dict[str, Any],
    stage: dict[str, Any],
    dtype: type,
    length: int,
    seed: int,
    whole: dict[str, Any] | None = None,
) -> Case:
    generator = np.random.default_rng(seed)
    values = rule.check(arguments | {name: value for name, value in stage.items() if name != "grad_scale"})
    options = dict(whole or {})
    slots = rule.variant(values).slots
    steps, before = 2, (0, 39)[seed % 2]  # some rules begin otherwise than they go on
    running = [0.75 for _ in rule.carried]
    param = awkward(generator, length, dtype)
    state = [awkward(generator, length, dtype, signed=rule.slot(name).kind != "non-negative") for name in slots]
    grads = [awkward(generator, length, dtype) for _ in range(steps)]
    if options.get("max_norm"):  # max_norm ignores a norm that is not finite, and half of the steps are skipped
        grads[0] = np.nan_to_num(grads[0], posinf=3.0, neginf=-3.0)
    counts = {"before": before, "steps": steps, "length": length, "shift": int(generator.integers(16))}
    first = header(rule, values, stage["grad_scale"], options, dtype=dtype, running=running, **counts)
    average = param if "ema_decay" in options else None
    data = joined(first, (param, *state, average, *grads))
    copy_to = options.pop("copy_to", None)
    copy = None if copy_to is None else np.zeros(length, COPIES[copy_to])
    optimizer = getattr(fastopt, rule.name)(param, **values, **options, copy_to=copy)
    live = [optimizer.state[0][name] for name in slots]
    for own, start in zip(live, state, strict=True):
        own[...] = start
    snapshot = optimizer.state_dict()
    snapshot["state"][0] |= {"step": before, **dict(zip(rule.carried, running, strict=True))}
    optimizer.load_state_dict(snapshot)
    for grad in grads:
        optimizer.step(grad, grad_scale=stage["grad_scale"])
    label = f"{rule.name} {dtype.__name__}[{length}] {values} {stage} {whole}"
    written = (param, *live, optimizer.ema_params, copy)
    return Case(label, data, tuple(Result(array) for array in written if array is not None))


@cache
def cases() -> tuple[Case, ...]:
    """Every choice of each rule; each of its variants with every stage, every option, and at all lengths; in both dtypes."""
    made: list[Case] = []
    configured: list[tuple[Rule, dict[str, Any]]] = []
    seeds = itertools.count()
    short = itertools.cycle([n for n in LENGTHS if 0 < n < 20])
    stage = itertools.cycle(stages())
    for rule in RULES.values():
        table = list(configurations(rule))
        of_variant = {rule.variant(values): values for values in reversed(table)}
        assert len(of_variant) == len(rule.variants), f"{rule.name}: no configuration for some variant"
        if rule.name != "AdamW":  # Adam's kernels
            configured += [(rule, values) for values in of_variant.values()]
        for values, dtype in itertools.product(table, DTYPES):
            made.append(make_case(rule, values, next(stage), dtype, next(short), next(seeds)))
        for values, each, dtype in itertools.product(of_variant.values(), stages(), DTYPES):
            made.append(make_case(rule, values, each, dtype, next(short), next(seeds)))
        for values, each, dtype, length in itertools.product(of_variant.values(), (NEUTRAL, STAGED), DTYPES, LENGTHS):
            made.append(make_case(rule, values, each, dtype, length, next(seeds)))
        for values, whole, dtype in itertools.product(of_variant.values(), WHOLE, DTYPES):
            made.append(make_case(rule, values, STAGED, dtype, next(short), next(seeds), whole))
            made.append(make_case(rule, values, NEUTRAL, dtype, 1025, next(seeds), whole))
        for i, values in enumerate(of_variant.values()):
            each, dtype = (NEUTRAL, STAGED)[i % 2], DTYPES[i // 2 % 2]
            made.append(make_case(rule, values, each, dtype, PARALLEL, next(seeds)))
    made.append(make_case(RULES["SGD"], RULES["SGD"].defaults, STAGED, np.float32, LONG, next(seeds)))
    return (*made, *replay_formats.cases(configured))


@cache
def delicate_cases() -> tuple[Case, ...]:
    """Hyperparameters whose derived scalars depend on rounding, or are denormal."""
    made: list[Case] = []
    for rule in RULES.values():
        for values, lr, stage in itertools.product(configurations(rule), (5e-310, 0.1), (NEUTRAL, STAGED)):
            made.append(make_case(rule, values | {"lr": lr}, stage, np.float64, 17, len(made)))
    return tuple(made)
