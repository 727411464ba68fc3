"""Steps in parts over arrays on a GPU."""

from __future__ import annotations

import itertools
import re
from typing import Any

import numpy as np
import pytest

from tests.support.arrays import Array, gradients
from tests.support.devices import Both, Claim, assert_same

LENGTHS = (3000, 257, 0)
STORAGE: dict[str, dict[str, Any]] = {"plain": {}, "8bit": {"state_dtype": "8bit"}}


def both_of(device: Any, rng: np.random.Generator, rule: str = "NAdam", **arguments: Any) -> Both:
    return Both(device, rule, [gradients(n, np.float32, rng) for n in LENGTHS], lr=0.1, **arguments)


@pytest.mark.parametrize("storage", STORAGE)
def test_parts_are_the_step(device: Any, storage: str, rng: np.random.Generator) -> None:
    """In any order; the gradient whole, or of the part alone at any place."""
    both = both_of(device, rng, **STORAGE[storage], ema_decay=0.9, clip_value=1.5)
    cuts = {"plain": (0, 1, 511, 512, 1777, 3000), "8bit": (0, 256, 1024, 1280, 2816, 3000)}[storage]
    parts = list(itertools.pairwise(cuts))
    for t in range(3):
        first, second, empty = (gradients(n, np.float32, rng) for n in LENGTHS)
        whole = device.array(first, 1)
        second_there = device.array(second)
        order = rng.permutation(len(parts))
        for k, number in enumerate(order):
            begin, end = parts[number]
            if number % 2:
                both.gpu.step_part(0, whole, begin, end, grad_scale=0.5)
            else:
                both.gpu.step_part(0, device.array(first[begin:end], int(number)), begin, end, grad_scale=0.5)
            if k == 1:
                both.gpu.step_part(1, second_there, zero_grad=True, grad_scale=0.5)
                assert not device.host(second_there).any()
        both.cpu.step([first, second, empty], grad_scale=0.5)
        both.assert_equal(t)
    whole_step = [gradients(n, np.float32, rng) for n in LENGTHS]
    both.step(whole_step, "a whole one after it")


def test_tensors_without_a_part(device: Any, rng: np.random.Generator) -> None:
    both = both_of(device, rng)
    grad = gradients(257, np.float32, rng)
    both.gpu.step_part(1, device.array(grad))
    both.gpu.end_step()
    both.cpu.step_part(1, grad)
    both.cpu.end_step()
    both.assert_equal()
    assert [entry["step"] for entry in both.gpu.state] == [0, 1, 1]
    both.step([gradients(n, np.float32, rng) for n in LENGTHS])


def test_parts_after_steps_that_the_device_decided_on(device: Any, rng: np.random.Generator) -> None:
    both = both_of(device, rng)
    spoiled = [gradients(n, np.float32, rng) for n in LENGTHS]
    spoiled[1][7] = np.nan
    both.step(spoiled, skip_nonfinite=True)
    grads = [gradients(n, np.float32, rng) for n in LENGTHS]
    for i, grad in enumerate(grads):
        both.cpu.step_part(i, grad)
        both.gpu.step_part(i, device.array(grad))
    both.assert_equal()
    assert (both.gpu.steps, both.gpu.skipped_steps) == (1, 1)


def test_a_two_dimensional_tensor_and_a_name(device: Any, rng: np.random.Generator) -> None:
    params: dict[str, Array] = {"a": gradients((20, 30), np.float64, rng), "b": gradients(5, np.float64, rng)}
    both = Both(device, "Lion", params)
    grads = {key: gradients(param.shape, np.float32, rng) for key, param in params.items()}
    both.cpu.step(grads)
    both.gpu.step_part("b", device.array(grads["b"], 1))
    both.gpu.step_part("a", device.array(grads["a"], 3), 0, 77)
    both.gpu.step_part("a", device.array(grads["a"].reshape(-1)[77:]), 77)
    both.assert_equal()


