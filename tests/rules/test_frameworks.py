"""`reference_forms` against Keras and optax themselves: the same numbers, and the same arguments by default.

`test_forms.py` compares fastopt with the same functions.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from tests.support import reference_forms
from tests.support.arrays import Array
from tests.support.frameworks import in_float64, jax, keras, optax
from tests.support.reference_forms import State

STEPS = 20
TOLERANCE = 1e-13
"""Roundings of float64 alone: the differences that this prints are 2e-15 and less."""

KERAS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("SGD", {"learning_rate": 0.1}),
    ("SGD", {"learning_rate": 0.1, "momentum": 0.8, "weight_decay": 0.02}),
    ("SGD", {"learning_rate": 0.1, "momentum": 0.8, "nesterov": True}),
    ("Adam", {"learning_rate": 0.1, "beta_1": 0.7, "beta_2": 0.8, "epsilon": 1e-2, "weight_decay": 0.02}),
    ("Adam", {"learning_rate": 0.1, "beta_1": 0.7, "beta_2": 0.8, "epsilon": 1e-2, "amsgrad": True}),
    ("AdamW", {"learning_rate": 0.1, "epsilon": 1e-2}),
    ("Adamax", {"learning_rate": 0.1, "beta_1": 0.7, "beta_2": 0.8, "epsilon": 1e-2, "weight_decay": 0.02}),
    ("Nadam", {"learning_rate": 0.1, "beta_1": 0.7, "beta_2": 0.8, "epsilon": 1e-2, "weight_decay": 0.02}),
    ("RMSprop", {"learning_rate": 0.1, "rho": 0.7, "epsilon": 1e-2, "weight_decay": 0.02}),
    ("RMSprop", {"learning_rate": 0.1, "rho": 0.7, "epsilon": 1e-2, "momentum": 0.8, "centered": True}),
    ("Adagrad", {"learning_rate": 0.1, "initial_accumulator_value": 0.3, "epsilon": 1e-2, "weight_decay": 0.02}),
    ("Adadelta", {"learning_rate": 0.1, "rho": 0.7, "epsilon": 1e-2, "weight_decay": 0.02}),
    ("Lion", {"learning_rate": 0.1, "beta_1": 0.7, "beta_2": 0.8, "weight_decay": 0.02}),
)

OPTAX: tuple[tuple[str, dict[str, Any]], ...] = (
    ("sgd", {"learning_rate": 0.1}),
    ("sgd", {"learning_rate": 0.1, "momentum": 0.8}),
    ("sgd", {"learning_rate": 0.1, "momentum": 0.8, "nesterov": True}),
    ("ema", {"learning_rate": 0.1, "decay": 0.8}),
    ("ema", {"learning_rate": 0.1, "decay": 0.8, "debias": False}),
    ("adam", {"learning_rate": 0.1, "b1": 0.7, "b2": 0.8, "eps": 1e-2, "eps_root": 1e-3}),
    ("adamw", {"learning_rate": 0.1, "b1": 0.7, "b2": 0.8, "eps": 1e-2, "weight_decay": 0.02}),
    ("nadam", {"learning_rate": 0.1, "b1": 0.7, "b2": 0.8, "eps": 1e-2, "eps_root": 1e-3}),
    ("nadamw", {"learning_rate": 0.1, "b1": 0.7, "b2": 0.8, "eps": 1e-2, "weight_decay": 0.02}),
    ("amsgrad", {"learning_rate": 0.1, "b1": 0.7, "b2": 0.8, "eps": 1e-2, "eps_root": 1e-3}),
    ("adamax", {"learning_rate": 0.1, "b1": 0.7, "b2": 0.8, "eps": 1e-2}),
    ("radam", {"learning_rate": 0.1, "b1": 0.7, "b2": 0.95, "eps": 1e-2, "eps_root": 1e-3}),
    ("radam", {"learning_rate": 0.1, "b1": 0.7, "b2": 0.95, "eps": 1e-2, "threshold": 7.0}),
    ("rmsprop", {"learning_rate": 0.1, "decay": 0.7, "eps": 1e-2}),
    ("rmsprop", {"learning_rate": 0.1, "decay": 0.7, "eps": 1e-2, "momentum": 0.8, "centered": True}),
    ("adagrad", {"learning_rate": 0.1, "initial_accumulator_value": 0.3, "eps": 1e-2}),
    ("adagrad", {"learning_rate": 0.1, "initial_accumulator_value": 0.0}),
    ("adadelta", {"learning_rate": 0.1, "rho": 0.7, "eps": 1e-2}),
    ("adadelta", {}),
    ("lion", {"learning_rate": 0.1, "b1": 0.7, "b2": 0.8, "weight_decay": 0.02}),
)


def ema(learning_rate: float, **arguments: Any) -> optax.GradientTransformation:
    """optax has the average as a part only."""
    return optax.chain(optax.ema(**arguments), optax.scale_by_learning_rate(learning_rate))


def keras_path(optimizer: Any, p: Array, grads: Array) -> Iterator[Array]:
    variable = keras.Variable(p)
    for grad in grads:
        optimizer.apply([keras.ops.convert_to_tensor(grad)], [variable])
        yield keras.ops.convert_to_numpy(variable)


def optax_path(optimizer: Any, p: Array, grads: Array) -> Iterator[Array]:
    params = jax.numpy.asarray(p)
    state = optimizer.init(params)
    for grad in grads:
        updates, state = optimizer.update(jax.numpy.asarray(grad), state, params)
        params = optax.apply_updates(params, updates)
        yield np.asarray(params)


def difference(reference: Callable[..., Array], arguments: dict[str, Any], path: Callable[..., Iterator[Array]]) -> float:
    """The largest over elements and steps, relative to where the parameter began and the way it went."""
    rng = np.random.default_rng(0)
    scale = 10.0 ** rng.uniform(-2, 2, 64)
    scale[0] = 0  # no gradient: optax' Adagrad stands still
    p, grads = rng.standard_normal(64), rng.standard_normal((STEPS, 64)) * scale
    state: State = {}
    expected, way, worst = p, np.abs(p), 0.0
    for t, (grad, theirs) in enumerate(zip(grads, path(p, grads), strict=True), start=1):
        last, expected = expected, reference(expected, grad, state, t, **arguments)
        way = way + np.abs(expected - last)
        assert theirs.dtype == np.float64
        worst = max(worst, float(np.max(np.abs(theirs - expected) / way)))
    return worst


def other_defaults(reference: Callable[..., Array], theirs: Callable[..., Any]) -> list[str]:
    """The arguments whose defaults are not the framework's; None and 0 both switch weight decay off."""
    ours, peers = inspect.signature(reference).parameters, inspect.signature(theirs).parameters
    return [name for name in ours.keys() & peers.keys() if (ours[name].default or None) != (peers[name].default or None)]


@pytest.fixture(autouse=True)
def float64() -> Iterator[None]:
    with in_float64():
        yield


CASES = [*(("keras", *case) for case in KERAS), *(("optax", *case) for case in OPTAX)]


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # NumPy's, of how Keras converts tensors
@pytest.mark.parametrize(("framework", "name", "arguments"), CASES, ids=str)
def test_numbers_and_defaults(framework: str, name: str, arguments: dict[str, Any]) -> None:
    reference = getattr(reference_forms, f"{framework}_{name.lower()}")
    module, path = {"keras": (keras.optimizers, keras_path), "optax": (optax, optax_path)}[framework]
    theirs = ema if name == "ema" else getattr(module, name)
    assert other_defaults(reference, theirs) == []
    assert difference(reference, arguments, functools.partial(path, theirs(**arguments))) <= TOLERANCE


def test_every_reference_has_a_case() -> None:
    proved = {f"{framework}_{name.lower()}" for framework, name, _ in CASES}
    assert proved == {name for name in vars(reference_forms) if name.startswith(("keras_", "optax_"))}
