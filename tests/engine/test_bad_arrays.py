"""Bad parameters and gradients: TypeError or ValueError that names the argument, and every byte and count as it was."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastopt
from fastopt.rules import RULES
from tests.support.scenes import BAD_ARRAYS, BAD_GRADIENTS, N, Scene, read_only

ALL_RULES = pytest.mark.parametrize("rule", RULES)


@ALL_RULES
@pytest.mark.parametrize("bad", BAD_GRADIENTS)
def test_gradients(rule: str, bad: str) -> None:
    make, error = BAD_GRADIENTS[bad]
    scene = Scene(rule)
    with scene.refuses(error, r"^grads\[2\]: got"):
        scene.optimizer.step([*scene.grads[:2], make()])
    with scene.refuses(error, r"^grads\[2\]: got"):
        scene.optimizer.step((*scene.grads[:2], make()))
    scene = Scene(rule, names=True)
    with scene.refuses(error, r"^grads\['c'\]: got"):
        scene.optimizer.step({"a": scene.grads[0], "b": scene.grads[1], "c": make()})
    param = np.ones(N, np.float32)
    optimizer = getattr(fastopt, rule)(param)
    with pytest.raises((TypeError, ValueError), match=r"^grads(\[0\])?: (got|expected)"):
        optimizer.step(make())
    assert param.tolist() == [1.0] * N
    assert optimizer.steps == 0
    assert optimizer.state[0]["step"] == 0
    with pytest.raises((TypeError, ValueError), match=r"^grads(\[0\])?: (got|expected)"):
        getattr(fastopt, rule)(param, grads=make())


@ALL_RULES
def test_gradients_that_overlap(rule: str) -> None:
    scene = Scene(rule)
    a, b, _ = scene.grads
    pair = np.ones(2 * N, np.float32)
    overlapping = {
        r"grads\[2\].*same memory as params\[0\]": [a, b, scene.params[0]],
        r"grads\[2\].*same memory as params\[2\]": [a, b, scene.params[2]],
    }
    if len(scene.optimizer.state[0]) > 1:
        overlapping[r"grads\[2\].*same memory as state of params\[0\]"] = [a, b, scene.slot()]
    for words, grads in overlapping.items():
        with scene.refuses(ValueError, words):
            scene.optimizer.step(grads)
    overlapping |= {
        r"grads\[2\].*same memory as grads\[0\]": [a, b, a],
        r"grads\[2\].*overlaps grads\[1\]": [a, pair[:N], pair[1 : N + 1]],
    }
    for words, grads in overlapping.items():
        with scene.refuses(ValueError, words):
            scene.optimizer.step(grads, zero_grad=True)
    scene.optimizer.step([a, pair[:N], pair[N:]])  # neighbours are fine
    whole = np.ones(N + 1)
    optimizer = fastopt.SGD(whole[:N])
    with pytest.raises(ValueError, match="grads: got memory that overlaps params"):
        optimizer.step(whole[1:])
    assert whole.tolist() == [1.0] * (N + 1)
    assert optimizer.steps == 0


@ALL_RULES
def test_sets_of_gradients(rule: str) -> None:
    scene, named = Scene(rule), Scene(rule, names=True)
    a, b, c = scene.grads
    for grads, error, words in (
        ([a, b], ValueError, "grads: got 2, expected 3"),
        ([a, b, c, c.copy()], ValueError, "grads: got 4, expected 3"),
        ([], ValueError, "grads: got 0, expected 3"),
        (a, ValueError, "grads: got one array, expected a list of 3"),
        (None, ValueError, "grads: got None"),
        ({"a": a, "b": b, "c": c}, TypeError, "grads: got a dict"),
        ({0: a, 1: b, 2: c}, TypeError, "grads: got a dict"),
        (iter([a, b, c]), TypeError, "grads: got"),
        ("abc", TypeError, "grads: got"),
        (1.0, TypeError, "grads: got"),
    ):
        with scene.refuses(error, f"^{words}"):
            scene.optimizer.step(grads)
    for given, words in (
        ({"a": a, "b": b}, "grads: got none for 'c'"),
        ({"a": a, "b": b, "c": c, "d": c}, "grads: got the name 'd'"),
        ({}, "grads: got none for 'a'"),
        ({"a": a, "b": b, 2: c}, "grads: got the name 2"),
    ):
        with named.refuses(ValueError, f"^{words}"):
            named.optimizer.step(given)


@ALL_RULES
@pytest.mark.parametrize("bad", BAD_ARRAYS)
def test_parameters(rule: str, bad: str) -> None:
    make, error = BAD_ARRAYS[bad]
    cls = getattr(fastopt, rule)
    for params, name in (([np.ones(N), make()], r"params\[1\]"), ({"w": np.ones(N), "v": make()}, r"params\['v'\]")):
        with pytest.raises(error, match=f"^{name}: got"):
            cls(params)
    grouped = [{"params": np.ones(N)}, {"params": make()}]
    for params, name in ((make(), r"params(\[0\])?"), (grouped, r"params\[1\]\['params'\](\[0\])?")):
        with pytest.raises((TypeError, ValueError), match=f"^{name}: got"):
            cls(params)


@ALL_RULES
def test_sets_of_parameters(rule: str) -> None:
    cls = getattr(fastopt, rule)
    memory, other = np.ones(2 * N), np.ones(N)
    for params, error, words in (
        (None, TypeError, "params: got NoneType None|params: got None"),
        ([], ValueError, "params: got no arrays"),
        ((), ValueError, "params: got no arrays"),
        ({}, ValueError, "params: got no arrays"),
        ([None], TypeError, r"params\[0\]: got None"),
        ({"a": None}, TypeError, r"params\['a'\]: got None"),
        (read_only(np.ones(N)), ValueError, "params: got a read-only array"),
        ([other, read_only(np.ones(N))], ValueError, r"params\[1\]: got a read-only array"),
        ([other, other], ValueError, r"params\[1\]: got the same memory as params\[0\]"),
        ([memory[:N], memory[N - 1 :]], ValueError, r"params\[1\]: got memory that overlaps params\[0\]"),
        ([memory, other, memory[3:5]], ValueError, r"params\[2\]: got memory that overlaps params\[0\]"),
        ([{"params": other}, {"params": [other]}], ValueError, r"params\[1\].*same memory as params\[0\]"),
        ({1: other}, TypeError, "params: got the name 1"),
        ([{"lr": 0.1}], ValueError, r"params\[0\]: got a group without 'params'"),
        ([{"params": other, "learning_rate": 0.1}], TypeError, r"params\[0\]: got the key 'learning_rate'"),
        (
            [{"params": []}, {"params": {}, "lr": 1}],
            ValueError,
            r"params: got 2 groups without arrays, expected at least one array",
        ),
        ([{"params": {"w": other}}, {"params": {"w": memory}}], ValueError, "params: got the name 'w' twice"),
        ([{"params": other}, memory], TypeError, r"params\[0\]: got dict"),
        ((a for a in [other]), TypeError, "params: got generator"),
        ("weights", TypeError, "params: got str"),
    ):
        with pytest.raises(error, match=words):
            cls(params)


@ALL_RULES
@pytest.mark.parametrize("scalar", [np.float32(1.0), np.float64(1.0)], ids=["float32", "float64"])
def test_scalars_of_numpy_are_no_parameters(rule: str, scalar: Any) -> None:
    """They speak the array protocol but give a copy, which a step would update to no one's use."""
    for params, name in ((scalar, "params"), ([np.ones(2), scalar], r"params\[1\]")):
        with pytest.raises(TypeError, match=f"^{name}: got"):
            getattr(fastopt, rule)(params)
