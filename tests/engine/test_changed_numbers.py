"""Hyperparameters that change between steps: each way to change one has the same bits, and the same checks, as `group.update`."""

from __future__ import annotations

import gc
import os
import threading
import weakref
from typing import Any

import numpy as np
import pytest

import fastopt
from fastopt.rules import RULES, Rule
from tests.support.arrays import Array, gradients
from tests.support.cases import arguments_with_state
from tests.support.comparing import assert_same_bits
from tests.support.processes import run_python

STEPS = 6
ALL_RULES = pytest.mark.parametrize("name", RULES)
NUMBERS = [(name, row[0], row[2], row[3]) for name, rule in RULES.items() for row in rule.numbers]


def value_of(count: int, low: float, step: int) -> Any:
    """A number, or a tuple of them, in a range that begins at `low`."""
    numbers = tuple(low + 0.1 + 0.05 * ((3 * step + i) % 7) for i in range(count))
    return numbers if count > 1 else numbers[0]


def optimizer_of(name: str, **more: Any) -> tuple[Any, Array]:
    param = np.linspace(-1, 1, 33, dtype=np.float32)
    return getattr(fastopt, name)(param, **{**arguments_with_state(name), **more}), param


def arrays_of(optimizer: Any, param: Array) -> list[Array]:
    return [param, *(array for key, array in optimizer.state[0].items() if key in optimizer.groups[0].slots)]


@ALL_RULES
def test_every_plain_number_may_be_set_in_the_extension(name: str) -> None:
    rule: Rule = RULES[name]
    plain = {h.name for h in rule.arguments if not h.choices and not h.optional and h.name not in rule.frozen}
    assert {row[0] for row in rule.numbers} == plain


@pytest.mark.parametrize(("name", "key", "count", "low"), NUMBERS)
def test_a_number_that_is_set_has_the_bits_of_an_update(
    name: str, key: str, count: int, low: float, rng: np.random.Generator
) -> None:
    (one, a), (other, b) = optimizer_of(name), optimizer_of(name)
    for step in range(STEPS):
        grad, value = gradients(33, np.float32, rng), value_of(count, low, step)
        if key == "dampening" and other.groups[0]["nesterov"]:
            value = 0.0  # it has no other
        one.groups[0][key] = list(value) if count > 1 and step % 2 else value
        other.groups[0].update({key: value})
        one.step(grad)
        other.step(grad)
        assert dict(one.groups[0])[key] == dict(other.groups[0])[key]
        assert type(one.groups[0][key]) is type(other.groups[0][key])
        assert_same_bits(arrays_of(one, a), arrays_of(other, b), (key, step))


@pytest.mark.parametrize(
    "values", [[0.1, 1, np.float64(0.3), np.float32(0.25), 0, 2.0**-130, 0.5]], ids=["numbers of several types"]
)
def test_lr_takes_numbers_of_every_type(values: list[Any]) -> None:
    one, _ = optimizer_of("SGD", momentum=0.0)
    group = one.groups[0]
    for value in values:
        for assign in (lambda v: setattr(one, "lr", v), lambda v: group.__setitem__("lr", v)):
            group["lr"] = 0.7
            before = group["params"][0].copy()
            assign(value)
            assert (type(group["lr"]), group["lr"]) == (float, float(value))
            one.step(np.ones(33, np.float32))
            assert_same_bits([group["params"][0]], [before - np.float32(value)])


BAD = [True, "0.1", None, np.nan, np.inf, -1.0, -1e-300, 1e39, 10**400, [0.1], np.ones(1)]


@pytest.mark.parametrize("value", BAD, ids=repr)
@pytest.mark.parametrize("key", ["lr", "weight_decay", "eps"])
def test_bad_numbers_have_the_words_of_an_update(key: str, value: Any) -> None:
    one, _ = optimizer_of("AdamW")
    before = dict(one.groups[0])
    with pytest.raises((TypeError, ValueError)) as expected:
        one.groups[0].update({key: value})
    with pytest.raises(expected.type) as error:
        one.groups[0][key] = value
    assert str(error.value) == str(expected.value)
    if key == "lr":
        with pytest.raises(expected.type) as error:
            one.lr = value
        assert str(error.value) == str(expected.value)
    assert dict(one.groups[0]) == before


@pytest.mark.parametrize("betas", [(0.9,), (0.9, 1.0), (0.9, True), "ab", (0.9, np.nan), [0.9, 0.1, 0.2], 0.5], ids=repr)
def test_bad_pairs_have_the_words_of_an_update(betas: Any) -> None:
    one, _ = optimizer_of("Adam")
    with pytest.raises((TypeError, ValueError)) as expected:
        one.groups[0].update(betas=betas)
    with pytest.raises(expected.type) as error:
        one.groups[0]["betas"] = betas
    assert str(error.value) == str(expected.value)
    assert one.groups[0]["betas"] == (0.9, 0.999)


def test_a_number_that_float32_makes_0_is_refused_for_it_alone() -> None:
    params = [{"params": np.ones(2, np.float64)}, {"params": np.ones(2, np.float32)}]
    one = fastopt.AdamW(params, weight_decay=0.1)
    one.groups[0]["weight_decay"] = 1e-50
    with pytest.raises(ValueError, match=r"weight_decay: got 1e-50, which is 0 in float32"):
        one.groups[1]["weight_decay"] = 1e-50
    with pytest.raises(ValueError, match=r"lr: got 1e\+40, which is inf in float32"):
        one.lr = 1e40
    assert [dict(group)["weight_decay"] for group in one.groups] == [1e-50, 0.1]
    assert one.lr == 1e-3