def test_a_schedule_and_a_learning_rate_on_the_device(device: Any, rng: np.random.Generator) -> None:
    params = [gradients(n, np.float32, rng) for n in LENGTHS[:2]]
    both = Both(device, "AdamW", [{"params": params[:1], "lr": lambda step: 0.1 / (1 + step)}, {"params": params[1:], "lr": 0.3}])
    both.gpu.groups[1]["lr"] = device.array(np.float64(0.3))
    for t in range(2):
        grads = [gradients(p.shape, np.float32, rng) for p in params]
        both.cpu.step(grads)
        for i, grad in enumerate(grads):
            both.gpu.step_part(i, device.array(grad))
        both.assert_equal(t)


def test_what_is_refused_while_a_step_is_open(device: Any, rng: np.random.Generator) -> None:
    both = both_of(device, rng)
    grads = [gradients(n, np.float32, rng) for n in LENGTHS]
    there = both.placed(grads)
    for call in ("end_step", None):
        if call is None:
            both.gpu.step_part(0, there[0], 0, 100)
        with pytest.raises(ValueError, match="expected"):
            both.gpu.end_step()
    for words, refused in {
        "step: a step in parts is open": lambda: both.gpu.step(there),
        "state_dict: a step in parts is open": both.gpu.state_dict,
        "begin, end: elements 50 to 100 of params[0] have had their part": lambda: both.gpu.step_part(0, there[0], 50, 200),
    }.items():
        with pytest.raises(ValueError, match=re.escape(words)):
            refused()
    both.gpu.step_part(0, there[0], 100)
    both.gpu.step_part(1, there[1])
    both.cpu.step(grads)
    both.assert_equal()


def test_bad_gradients_of_a_part(device: Any, rng: np.random.Generator) -> None:
    """Each is refused with its words, and nothing is changed."""
    both = both_of(device, rng)
    good = gradients(3000, np.float32, rng)
    there = device.array(good)
    wide = device.array(gradients(6000, np.float32, rng))
    cases: dict[str, tuple[Any, Any]] = {
        "grad: got shape (2999,), expected (3000,) as params[0] has, or (100,) of the part": (device.array(good[1:]), ValueError),
        "grad: got dtype float64, expected": (device.array(good.astype(np.float64)), TypeError),
        "grad: got an array on the CPU, expected one on cuda:0": (good, ValueError),
        "grad: got an array on the CPU, expected one on cuda:0 as params": (good[:100], ValueError),
        "grad: got strides (8,)": (Claim(wide, shape=(100,), strides=(8,)), ValueError),
        "grad: got the same memory as params[0]": (both.params[0], ValueError),
        "grad: got a read-only array": (Claim(there, data=(there.__cuda_array_interface__["data"][0], True)), ValueError),
        "grad: got None": (None, TypeError),
    }
    before = both.gpu.state_dict()["state"][0]
    for words, (grad, error) in cases.items():
        with pytest.raises(error, match=re.escape(words)):
            both.gpu.step_part(0, grad, 0, 100, zero_grad=True)
    for entry, value in before.items():
        assert_same(np.asarray(both.gpu.state_dict()["state"][0][entry]), np.asarray(value), entry)
    both.assert_equal("nothing changed")
    both.gpu.options.update(max_norm=1.0)
    with pytest.raises(ValueError, match=r"max_norm: got 1\.0, which needs all gradients at once"):
        both.gpu.step_part(0, there)


def test_parts_of_blocks(device: Any, rng: np.random.Generator) -> None:
    both = both_of(device, rng, state_dtype="8bit")
    there = device.array(gradients(3000, np.float32, rng))
    with pytest.raises(ValueError, match=r"begin, end: got 0, 100, expected multiples of 256 or the end"):
        both.gpu.step_part(0, there, 0, 100)
    both.gpu.step_part(0, there, 0, 0)
    both.assert_equal()
