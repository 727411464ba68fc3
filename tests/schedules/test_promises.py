"""Schedules by their own promises: warmup, boundaries, joins, errors, and as `lr=` of every optimizer."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import math
import pickle
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import fastopt
from fastopt import schedules
from fastopt.rules import RULES
from tests.support.arrays import Array

EXAMPLES: dict[str, Callable[..., Any]] = {
    "constant": lambda **k: schedules.constant(0.3, **k),
    "exponential": lambda **k: schedules.exponential(0.3, 0.9, 7, **k),
    "staircase": lambda **k: schedules.exponential(0.3, 0.9, 7, staircase=True, **k),
    "step": lambda **k: schedules.step(0.3, 6, 0.5, **k),
    "multi_step": lambda **k: schedules.multi_step(0.3, [31, 47], 0.5, **k),
    "piecewise": lambda **k: schedules.piecewise([31, 47], [0.3, 0.1, 0.2], **k),
    "polynomial": lambda **k: schedules.polynomial(0.3, 60, 0.01, 2.0, **k),
    "linear": lambda **k: schedules.linear(0.3, 60, 0.01, **k),
    "cosine": lambda **k: schedules.cosine(0.3, 60, 0.01, **k),
    "cosine_restarts": lambda **k: schedules.cosine_restarts(0.3, 13, 2.0, 0.8, 0.01, **k),
    "inverse_sqrt": lambda **k: schedules.inverse_sqrt(0.3, 9, **k),
    "inverse_time": lambda **k: schedules.inverse_time(0.3, 0.5, 4, **k),
    "warmup_stable_decay": lambda **k: schedules.warmup_stable_decay(0.3, 60, 11, 0.01, **k),
    "one_cycle": lambda **k: schedules.one_cycle(0.3, 60, **k),
}
WARMED = {name: make for name, make in EXAMPLES.items() if name != "one_cycle"}
"""one_cycle rises by itself."""


def every() -> dict[str, Any]:
    made = {name: make() for name, make in EXAMPLES.items()}
    return made | {"join": schedules.join([made["linear"], made["cosine"]], [20])}


def test_every_schedule_is_among_the_examples() -> None:
    assert {type(each).__name__ for each in every().values()} == set(schedules.__all__) - {"ReduceOnPlateau"}
    for name in schedules.__all__:
        assert inspect.getdoc(getattr(schedules, name))


@pytest.mark.parametrize("name", every())
def test_a_schedule_is_a_value(name: str) -> None:
    schedule = every()[name]
    for twin in (pickle.loads(pickle.dumps(schedule)), copy.deepcopy(schedule), eval(repr(schedule), vars(schedules))):
        assert twin == schedule
        assert hash(twin) == hash(schedule)
        assert [twin(i) for i in range(80)] == [schedule(i) for i in range(80)]
    with pytest.raises(dataclasses.FrozenInstanceError):
        schedule.lr = 1.0
    assert all(type(schedule(step)) is float for step in (0, 1, 59, 60, 10**9, np.int64(3), 2.5))
    with pytest.raises(ValueError, match=r"step: got -1, expected a number of completed steps from 0"):
        schedule(-1)


@pytest.mark.parametrize("name", WARMED)
@pytest.mark.parametrize("start", [0.0, 0.07, 0.5])
def test_a_warmup_rises_in_a_line_to_where_the_schedule_begins(name: str, start: float) -> None:
    schedule = WARMED[name](warmup=10, warmup_start=start)
    peak = schedule(10)
    assert peak == pytest.approx(0.3, rel=1e-15)
    assert [schedule(i) for i in range(10)] == pytest.approx([start + (peak - start) * i / 10 for i in range(10)], rel=1e-15)


@pytest.mark.parametrize(
    "name", ["constant", "exponential", "staircase", "step", "inverse_sqrt", "inverse_time", "cosine_restarts"]
)
def test_what_decays_begins_after_the_warmup(name: str) -> None:
    warm, cold = WARMED[name](warmup=10), WARMED[name]()
    assert [warm(10 + i) for i in range(100)] == [cold(i) for i in range(100)]


@pytest.mark.parametrize("name", ["multi_step", "piecewise"])
def test_milestones_count_the_warmup(name: str) -> None:
    warm, cold = WARMED[name](warmup=10), WARMED[name]()
    assert [warm(i) for i in range(10, 100)] == [cold(i) for i in range(10, 100)]


@pytest.mark.parametrize("name", ["polynomial", "linear", "cosine", "warmup_stable_decay"])
def test_the_number_of_steps_counts_the_warmup(name: str) -> None:
    for warmup in (0, 10):
        schedule = WARMED[name](warmup=warmup)
        assert schedule(59) > schedule(60) == pytest.approx(0.01, rel=1e-15)
        assert {schedule(step) for step in (60, 61, 1000)} == {schedule(60)}
        assert schedule(warmup) == pytest.approx(0.3, rel=1e-15)


def test_values_at_the_boundaries() -> None:
    assert [schedules.piecewise([3, 5], [1, 2, 3])(i) for i in range(7)] == [1, 1, 1, 2, 2, 3, 3]
    assert [schedules.multi_step(8, [1, 3], 0.5)(i) for i in range(5)] == [8, 4, 4, 2, 2]
    assert [schedules.step(8, 2, 0.5)(i) for i in range(5)] == [8, 8, 4, 4, 2]
    assert schedules.piecewise([], [0.1])(7) == 0.1
    restarts = schedules.cosine_restarts(1.0, 3, 2.0)
    assert [i for i in range(100) if restarts(i) == 1.0] == [0, 3, 9, 21, 45, 93]
    assert [i for i in range(20) if schedules.cosine_restarts(1.0, 5)(i) == 1.0] == [0, 5, 10, 15]
    assert schedules.cosine_restarts(1.0, 3, 2.0, 0.5)(21) == 0.125
    assert schedules.cosine_restarts(1.0, 1, m_mul=2.0)(5000) == math.inf
    assert schedules.inverse_sqrt(1.0, warmup=100)(400) == 0.5  # as 1/sqrt(steps)
    assert schedules.inverse_sqrt(1.0)(30_000) == 0.5
    assert schedules.inverse_time(1.0, 1.0)(3) == 0.25
    assert schedules.inverse_time(1.0, 1.0, 2, staircase=True)(3) == 0.5
    assert schedules.exponential(1.0, 2.0)(5000) == math.inf  # which the optimizer refuses
    assert schedules.exponential(1.0, 0.5)(5000) == 0.0


@pytest.mark.parametrize("t_mul", ["1.1", "1.5", "2.2", "1.25", "3", "1.01", "1.0001"])
@pytest.mark.parametrize("period", [1, 50, 100, 1000])
def test_restarts_are_on_time(period: int, t_mul: str) -> None:
    """At each whole number of steps at which a cycle begins, by exact arithmetic."""
    schedule = schedules.cosine_restarts(1.0, period, float(t_mul))
    begin, length, whole = Fraction(0), Fraction(period), 0
    for _ in range(60):
        if begin > 10**9:
            break
        if begin.denominator == 1:
            whole += 1
            assert schedule(int(begin)) == 1.0
        elif begin.denominator < 10**5:  # a restart on the way to the next step
            assert schedule(math.floor(begin)) < schedule(math.ceil(begin))
        begin += length
        length *= Fraction(t_mul)
    assert whole


def test_steps_of_other_kinds() -> None:
    decay = schedules.warmup_stable_decay(1.0, 100)
    assert decay(np.uint8(200)) == 0.0  # type: ignore[arg-type]  # which NumPy would subtract modulo 256
    assert schedules.inverse_sqrt(1.0)(np.uint8(3)) == schedules.inverse_sqrt(1.0)(3)  # type: ignore[arg-type]  # the same
    for step in (np.arange(4), "3", None, True):
        with pytest.raises(TypeError, match=r"step: got .*, expected a real number"):
            decay(step)  # type: ignore[arg-type]  # which is the point


@pytest.mark.parametrize("number", [np.float32(0.25), np.array(0.25), np.array([0.25]), torch.tensor(0.25)])
def test_a_callable_may_give_an_array_of_one_element(number: Any) -> None:
    """Takes what optax' and Keras' schedules return."""
    for lr in (lambda step: number, schedules.join([lambda step: number], []), schedules.ReduceOnPlateau(lambda step: number)):
        p = np.ones(3)
        fastopt.SGD(p, lr=lr).step(np.ones(3))
        assert np.array_equal(p, [0.75] * 3)
    with pytest.raises(TypeError, match=r"lr: got .*, expected a real number"):
        fastopt.SGD(np.ones(3), lr=lambda step: np.ones(2))


@pytest.mark.parametrize("shape", ["linear", "cosine", "1-sqrt"])
def test_the_shapes_of_a_decay(shape: Any) -> None:
    schedule = schedules.warmup_stable_decay(2.0, 100, 40, 1.0, shape, warmup=10)
    share = {"linear": 0.25, "cosine": 0.5 * (1 - math.cos(math.pi / 4)), "1-sqrt": 0.5}[shape]
    assert [schedule(i) for i in (5, 10, 60, 70, 100)] == pytest.approx([1.0, 2.0, 2.0, 2.0 - share, 1.0], rel=1e-15)
    assert schedules.warmup_stable_decay(1.0, 100)(79) == 1.0
    assert schedules.warmup_stable_decay(1.0, 100)(90) == pytest.approx(0.5)
    sudden = schedules.warmup_stable_decay(1.0, 100, 0, 0.25)
    assert [sudden(99), sudden(100)] == [1.0, 0.25]


@given(st.lists(st.integers(1, 50), min_size=1, max_size=5, unique=True).map(sorted), st.integers(0, 80))
def test_joined_schedules_count_from_their_boundaries(boundaries: list[int], step: int) -> None:
    parts = [lambda t, i=i: 100.0 * i + t for i in range(len(boundaries) + 1)]
    i = sum(boundary <= step for boundary in boundaries)
    assert schedules.join(parts, boundaries)(step) == 100.0 * i + step - ([0, *boundaries][i])


def test_one_cycle_by_steps() -> None:
    cycle = schedules.one_cycle(1.0, 100, warmup=20, three_phase=True, anneal="linear", div_factor=10, final_div_factor=10)
    assert [cycle(i) for i in (0, 10, 20, 40, 99, 200)] == pytest.approx([0.1, 0.55, 1.0, 0.1, 0.01, 0.01], rel=1e-14)
    assert max(range(100), key=cycle) == 20
    assert schedules.one_cycle(1.0, 10, warmup=0)(0) == 1.0
    assert schedules.one_cycle(1.0, 11, warmup=10)(10) == 1.0  # as torch with pct_start=1


WRONG: list[tuple[str, tuple[Any, ...], dict[str, Any], type[Exception], str]] = [
    ("constant", ("a",), {}, TypeError, r"lr: got str 'a', expected a real number"),
    ("constant", (-1.0,), {}, ValueError, r"lr: got -1.0, expected a number in \[0, inf\)"),
    ("constant", (math.nan,), {}, ValueError, r"lr: got nan"),
    ("constant", (1.0,), {"warmup": -1}, ValueError, r"warmup: got -1"),
    ("constant", (1.0,), {"warmup": 1.5}, TypeError, r"warmup: got float 1.5, expected a whole number"),
    ("constant", (1.0,), {"warmup_start": -1}, ValueError, r"warmup_start: got -1"),
    ("exponential", (1.0, 0.0), {}, ValueError, r"decay_rate: got 0.0, expected a number in \(0, inf\)"),
    ("exponential", (1.0, 0.9, 0), {}, ValueError, r"decay_steps: got 0, expected a number of steps from 1"),
    ("exponential", (1.0, 0.9, 1, 1), {}, TypeError, r"staircase: got 1, expected True or False"),
    ("step", (1.0, 0), {}, ValueError, r"step_size: got 0"),
    ("multi_step", (1.0, 3), {}, TypeError, r"milestones: got 3, expected a list or a tuple"),
    ("multi_step", (1.0, [3, 3]), {}, ValueError, r"milestones\[1\]: got 3, expected more than milestones\[0\]=3"),
    ("multi_step", (1.0, [3, 4]), {"warmup": 3}, ValueError, r"milestones\[0\]: got 3, expected more than the 3 steps of warmup"),
    ("multi_step", (1.0, [3.5]), {}, TypeError, r"milestones\[0\]: got"),
    ("piecewise", ([3], [1.0]), {}, ValueError, r"values: got 1, expected 2, one more than boundaries"),
    ("piecewise", ([3], [1.0, -1.0]), {}, ValueError, r"values\[1\]: got -1.0"),
    ("polynomial", (1.0, 10), {"warmup": 10}, ValueError, r"steps: got 10, expected more than the 10 steps of warmup"),
    ("linear", (1.0, 0), {}, ValueError, r"steps: got 0"),
    ("cosine", (1.0, 10), {"end": -0.1}, ValueError, r"end: got -0.1"),
    ("cosine", (1.0, 10), {"warmup": 11}, ValueError, r"steps: got 10"),
    ("cosine_restarts", (1.0, 10, 0.5), {}, ValueError, r"t_mul: got 0.5, expected a number in \[1, inf\)"),
    ("inverse_sqrt", (1.0, 0), {}, ValueError, r"timescale: got 0, expected a number of steps from 1, or None"),
    ("inverse_time", (1.0, -0.5), {}, ValueError, r"decay_rate: got -0.5"),
    ("warmup_stable_decay", (1.0, 10, 11), {}, ValueError, r"decay: got 11, expected at most the 10 steps after the warmup"),
    ("warmup_stable_decay", (1.0, 10), {"shape": "steep"}, ValueError, r"shape: got 'steep', expected one of 'linear'"),
    ("one_cycle", (1.0, 10, 1.5), {}, ValueError, r"pct_start: got 1.5, expected a number in \[0, 1\]"),
    ("one_cycle", (1.0, 10), {"warmup": 10}, ValueError, r"warmup: got 10, expected less than the 10 steps"),
    ("one_cycle", (1.0, 10), {"anneal": 1}, TypeError, r"anneal: got 1, expected one of 'cos', 'linear'"),
    ("join", ([1.0], []), {}, TypeError, r"schedules\[0\]: got 1.0, expected a callable"),
    ("join", (float, []), {}, TypeError, r"schedules: got .*, expected a list or a tuple"),
    ("join", ([float, float], []), {}, ValueError, r"schedules: got 2, expected 1, one more than boundaries"),
    ("join", ([float, float], [0]), {}, ValueError, r"boundaries\[0\]: got 0, expected more than"),
    ("join", ([schedules.ReduceOnPlateau(1.0)], []), {}, TypeError, r"schedules\[0\]: .*which has state"),
]


@pytest.mark.parametrize(("name", "args", "kwargs", "error", "words"), WRONG, ids=lambda value: str(value)[:30])
def test_errors(name: str, args: Any, kwargs: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        getattr(schedules, name)(*args, **kwargs)


@pytest.mark.parametrize("rule", RULES)
def test_every_optimizer_takes_every_schedule(rule: str, rng: np.random.Generator) -> None:
    for schedule in every().values():
        start = rng.standard_normal(17)
        params: list[Array] = [start.copy(), start.copy()]
        optimizer, by_hand = (getattr(fastopt, rule)(p, lr=lr) for p, lr in zip(params, (schedule, 0.0), strict=True))
        for step in range(70):
            grad = rng.standard_normal(17)
            optimizer.step(grad)
            by_hand.lr = schedule(step)
            by_hand.step(grad)
            assert optimizer.lr == schedule(step)
        assert np.array_equal(*params)


def test_a_rate_that_is_refused_changes_nothing() -> None:
    p = np.ones(3)
    optimizer = fastopt.SGD(p, lr=schedules.join([schedules.constant(0.5), schedules.exponential(1e300, 1e300)], [1]))
    optimizer.step(np.full(3, 1e-3))
    optimizer.step(np.zeros(3))
    with pytest.raises(ValueError, match="lr: got inf"):
        optimizer.step(np.ones(3))
    assert optimizer.steps == 2
    assert np.array_equal(p, [1 - 0.5e-3] * 3)
