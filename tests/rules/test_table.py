"""The table of rules against what was compiled from it, and the classes' faces against torch's."""

from __future__ import annotations

import inspect
import itertools
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import fastopt
from fastopt import _core
from fastopt._storage.formats import FORMAT_ARGUMENTS
from fastopt.rules import OPTIONS, RULES, STAGES, Rule
from fastopt.rules.checks import ends
from fastopt.rules.expressions import power
from tests.support.cases import combinations, label, stage_arguments

CSRC = Path(__file__).parents[2] / "csrc"
STEP_NUMBERS = (*range(1, 11), 1000, 10**6, 2**40)
COMPILED = _core.rules()


def full(rule: Rule, arguments: dict[str, Any]) -> dict[str, Any]:
    return rule.check(rule.defaults | arguments)


def test_each_arithmetic_is_compiled() -> None:
    assert set(COMPILED) == {rule.arithmetic for rule in RULES.values()}


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_what_was_compiled_is_the_row(rule: Rule) -> None:
    compiled = COMPILED[rule.arithmetic]
    assert compiled["hyperparameters"] == [name for h in rule.own for name in h.scalars]
    assert compiled["slots"] == [slot.name for slot in rule.slots]
    assert compiled["running"] == list(rule.carried)
    assert set(rule.carried) <= set(rule.scalars)
    assert compiled["scalars"] == list(rule.scalars)
    assert {name: tuple(slots) for name, slots in compiled["variants"].items()} == {v.name: v.slots for v in rule.variants}


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_variants(rule: Rule) -> None:
    names = [slot.name for slot in rule.slots]
    taken = set()
    for arguments in combinations(rule, np.random.default_rng(3)):
        values = full(rule, arguments)
        variant = rule.variant(values)
        taken.add(variant.name)
        assert _core.variant_of(rule.arithmetic, rule.codes(values)) == variant.name
        assert set(variant.slots) <= set(names)
        assert [name for name in names if name in variant.slots] == list(variant.slots), "in the order of the slots"
    assert taken == {v.name for v in rule.variants}, "each variant is reached by some arguments"


def assert_same_scalars(rule: Rule, values: dict[str, Any], t: int) -> None:
    before = dict.fromkeys(rule.carried, 0.75)
    expected = rule.derive(values, t, before)
    actual = _core.derive(rule.arithmetic, values["lr"], rule.codes(values), t, list(before.values()))
    assert [x.hex() for x in actual] == [x.hex() for x in expected.values()], (t, values)


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_derived_scalars_to_the_bit(rule: Rule) -> None:
    rng = np.random.default_rng(4)
    for arguments in combinations(rule, rng):
        for t in STEP_NUMBERS:
            assert_same_scalars(rule, full(rule, arguments), t)


@settings(max_examples=200, deadline=None)
@given(data=st.data(), rule=st.sampled_from(list(RULES.values())), t=st.sampled_from(STEP_NUMBERS) | st.integers(1, 2**40))
def test_derived_scalars_of_any_hyperparameters(data: st.DataObject, rule: Rule, t: int) -> None:
    values = dict(rule.defaults)
    for h in rule.arguments:
        if h.choices:
            values[h.name] = data.draw(st.sampled_from(h.choices), label=h.name)
            continue
        low, high = ends(h.range)
        number = st.floats(low, min(high, 1e6), exclude_max=h.range[-1] == ")" and high <= 1e6, exclude_min=h.range[0] == "(")
        value = st.tuples(*[number] * len(h.components)) if h.components else number
        values[h.name] = data.draw(value | st.none() if h.optional else value, label=h.name)
    if not all(rule.evaluate(condition, values) for condition, _ in rule.requires):
        return
    assert_same_scalars(rule, rule.check(values), t)
    assert _core.variant_of(rule.arithmetic, rule.codes(values)) == rule.variant(values).name


