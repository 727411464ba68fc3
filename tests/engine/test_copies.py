"""copy.copy, copy.deepcopy and pickle of every public object: it works, or it says what to do instead."""

from __future__ import annotations

import copy
import functools
import pickle
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import fastopt
from fastopt.rules import RULES
from tests.support.arrays import gradients
from tests.support.cases import arguments_with_state
from tests.support.checkpoints import everything
from tests.support.reference import Array

Copy = Callable[[Any], Any]


def pickled(value: Any) -> Any:
    return pickle.loads(pickle.dumps(value))


TWICE = pytest.mark.parametrize("twin", [copy.deepcopy, pickled], ids=["deepcopy", "pickle"])
SHAPES = ((3, 4), (), (300,))


class Training:
    """An optimizer and gradients for it, the same each time that it is made."""

    def __init__(self, rule: str = "AdamW", dtype: Any = np.float32, form: str = "list", **arguments: Any) -> None:
        rng = np.random.default_rng(8)
        self.arrays = [gradients(shape, np.float64, rng).astype(dtype) for shape in SHAPES]
        self.params: Any = {
            "list": list(self.arrays),
            "dict": dict(zip("abc", self.arrays, strict=True)),
            "groups": [{"params": self.arrays[:2]}, {"params": self.arrays[2:], "lr": 0.05}, {"params": []}],
        }[form]
        self.rng = rng
        self.optimizer = getattr(fastopt, rule)(self.params, **{"lr": 0.1, **arguments_with_state(rule), **arguments})

    def step(self, optimizer: Any, seed: int) -> None:
        rng = np.random.default_rng(seed)
        optimizer.step([gradients(shape, np.float32, rng) for shape in SHAPES])


@TWICE
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("form", ["list", "dict", "groups"])
def test_an_optimizer_and_its_twin_step_to_the_same_bits(rule: str, form: str, twin: Copy) -> None:
    training = Training(rule, form=form, max_norm=1.0, ema_decay=0.5)
    optimizer = training.optimizer
    for seed in (1, 2):
        training.step(optimizer, seed)
    optimizer.groups[-1]["lr"] = 0.3
    optimizer.options["max_norm"] = 2.0
    other = twin(optimizer)
    assert type(other) is type(optimizer)
    assert everything(other) == everything(optimizer)
    before = everything(other)
    training.step(optimizer, 3)
    assert everything(other) == before, "they share nothing"
    training.step(other, 3)
    assert everything(other) == everything(optimizer)
    assert repr(other) == repr(optimizer)


@TWICE
@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize("master", [None, "24bit", "32bit", "float32", "stochastic"])
def test_formats(dtype: Any, master: Any, twin: Copy) -> None:
    training = Training(dtype=dtype, state_dtype="8bit", master=master, seed=5)
    training.step(training.optimizer, 1)
    other = twin(training.optimizer)
    for optimizer in (training.optimizer, other):
        training.step(optimizer, 2)
    assert everything(other) == everything(training.optimizer)


@TWICE
def test_parameters_that_are_copied_in_the_same_call(twin: Copy) -> None:
    """A model and its optimizer stay together."""
    for model_first in (True, False):
        training = Training(form="dict", copy_to={"a": np.zeros((3, 4), np.float16), "b": None, "c": None})
        pair = (training.params, training.optimizer) if model_first else (training.optimizer, training.params)
        params, optimizer = sorted(twin(pair), key=lambda each: not isinstance(each, dict))
        assert all(each is params[name] for name, each in zip("abc", optimizer.groups[0]["params"], strict=True))
        before = params["a"].copy()
        training.step(optimizer, 1)
        assert (params["a"] != before).all()
        assert (training.params["a"] == before).all()


@TWICE
def test_bound_gradients_and_copies(twin: Copy) -> None:
    p, g, c = np.ones(3), np.full(3, 0.5), np.zeros(3, np.float32)
    optimizer, grad, target = twin((fastopt.SGD(p, lr=1.0, grads=g, copy_to=c), g, c))
    grad[:] = 0.25
    optimizer.step()
    assert optimizer.groups[0]["params"][0].tolist() == target.tolist() == [0.75] * 3
    assert p.tolist() == [1.0] * 3
    assert c.tolist() == [0.0] * 3


