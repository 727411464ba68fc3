"""Functions over arrays on a GPU: norms, clipping, and one step of each rule, against the same on the CPU."""

from __future__ import annotations

import inspect
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import fastopt
from fastopt.rules import RULES
from tests.support.arrays import Array, gradients, hostile
from tests.support.cases import arguments_with_state
from tests.support.devices import Claim, assert_same

LENGTHS = (1000, 1, 0, 257)
WIDE = (np.float32, np.float64, np.float16, ml_dtypes.bfloat16)


def mixed(rng: np.random.Generator, scale: float = 1.0) -> list[Array]:
    return [gradients(n, dtype, rng, scale) for n, dtype in zip(LENGTHS, WIDE, strict=True)]


def on(device: Any, values: list[Array]) -> list[Any]:
    return [device.array(each, i) for i, each in enumerate(values)]


def assert_number(device: Any, there: Any, expected: Any) -> None:
    """An array of no dimension on the device."""
    assert there.shape == ()
    assert_same(device.host(there), np.asarray(expected), "number")


@pytest.mark.parametrize("special", [None, np.inf, -np.inf, np.nan])
def test_norms(device: Any, special: float | None, rng: np.random.Generator) -> None:
    values = mixed(rng)
    if special is not None:
        values[3][256] = special
    there = on(device, values)
    assert_number(device, fastopt.global_norm(there), fastopt.global_norm(values))
    assert_number(device, fastopt.all_finite(there), fastopt.all_finite(values))
    assert_number(device, fastopt.all_finite({"a": there[0], "b": None}), True)
    assert_number(device, fastopt.global_norm(there[0]), fastopt.global_norm(values[0]))
    assert_number(device, fastopt.global_norm(there[2]), 0.0)


@pytest.mark.parametrize("max_norm", [0.5, 1e9])
def test_clipping_by_norm(device: Any, max_norm: float, rng: np.random.Generator) -> None:
    values = mixed(rng)
    there = on(device, values)
    assert_number(device, fastopt.clip_grad_norm(there, max_norm), fastopt.clip_grad_norm(values, max_norm))
    for array, expected in zip(there, values, strict=True):
        assert_same(device.host(array), expected, max_norm)
    values[0][7] = np.nan
    device.write(there[0], values[0])
    assert_number(device, fastopt.clip_grad_norm(there, max_norm), np.nan)
    assert_same(device.host(there[1]), values[1], "a norm that is not finite clips nothing")


def test_clipping_by_value(device: Any, rng: np.random.Generator) -> None:
    values = [*mixed(rng), hostile(300, np.float32, rng)]
    there = on(device, values)
    assert fastopt.clip_grad_value(there, 0.7) is None
    fastopt.clip_grad_value(values, 0.7)
    for array, expected in zip(there, values, strict=True):
        assert_same(device.host(array), expected, "")


def test_what_they_refuse(device: Any, rng: np.random.Generator) -> None:
    grad = gradients(10, np.float32, rng)
    there = device.array(grad)
    pointer = there.__cuda_array_interface__["data"][0]
    with pytest.raises(ValueError, match=r"grads\[0\]: got a read-only array"):
        fastopt.clip_grad_value([Claim(there, data=(pointer, True))], 0.1)
    with pytest.raises(ValueError, match=r"grads\[1\]: got the same memory as grads\[0\]"):
        fastopt.clip_grad_norm([there, there], 0.1)
    with pytest.raises(TypeError, match=r"grads: got dtype int32, expected float32, float64, bfloat16 or float16"):
        fastopt.global_norm(device.array(np.ones(3, np.int32)))
    with pytest.raises(ValueError, match=r"grads: got strides \(8,\) for shape \(5,\)"):
        fastopt.all_finite(Claim(there, shape=(5,), strides=(8,)))
    assert_same(device.host(there), grad, "nothing was written")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("rule", RULES)
def test_one_step(device: Any, rule: str, dtype: str, rng: np.random.Generator) -> None:
    row, function = RULES[rule], getattr(fastopt.functional, rule.lower())
    arguments = {"lr": 0.01, **arguments_with_state(rule)}
    values = row.check(row.defaults | arguments)
    initial = {slot.name: float(row.evaluate(slot.initial, values)) for slot in row.slots}
    used = {name: np.full(300, initial[name], dtype) for name in row.variant(values).slots}
    carried = [{scalar.name: np.ones(()) for scalar in row.running} for _ in range(2)]
    param, there = gradients(300, dtype, rng), {name: device.array(array, i) for i, (name, array) in enumerate(used.items())}
    moved = device.array(param, 5)
    for step in range(1, 4):
        grad = gradients(300, dtype, rng)
        function(param, grad, **used, **carried[0], step=step, grad_scale=0.5, **arguments)
        function(moved, device.array(grad, step), **there, **carried[1], step=step, grad_scale=0.5, **arguments)
        assert_same(device.host(moved), param, (rule, step))
        for name, array in used.items():
            assert_same(device.host(there[name]), array, (rule, step, name))
        assert carried[0] == carried[1]


def test_a_parameter_of_16_bits(device: Any, rng: np.random.Generator) -> None:
    param, grad = gradients(300, ml_dtypes.bfloat16, rng), gradients(300, np.float16, rng)
    state = [np.zeros(300, np.float32) for _ in range(2)]
    there = [device.array(each) for each in (param, grad, *state)]
    fastopt.functional.adamw(param, grad, *state, step=1, lr=0.1)
    fastopt.functional.adamw(*there, step=1, lr=0.1)
    for array, expected in zip(there, (param, grad, *state), strict=True):
        assert_same(device.host(array), expected, "")


def test_a_carried_number_stays_on_the_cpu(device: Any) -> None:
    there = [device.array(np.ones(5)) for _ in range(4)]
    assert "mu_product" in inspect.signature(fastopt.functional.nadam).parameters
    with pytest.raises(TypeError, match="mu_product: got an array on cuda:0, expected one on the CPU"):
        fastopt.functional.nadam(*there, device.array(np.float64(1.0)), step=1)


def test_a_learning_rate_is_a_number(device: Any) -> None:
    param, grad = device.array(np.ones(5)), device.array(np.ones(5))
    with pytest.raises(TypeError, match="lr: "):
        fastopt.functional.sgd(param, grad, step=1, lr=device.array(np.float64(0.1)))
    assert device.host(param).tolist() == [1.0] * 5