@given(x=st.floats(0, 1), t=st.integers(1, 2**40))
def test_power_is_a_power(x: float, t: int) -> None:
    assert power(x, t) == pytest.approx(x**t, rel=1e-9 if t < 10**6 else 1e-3, abs=1e-300)


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_a_rule_of_the_table_is_well_formed(rule: Rule) -> None:
    assert rule.name in RULES
    assert rule.summary.endswith(".")
    assert rule.paper
    assert rule.formula
    names = [h.name for h in rule.arguments]
    assert len(set(names)) == len(names)
    assert {s.name for s in STAGES} <= set(names)
    for h in rule.arguments:
        assert h.doc, h.name
        assert bool(h.range) != bool(h.choices), h.name
        assert h.check(h.default) == h.default, h.name
    for slot in rule.slots:
        assert slot.doc
        assert np.isfinite(rule.evaluate(slot.initial, full(rule, {})))
    for arguments in stage_arguments(np.random.default_rng(5)):
        assert full(rule, arguments), label(arguments)


@pytest.mark.skipif(not CSRC.is_dir(), reason="needs the sources")
@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_each_arithmetic_has_its_header(rule: Rule) -> None:
    header = CSRC / "rules" / f"{rule.arithmetic}.h"
    text = header.read_text()
    assert f"struct {rule.arithmetic} " in text
    assert re.findall("#include .*", text) == ['#include "step/direction.h"']
    for variant in rule.variants:
        assert f" {variant.name}(" in text


@pytest.mark.skipif(not CSRC.is_dir(), reason="needs the sources")
def test_no_header_without_a_row() -> None:
    assert {path.stem for path in (CSRC / "rules").glob("*.h")} == {rule.arithmetic for rule in RULES.values()}


@pytest.mark.parametrize("name", [name for name in RULES if hasattr(torch.optim, name)])
def test_arguments_are_torchs(name: str) -> None:
    ours = inspect.signature(getattr(fastopt, name)).parameters
    theirs = inspect.signature(getattr(torch.optim, name)).parameters
    shared = [argument for argument in theirs if argument in ours]
    for argument in shared:
        assert ours[argument].default == theirs[argument].default, argument
    by_position = inspect.Parameter.POSITIONAL_OR_KEYWORD
    implementation = {"foreach", "fused", "capturable", "differentiable"}
    # What torch takes by position after the first choice of an implementation is by name here.
    positional = [a for a, p in theirs.items() if p.kind == by_position]
    expected = list(itertools.takewhile(lambda argument: argument not in implementation, positional))
    assert [a for a, p in ours.items() if p.kind == by_position] == expected
    assert set(theirs) - set(ours) <= implementation, "every argument that decides numbers is here"


@pytest.mark.parametrize("name", RULES)
def test_classes_and_functions_follow_the_row(name: str) -> None:
    rule, cls, function = RULES[name], getattr(fastopt, name), getattr(fastopt.functional, name.lower())
    assert cls.rule is rule
    options, storage = [option.name for option in OPTIONS], [each.name for each in FORMAT_ARGUMENTS]
    assert list(inspect.signature(cls).parameters) == ["params", *rule.defaults, *options, *storage, "copy_to", "grads"]
    expected = ["param", "grad", *(slot.name for slot in rule.slots), *rule.carried, "step", *rule.defaults, "grad_scale"]
    assert list(inspect.signature(function).parameters) == expected
    for text in (cls.__doc__, function.__doc__):
        assert rule.formula in text
    for h in rule.arguments:
        assert f"{h.name}: {h.doc}" in cls.__doc__


@pytest.mark.parametrize("module", [fastopt, fastopt.functional], ids=["fastopt", "functional"])
def test_public_names(module: Any) -> None:
    assert len(set(module.__all__)) == len(module.__all__)
    for name in module.__all__:
        assert inspect.getdoc(getattr(module, name)), name


def test_public_members_have_docstrings() -> None:
    members = [name for name in vars(fastopt.Optimizer) if not name.startswith("_") and name != "rule"]
    assert {"step", "state", "groups", "lr", "steps", "traffic", "state_dict", "load_state_dict"} <= set(members)
    for name in members:
        assert inspect.getdoc(getattr(fastopt.Optimizer, name)), name
    assert fastopt.__version__