@TWICE
def test_a_flat_buffer_with_its_optimizer(twin: Copy) -> None:
    flat = fastopt.flatten({"w": np.ones((2, 3)), "b": np.ones(4)})
    grads = flat.zeros_like()
    grads.data[:] = 0.5
    new, new_grads, optimizer = twin((flat, grads, fastopt.SGD(flat, lr=1.0, grads=grads)))
    new_grads.views["b"][:] = 0.25
    optimizer.step()
    assert new.views["w"].tolist() == [[0.5] * 3] * 2
    assert new.views["b"].tolist() == [0.75] * 4
    assert (flat.views["w"] == 1).all()


@pytest.mark.parametrize("given", ["data", "views"])
def test_a_flat_buffer_whose_arrays_an_optimizer_has(given: str) -> None:
    flat = fastopt.flatten([np.ones((2, 3)), np.ones(4)])
    optimizer = fastopt.SGD(getattr(flat, given), lr=1.0)
    new, twin = copy.deepcopy((flat, optimizer))
    twin.step(np.full(flat.data.shape, 0.5) if given == "data" else [np.full((2, 3), 0.5), np.full(4, 0.5)])
    assert new.views[0].tolist() == [[0.5] * 3] * 2
    assert (flat.views[0] == 1).all()


@TWICE
def test_schedules(twin: Copy) -> None:
    plateau = fastopt.schedules.ReduceOnPlateau(0.1, patience=0)
    groups = [{"params": [np.ones(2)], "lr": plateau}, {"params": [np.ones(2)], "lr": fastopt.schedules.cosine(0.1, 9)}]
    optimizer = fastopt.SGD(groups)
    optimizer.groups[1]["lr"] = fastopt.schedules.exponential(0.5, 0.5)
    other, own = twin((optimizer, plateau))
    assert other.groups[0].schedule is own
    for metric in (1.0, 2.0, 3.0):
        own.step(metric)
        other.step([np.ones(2), np.ones(2)])
    assert [group["lr"] for group in other.groups] == [pytest.approx(0.001), 0.125]
    assert plateau.best is None
    assert optimizer.steps == 0


@TWICE
def test_state_that_later_values_do_without(twin: Copy) -> None:
    """An optimizer keeps the state that it was built with: its twin has it too."""
    optimizer = fastopt.Adam(np.ones(3), amsgrad=True, ema_decay=0.5)
    optimizer.step(np.ones(3))
    optimizer.groups[0]["amsgrad"] = False
    optimizer.options["ema_decay"] = None
    other = twin(optimizer)
    for each in (optimizer, other):
        each.groups[0]["amsgrad"] = True
        each.options["ema_decay"] = 0.25
        each.step(np.full(3, 0.5))
    assert everything(other) == everything(optimizer)


@TWICE
def test_lists_that_the_caller_changes_afterwards(twin: Copy) -> None:
    params = [np.ones(2), np.ones(3)]
    optimizer = fastopt.SGD(params)
    params.clear()
    assert [param.shape for param in twin(optimizer).groups[0]["params"]] == [(2,), (3,)]


class Own(fastopt.SGD):  # type: ignore[misc]  # the classes are made from the table
    def __init__(self, arrays: Any, note: Any) -> None:
        super().__init__(arrays, lr=0.5, momentum=0.9)
        self._note = note


@TWICE
def test_a_class_derived_from_a_rules(twin: Copy) -> None:
    optimizer = Own([np.ones(2)], {"a": [1]})
    optimizer.step([np.ones(2)])
    other = twin(optimizer)
    assert type(other) is Own
    assert other._note == {"a": [1]}
    assert other._note is not optimizer._note
    assert everything(other) == everything(optimizer)


def test_a_shallow_copy_says_what_to_do_instead() -> None:
    optimizer = fastopt.AdamW(np.ones(3))
    words = r"^AdamW: copy.copy would make a second optimizer over the same .*; expected copy.deepcopy.*state_dict\(\)"
    with pytest.raises(TypeError, match=words):
        copy.copy(optimizer)


def test_a_step_in_parts() -> None:
    optimizer = fastopt.SGD([np.ones(2), np.ones(2)])
    optimizer.step_part(0, np.ones(2))
    for twin, name in ((copy.deepcopy, "deepcopy"), (pickle.dumps, "pickle")):
        with pytest.raises(ValueError, match=f"^{name}: a step in parts is open"):
            twin(optimizer)