def test_a_momentum_of_0_that_comes_or_goes_is_checked_against_the_state() -> None:
    one, _ = optimizer_of("SGD", momentum=0.9, lr_in_momentum=False)
    group = one.groups[0]
    group["nesterov"] = False
    for momentum in (0.8, 0.0, 0.7):
        group["momentum"] = momentum
        assert group["momentum"] == momentum
    group["nesterov"] = True
    with pytest.raises(ValueError, match="nesterov=True needs momentum > 0"):
        group["momentum"] = 0.0
    with pytest.raises(ValueError, match="nesterov=True needs momentum > 0 and dampening = 0"):
        group["dampening"] = 0.5
    plain = fastopt.SGD(np.ones(3), momentum=0.0)
    with pytest.raises(ValueError, match="momentum_buffer"):
        plain.groups[0]["momentum"] = 0.9
    assert (group["momentum"], group["dampening"], plain.groups[0]["momentum"]) == (0.7, 0.0, 0.0)


def test_what_only_first_values_use_cannot_be_set() -> None:
    one = fastopt.Adagrad(np.ones(3))
    with pytest.raises(ValueError, match="initial_accumulator_value: it acts when the optimizer is built"):
        one.groups[0]["initial_accumulator_value"] = 0.5


def test_values_cannot_be_deleted() -> None:
    one = fastopt.SGD(np.ones(3))
    with pytest.raises(TypeError, match="lr: a group's hyperparameters cannot be deleted"):
        del one.groups[0]["lr"]


@pytest.mark.parametrize("kind", [float, int, np.float64, np.float32, np.array, lambda rate: np.array([rate])])
def test_a_schedule_may_say_numbers_of_every_type(kind: Any) -> None:
    param, expected = np.zeros(5, np.float32), np.zeros(5, np.float32)
    one = fastopt.SGD(param, lr=lambda t: kind(t + 1.0))
    for step in range(4):
        one.step(np.ones(5, np.float32))
        expected -= np.float32(step + 1)
        assert one.groups[0]["lr"] == step + 1
        assert type(one.groups[0]["lr"]) is float
    assert_same_bits([param], [expected])


@pytest.mark.parametrize("rate", [-1.0, np.nan, np.inf, True, "fast", None, np.ones(2)], ids=repr)
def test_a_schedule_that_says_no_rate_is_refused_before_the_step(rate: Any) -> None:
    param = np.zeros(5)
    one = fastopt.SGD(param, lr=lambda t: rate if t else 0.5)
    one.step(np.ones(5))
    with pytest.raises((TypeError, ValueError), match="lr: got"):
        one.step(np.ones(5))
    assert (one.lr, one.steps, param[0]) == (0.5, 1, -0.5)


def test_a_schedule_may_say_what_float32_makes_0() -> None:
    param = np.ones(3, np.float32)
    one = fastopt.SGD(param, lr=lambda t: 1e-60)
    one.step(np.ones(3, np.float32))
    assert (param == 1).all()
    assert one.lr == 1e-60


def test_a_number_in_place_of_a_schedule_ends_it() -> None:
    for assign in (lambda o: setattr(o, "lr", 0.25), lambda o: o.groups[0].__setitem__("lr", 0.25)):
        param = np.zeros(3)
        one = fastopt.SGD(param, lr=lambda t: 1.0)
        one.step(np.ones(3))
        assign(one)
        one.step(np.ones(3))
        assert (one.lr, param[0], one.groups[0].schedule) == (0.25, -1.25, None)


def test_plan_and_group_agree_while_threads_change_both() -> None:
    """SGD's step of gradients of 1 is lr itself: after all threads are done it is the group's."""
    param, grad = np.zeros(4), np.ones(4)
    one = fastopt.SGD(param, lr=0.5)
    group = one.groups[0]
    start = threading.Barrier(4)

    def set_plainly() -> None:
        start.wait()
        for i in range(50):
            group["lr"] = 1.0 + i

    def update() -> None:
        start.wait()
        for i in range(20):
            group.update(weight_decay=0.0, lr=100.0 + i)

    def schedule() -> None:
        start.wait()
        for i in range(10):
            one.lr = lambda t, i=i: 200.0 + i
            one.lr = 300.0 + i

    def step() -> None:
        start.wait()
        for _ in range(50):
            one.step(grad)

    for _ in range(30):
        threads = [threading.Thread(target=target) for target in (set_plainly, update, schedule, step)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert group.schedule is None
        param[...] = 0
        one.step(grad)
        assert param[0] == -group["lr"]


FORKS = """
import os, threading
import numpy as np
import fastopt
param = np.zeros(3)
one = fastopt.SGD(param, lr=0.5)
inside, done = threading.Event(), threading.Event()

def schedule(_):
    inside.set()
    done.wait(60)
    return 0.125

thread = threading.Thread(target=lambda: one.groups[0].update(lr=schedule))
thread.start()
inside.wait(60)
child = os.fork()
if child == 0:
    one.groups[0]["lr"] = 0.25
    one.lr = 2.0
    one.step(np.ones(3))
    os._exit(0 if param[0] == -2.0 else 1)
done.set()
thread.join()
print(os.waitpid(child, 0)[1], one.lr)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows has no fork")
def test_a_child_sets_numbers_of_a_group_that_a_thread_of_the_parent_was_changing() -> None:
    """The child has no thread that would let go of the group's lock."""
    done = run_python(FORKS)
    assert done.stdout.split() == ["0", "0.125"], done.stderr


def test_an_optimizer_in_its_own_schedule_is_freed() -> None:
    one = fastopt.SGD(np.ones(3))
    one.lr = lambda t, own=one: 0.1 * len(own.groups)
    one.step(np.ones(3))
    gone = weakref.ref(one)
    del one
    gc.collect()
    assert gone() is None
