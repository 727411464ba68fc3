"""The stages that hold for a whole step: options as a mapping, averages, traffic, skipped steps, snapshots."""

from __future__ import annotations

import copy
import math
from fractions import Fraction
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import fastopt
from fastopt.rules import OPTIONS, RULES
from tests.support.arrays import gradients
from tests.support.cases import DTYPES, arguments_with_state
from tests.support.comparing import assert_same_bits, digest
from tests.support.scenes import Whole

pytestmark = pytest.mark.kernel

ALL_RULES = pytest.mark.parametrize("rule", RULES)
NAMES = [option.name for option in OPTIONS]


def test_options_are_a_mapping() -> None:
    optimizer = fastopt.SGD(np.ones(2), max_norm=2)
    assert list(optimizer.options) == NAMES
    assert len(optimizer.options) == len(NAMES)
    assert dict(optimizer.options) == {option.name: option.default for option in OPTIONS} | {"max_norm": 2.0}
    assert repr(optimizer.options).startswith("Options(grad_scale=1.0, ")
    optimizer.options["clip_value"] = Fraction(1, 2)
    assert optimizer.options["clip_value"] == 0.5
    optimizer.options.update(clip_value=None, skip_nonfinite=True)
    assert (optimizer.options["clip_value"], optimizer.options["skip_nonfinite"]) == (None, True)


def test_averages_that_rest_stay_as_they_are() -> None:
    param = np.zeros(3)
    optimizer = fastopt.SGD(param, lr=1.0, ema_decay=0.5)
    average = optimizer.ema_params
    optimizer.step(np.ones(3))
    optimizer.step(np.ones(3))
    assert average.tolist() == [-1.5] * 3
    optimizer.options["ema_decay"] = None
    optimizer.step(np.ones(3))
    assert optimizer.ema_params is average
    assert average.tolist() == [-1.5] * 3, "no decay, no average"
    optimizer.options["ema_decay"] = 0.5
    optimizer.step(np.ones(3))
    assert optimizer.ema_params.tolist() == [(-1.5 - 4) / 2] * 3
    optimizer.step(np.ones(3), ema_decay=0)
    assert optimizer.ema_params.tolist() == param.tolist() == [-5.0] * 3


def test_averages_come_as_the_parameters_did() -> None:
    a, b = np.zeros((2, 3)), np.zeros(4)

    def averages(params: Any) -> Any:
        optimizer = fastopt.SGD(params, ema_decay=0.5)
        optimizer.step([np.ones((2, 3)), np.ones(4)] if isinstance(params, (list, tuple, dict)) else np.ones(params.shape))
        return optimizer.ema_params

    for params in ([a, b], (a, b), [{"params": a}, {"params": [b]}], [{"params": {"a": a}}, {"params": {"b": b}}]):
        found = averages(params)
        assert isinstance(found, list)
        assert_same_bits(found, [a, b])
    found = averages({"a": a, "b": b})
    assert list(found) == ["a", "b"]
    assert_same_bits(list(found.values()), [a, b])
    assert_same_bits([averages(a)], [a])
    assert_same_bits(fastopt.SGD([b], ema_decay=0.5).ema_params, [b], "before the first step")
    flat = fastopt.flatten([b])
    assert fastopt.SGD(flat, ema_decay=0.5).ema_params.shape == flat.data.shape


@ALL_RULES
@pytest.mark.parametrize("dtype", DTYPES)
def test_traffic_with_every_option(rule: str, dtype: Any) -> None:
    params = [np.zeros(100, dtype), np.zeros(10, dtype)]
    size, words = 110 * np.dtype(dtype).itemsize, arguments_with_state(rule)

    def traffic(**options: Any) -> dict[str, tuple[int, int]]:
        table = getattr(fastopt, rule)(params, **words, **options).traffic()
        return {name: (row["read"], row["write"]) for name, row in table.items()}

    bare, slots = traffic(), [slot.name for slot in RULES[rule].slots]
    total = size * (2 + len(slots)), size * (1 + len(slots))
    assert bare == {"params": (size, size), "grads": (size, 0), **dict.fromkeys(slots, (size, size)), "total": total}

    def more(read: int, write: int, **rows: tuple[int, int]) -> dict[str, tuple[int, int]]:
        return bare | rows | {"total": (total[0] + read, total[1] + write)}

    assert traffic(grad_scale=2.0, clip_value=1.0, norm_eps=1e-6) == bare
    for sweep in ({"max_norm": 1.0}, {"skip_nonfinite": True}, {"max_norm": 1.0, "skip_nonfinite": True}):
        assert traffic(**sweep) == more(size, 0, grads=(2 * size, 0))
    assert traffic(zero_grad=True) == more(0, size, grads=(size, size))
    assert traffic(ema_decay=0.9) == more(size, size, ema_params=(size, size))
    assert traffic(copy_to=[np.zeros(100, np.float16), None]) == more(0, 200, copy_to=(0, 200))
    every = traffic(max_norm=1.0, zero_grad=True, ema_decay=0.9, copy_to=[np.zeros(100, ml_dtypes.bfloat16), np.zeros(10)])
    assert every == more(2 * size, 2 * size + 280, grads=(2 * size, size), ema_params=(size, size), copy_to=(0, 280))