@pytest.mark.parametrize("twin", [copy.copy, copy.deepcopy, pickled], ids=["copy", "deepcopy", "pickle"])
def test_copies_of_groups_and_options_are_dicts(twin: Copy) -> None:
    """A copy that wrote through would change the real rate; one that did not would only look as if it did."""
    optimizer = fastopt.AdamW(np.ones(3), lr=0.5)
    for live in (optimizer.groups[0], optimizer.options):
        found = twin(live)
        assert type(found) is dict
        assert found.keys() == dict(live).keys()
    twin(optimizer.groups[0])["lr"] = 9.0
    assert optimizer.lr == optimizer.groups[0]["lr"] == 0.5


@pytest.mark.parametrize("twin", [copy.deepcopy, pickled], ids=["deepcopy", "pickle"])
@pytest.mark.parametrize("state_dtype", [None, "bfloat16", "8bit"])
@pytest.mark.parametrize("form", ["list", "dict", "groups"])
def test_copies_of_state_are_dicts_of_copied_arrays(twin: Copy, state_dtype: Any, form: str) -> None:
    training = Training(form=form, state_dtype=state_dtype)
    training.step(training.optimizer, 1)
    state = training.optimizer.state
    whole = twin(state)
    assert type(whole) is (dict if form == "dict" else list)
    for key, entry in whole.items() if form == "dict" else enumerate(whole):
        for found in (entry, twin(state[key])):
            assert type(found) is dict
            assert found["step"] == 1
            assert_copied(found["exp_avg"], state[key]["exp_avg"])
    assert copy.copy(state[1])["exp_avg"] is state[1]["exp_avg"], "live, as the original's"


def assert_copied(found: Any, live: Any) -> None:
    values = np.asarray(live).copy()
    assert np.array_equal(np.asarray(found), values)
    found[...] = values + 1
    assert np.array_equal(np.asarray(live), values)


@pytest.mark.parametrize("twin", [copy.copy, copy.deepcopy, pickled], ids=["copy", "deepcopy", "pickle"])
@pytest.mark.parametrize(
    ("dtype", "arguments", "name"),
    [
        (np.float32, {"state_dtype": "8bit"}, "exp_avg_sq"),
        (np.float32, {"state_dtype": "bfloat16"}, "exp_avg"),
        (np.float16, {"master": "24bit"}, "master"),
        (ml_dtypes.bfloat16, {"master": "32bit"}, "master"),
    ],
    ids=str,
)
def test_stored_arrays(twin: Copy, dtype: Any, arguments: Any, name: str) -> None:
    training = Training(dtype=dtype, **arguments)
    training.step(training.optimizer, 1)
    live = training.optimizer.state[0][name]
    found = twin(live)
    raw: dict[str, Array] = copy.deepcopy(live.raw)
    assert (type(found), found.format, found.shape, repr(found)) == (type(live), live.format, live.shape, repr(live))
    assert np.array_equal(np.asarray(found), np.asarray(live))
    found.fill(0.25)
    assert (np.asarray(found) == 0.25).all()
    assert all(np.array_equal(live.raw[key], raw[key]) for key in raw)
    assert type(twin(live.raw)) is dict


@pytest.mark.parametrize("twin", [copy.copy, copy.deepcopy, pickled], ids=["copy", "deepcopy", "pickle"])
@pytest.mark.parametrize("rule", RULES)
def test_what_is_no_object_of_its_own(rule: str, twin: Copy) -> None:
    for public in (getattr(fastopt, rule), getattr(fastopt.functional, rule.lower()), fastopt.minimize):
        assert twin(public) is public
    assert twin(RULES[rule]).name == rule


@TWICE
def test_results_of_minimize(twin: Copy) -> None:
    result = fastopt.minimize(lambda x: float((x * x).sum()), np.ones(3), jac=lambda x: 2 * x, steps=5, history="x")
    other = twin(result)
    assert np.array_equal(other.x, result.x)
    assert np.array_equal(other.history["fun"], result.history["fun"])


def test_an_optimizer_in_another_process() -> None:
    """What a pickle keeps is enough for one."""
    import multiprocessing

    training = Training()
    training.step(training.optimizer, 1)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        found = pool.apply(functools.partial(Training.step, training), (training.optimizer, 2))
        assert found is None
        assert pool.apply(everything, (training.optimizer,)) == everything(training.optimizer)
