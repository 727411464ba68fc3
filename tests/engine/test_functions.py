"""`fastopt.functional`: a call that has been checked once and comes again has the same bits, checks and words."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastopt
from fastopt import faces
from fastopt.rules import RULES
from tests.support.arrays import Array, gradients
from tests.support.cases import arguments_with_state, combinations
from tests.support.comparing import assert_same_bits

pytestmark = pytest.mark.kernel

Call = tuple[list[Array], list[Array | None], list[Array]]


def arrays_of(rule: str, dtype: Any, arguments: dict[str, Any], rng: np.random.Generator) -> Call:
    """Parameter and gradient; an array or None for each slot; running scalars."""
    param = gradients(65, dtype, rng)
    state = getattr(fastopt, rule)(param.copy(), **arguments).state[0]
    slots = [np.array(state[slot.name]) if slot.name in state else None for slot in RULES[rule].slots]
    running = [np.array(scalar.initial) for scalar in RULES[rule].running]
    return [param, gradients(65, dtype, rng)], slots, running


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
@pytest.mark.parametrize("rule", RULES)
def test_each_call_is_a_step_of_the_class(rule: str, dtype: Any, rng: np.random.Generator) -> None:
    """Over every combination of choices, with numbers that change from call to call."""
    function = getattr(fastopt.functional, rule.lower())
    for arguments in combinations(RULES[rule], rng):
        (param, _), slots, running = arrays_of(rule, dtype, arguments, rng)
        twin = param.copy()
        optimizer = getattr(fastopt, rule)(twin, **arguments)
        for step in range(1, 5):
            grad = gradients(65, dtype, rng)
            changed = {**arguments, "lr": 0.01 * step, "weight_decay": 0.1 / step}
            function(param, grad, *slots, *running, step=step, grad_scale=0.5, **changed)
            optimizer.groups[0].update(changed)
            optimizer.step(grad, grad_scale=0.5)
            expected = [
                twin.astype(np.float64),
                *(np.array(optimizer.state[0][s.name]) for s, a in zip(RULES[rule].slots, slots, strict=True) if a is not None),
            ]
            assert_same_bits([param.astype(np.float64), *(a for a in slots if a is not None)], expected, (arguments, step))
            assert [float(each) for each in running] == [optimizer.state[0][each.name] for each in RULES[rule].running]


@pytest.mark.parametrize("rule", RULES)
def test_a_call_of_a_known_kind_makes_no_plan(rule: str, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    function, arguments = getattr(fastopt.functional, rule.lower()), arguments_with_state(rule)
    arrays, slots, running = arrays_of(rule, np.float32, arguments, rng)
    function(*arrays, *slots, *running, step=1, **arguments)
    monkeypatch.setattr(faces, "make_plan", None)
    function(*arrays, *slots, *running, step=2, **arguments, lr=0.5, weight_decay=0.25, l1=0.125)
    names = [each.name for each in (*RULES[rule].slots, *RULES[rule].running)]
    by_name = dict(zip(names, [*slots, *running], strict=True))
    function(param=arrays[0], grad=arrays[1], step=np.int_(3).item(), **by_name, **arguments)


def adam(**changes: Any) -> dict[str, Any]:
    """Arguments of a good call, but for `changes`; each array is one row of a block."""
    rows = np.full((4, 8), 0.5, np.float32)
    names = ("param", "grad", "exp_avg", "exp_avg_sq")
    good: dict[str, Any] = {**dict(zip(names, rows, strict=True)), "max_exp_avg_sq": None, "step": 2}
    return {**good, **{key: change(good) if callable(change) else change for key, change in changes.items()}}


def read_only(array: Array) -> Array:
    array.flags.writeable = False
    return array


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "lr below 0": ({"lr": -1.0}, r"lr: got -1.0, expected a number in \[0, inf\)"),
    "lr that float32 has not": ({"lr": 1e300}, r"lr: got 1e\+300, which is inf in float32"),
    "lr True": ({"lr": True}, "lr: got bool True, expected a real number"),
    "three betas": ({"betas": (0.9, 0.9, 0.9)}, r"betas: got \(0.9, 0.9, 0.9\), expected a tuple of 2 numbers"),
    "beta of 1": ({"betas": (0.9, 1.0)}, r"betas\[1\]: got 1.0"),
    "a choice": ({"amsgrad": 1}, "amsgrad: got 1, expected one of"),
    "state that is missing": ({"amsgrad": True}, "max_exp_avg_sq: got None"),
    "state that is too much": ({"max_exp_avg_sq": np.ones(8, np.float32)}, "max_exp_avg_sq: got .*, expected None"),
    "step 0": ({"step": 0}, "step: got 0, expected the number of this step, from 1"),
    "step 1.0": ({"step": 1.0}, "step: got float 1.0, expected a whole number"),
    "scale": ({"grad_scale": np.inf}, "grad_scale: got inf"),
    "shape": ({"grad": np.ones(7, np.float32)}, r"grad: got shape \(7,\), expected \(8,\)"),
    "dtype": ({"grad": np.ones(8)}, "grad: got dtype float64"),
    "dtype of state": ({"exp_avg": np.ones(8)}, "exp_avg: got dtype float64"),
    "strides": ({"grad": np.ones(16, np.float32)[::2]}, "grad: got strides"),
    "read-only": ({"param": read_only(np.ones(8, np.float32))}, "param: got a read-only array"),
    "read-only state": ({"exp_avg_sq": read_only(np.ones(8, np.float32))}, "exp_avg_sq: got a read-only array"),
    "the same memory": ({"exp_avg": lambda good: good["grad"]}, "exp_avg: got the same memory as grad"),
    "overlap": ({"exp_avg": lambda good: good["grad"].base.reshape(-1)[12:20]}, "got memory that overlaps"),
    "no array": ({"grad": None}, "grad: got None, expected an array"),
    "a name": ({"momentum": 0.5}, "adam: got an unexpected keyword argument 'momentum'"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_call_after_a_good_one_is_refused_before_anything_is_written(case: str) -> None:
    fastopt.functional.adam(**adam())
    changes, words = BAD[case]
    bad = adam(**changes)
    before = {key: value.copy() for key, value in bad.items() if isinstance(value, np.ndarray)}
    with pytest.raises((TypeError, ValueError), match=words):
        fastopt.functional.adam(**bad)
    for key, value in before.items():
        assert_same_bits([bad[key].copy()], [value], key)


def test_twice_or_too_many_by_position_is_refused_after_a_good_call() -> None:
    fastopt.functional.adam(**adam())
    good = adam()
    param = good.pop("param")
    with pytest.raises(TypeError, match=r"adam: .*grad"):
        fastopt.functional.adam(param, good["grad"], **good)
    with pytest.raises(TypeError, match="adam: too many positional arguments"):
        fastopt.functional.adam(*[param] * 6, step=1)
    with pytest.raises(TypeError, match="adam: missing a required"):
        fastopt.functional.adam(param, good["grad"])


def test_conditions_between_arguments_hold_in_every_call() -> None:
    arrays = [np.ones(3, np.float32) for _ in range(3)]
    fastopt.functional.sgd(*arrays, step=1, momentum=0.9, nesterov=True)
    before = [array.copy() for array in arrays]
    for arguments in ({"momentum": 0.9, "dampening": 0.5}, {"momentum": 0.0}):
        with pytest.raises(ValueError, match="nesterov=True needs momentum > 0 and dampening = 0"):
            fastopt.functional.sgd(*arrays, step=1, nesterov=True, **arguments)
    with pytest.raises(ValueError, match=r"momentum_buffer: got .*expected None"):
        fastopt.functional.sgd(*arrays, step=1, momentum=0.0)
    assert_same_bits(arrays, before)


def test_a_running_scalar_out_of_its_range_is_refused_after_step_1() -> None:
    arrays = [np.ones(3) for _ in range(4)]
    product = np.array(5.0)
    fastopt.functional.nadam(*arrays, product, step=1)
    product[...] = 5.0
    before = [array.copy() for array in arrays]
    with pytest.raises(ValueError, match=r"mu_product: got 5.0, expected a number in \[0, 1\]"):
        fastopt.functional.nadam(*arrays, product, step=2)
    assert_same_bits(arrays, before)
    assert product == 5.0