@pytest.mark.parametrize("spoil", [np.inf, np.nan])
def test_a_skipped_step_zeroes_gradients_only_where_asked(spoil: float) -> None:
    for zero in (False, True):
        scene = Whole("NAdam", skip_nonfinite=True)
        scene.grads[1][2] = spoil
        before, grads = scene.digest()[1], digest(*scene.grads)
        state = digest(*scene.params, *(value for entry in scene.optimizer.state for value in entry.values()))
        scene.optimizer.step(scene.grads, zero_grad=zero)
        assert scene.digest()[1] == before
        assert digest(*scene.params, *(value for entry in scene.optimizer.state for value in entry.values())) == state
        assert (scene.optimizer.steps, scene.optimizer.skipped_steps) == (1, 1)
        assert np.any(scene.grads) != zero
        assert zero or digest(*scene.grads) == grads
        scene.optimizer.step([scene.grads[0], None, None])
        assert (scene.optimizer.steps, scene.optimizer.skipped_steps) == (2, 1)


def test_missing_gradients_have_no_part_in_the_norm() -> None:
    params = [np.zeros(2), np.zeros(2), np.zeros(1)]
    optimizer = fastopt.SGD(params, lr=1.0, max_norm=1.0, skip_nonfinite=True)
    optimizer.step([np.full(2, 6.0), np.full(2, 8.0), None])
    assert optimizer.grad_norm == pytest.approx(math.sqrt(200))
    optimizer.step([None, np.array([3.0, 4.0]), None])
    assert optimizer.grad_norm == 5.0
    assert params[1] == pytest.approx([-8 / math.sqrt(200) - 0.6, -8 / math.sqrt(200) - 0.8])
    optimizer.step([None] * 3)
    assert (optimizer.grad_norm, optimizer.steps, optimizer.skipped_steps) == (0.0, 3, 0)
    assert params[2].tolist() == [0.0]
    optimizer.step([None, None, np.array([np.nan])], max_norm=0.5)
    assert (optimizer.steps, optimizer.skipped_steps) == (3, 1)


@ALL_RULES
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_snapshot_with_stages_continues_bit_for_bit(rule: str, dtype: Any, rng: np.random.Generator) -> None:
    params = {name: gradients(n, dtype, rng) for name, n in (("a", 20), ("b", 7))}
    words = arguments_with_state(rule)
    optimizer = getattr(fastopt, rule)(params, **words, ema_decay=0.9, max_norm=2.0, norm_eps=0.5, skip_nonfinite=True)
    for last in (1.0, np.nan, 2.0):
        optimizer.step({"a": gradients(20, dtype, rng), "b": np.full(7, last, dtype)})
    optimizer.options.update(clip_value=0.5, grad_scale=2.0, ema_decay=0.5)
    snapshot, copies = copy.deepcopy(optimizer.state_dict()), {name: param.copy() for name, param in reversed(params.items())}
    again = getattr(fastopt, rule)(copies, **words, ema_decay=0.1)
    again.load_state_dict(snapshot)
    assert dict(again.options) == dict(optimizer.options)
    for spoil in (1.0, np.inf, 1.0):
        grads = {name: gradients(param.size, dtype, rng, spoil) for name, param in params.items()}
        for each in (optimizer, again):
            each.step(grads)
    assert (again.steps, again.skipped_steps) == (optimizer.steps, optimizer.skipped_steps) == (4, 2)
    for name, param in params.items():
        assert_same_bits([copies[name], again.ema_params[name]], [param, optimizer.ema_params[name]])
        slots = [slot for slot in RULES[rule].slots if slot.name in optimizer.state[name]]
        assert_same_bits(*([each.state[name][slot.name] for slot in slots] for each in (again, optimizer)))
