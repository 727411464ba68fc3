"""Parameters of another kind: the error ends in a statement that, pasted, makes parameters that steps update."""

from __future__ import annotations

import array
import re
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
import pandas
import pytest
import scipy.sparse
import torch

import fastopt
import fastopt.torch
from fastopt.rules import RULES
from tests.support.frameworks import jax, keras

VALUES = np.array([[1, 2, 3], [4, 5, 6]], np.float64)


def read_only(array: Any) -> Any:
    array.flags.writeable = False
    return array


def foreign(package: str, name: str, **members: Any) -> Any:
    """An object of a class that has the name of a class of a package that is not installed."""
    return type(name, (), {"__module__": package, **members})()


def variable(values: Any) -> Any:
    """What TensorFlow's variables have that matters here: `numpy` and `assign`."""

    def assign(self: Any, other: Any) -> None:
        self.held = np.array(other)

    package = "tensorflow.python.ops.resource_variable_ops"
    members = {"numpy": lambda self: self.held, "assign": assign, "held": values}
    return foreign(package, "ResourceVariable", **members)


def plain(array: Any) -> Any:
    """A copy as NumPy has it."""
    return (array.numpy() if isinstance(array, torch.Tensor) else np.asarray(array)).copy()


COPY = "is a copy: use it from then on"
STATEMENTS: dict[str, tuple[Callable[[], Any], str]] = {
    "whole numbers": (lambda: VALUES.astype(int), f"params = params.astype(np.float32) {COPY}"),
    "booleans": (lambda: VALUES > 2, f"params = params.astype(np.float32) {COPY}"),
    "objects": (lambda: VALUES.astype(object), f"params = params.astype(np.float32) {COPY}"),
    "longdouble": (lambda: VALUES.astype(np.longdouble), f"params = params.astype(np.float64) {COPY}"),
    "big-endian": (lambda: VALUES.astype(">f8"), f"params = params.astype(np.float64) {COPY}"),
    "Fortran order": (lambda: np.asfortranarray(VALUES), f"params = np.ascontiguousarray(params) {COPY}"),
    "transposed": (lambda: VALUES.T, f"params = np.ascontiguousarray(params) {COPY}"),
    "strided": (lambda: VALUES.copy()[:, ::2], f"params = np.ascontiguousarray(params) {COPY}"),
    "reversed": (lambda: VALUES.copy()[::-1], f"params = np.ascontiguousarray(params) {COPY}"),
    "whole numbers, strided": (lambda: VALUES.astype(int).T, f"params = np.ascontiguousarray(params, np.float32) {COPY}"),
    "read-only": (lambda: read_only(VALUES.copy()), f"params = params.copy() {COPY}"),
    "complex": (lambda: VALUES.astype(complex), "params = params.view(np.float64) are its real and imaginary parts"),
    "masked": (lambda: np.ma.MaskedArray(VALUES.copy()), "params = params.data, if steps may change what the mask hides"),
    "a number": (lambda: 2.0, "params = np.array(params, np.float32)"),
    "a number of NumPy": (lambda: np.float32(2.0), "params = np.array(params, np.float32)"),
    "a list of numbers": (lambda: [1.0, 2.0], "params = np.array(params, np.float32)"),
    "a tuple of numbers": (lambda: (1, 2), "params = np.array(params, np.float32)"),
    "lists of numbers": (VALUES.tolist, "params = np.array(params, np.float32)"),
    "lists of arrays": (lambda: [(VALUES.copy(), np.ones(2)), [np.ones(1)]], "params = [w for layer in params for w in layer]"),
    "dicts of arrays in a list": (
        lambda: [{"w": VALUES.copy()}, {"w": np.ones(1)}],
        None,  # which are groups without "params"
    ),
    "dicts in a dict": (
        lambda: {"a": {"w": VALUES.copy(), "b": np.ones(3)}, "z": {"w": np.ones(1)}},
        'params = {f"{layer}.{key}": w for layer, inner in params.items() for key, w in inner.items()}',
    ),
    "lists in a dict": (
        lambda: {"a": [VALUES.copy(), np.ones(3)], "z": [np.ones(1)]},
        'params = {f"{layer}.{i}": w for layer, inner in params.items() for i, w in enumerate(inner)}',
    ),
    "JAX": (lambda: jnp.asarray(VALUES), "JAX's arrays never change: params = np.array(params) is a copy that steps update"),
    "JAX's nests": (
        lambda: {"a": {"w": jnp.asarray(VALUES)}, "z": [jnp.ones(1)]},
        "JAX's arrays never change: params = [np.array(w) for w in jax.tree.leaves(params)] are copies that steps update",
    ),
    "a sparse matrix": (
        lambda: scipy.sparse.csr_matrix(VALUES),
        "params = params.data are the values that the sparse matrix keeps",
    ),
    "a tensor of whole numbers": (lambda: torch.ones(3, dtype=torch.int64), f"params = params.float() {COPY}"),
    "a transposed tensor": (lambda: torch.ones(2, 3).T, f"params = params.contiguous() {COPY}"),
    "a dict of numbers": (
        lambda: {"w": [1.0, 2.0], "b": 3},
        "params = {key: np.array(w, np.float32) for key, w in params.items()}",
    ),
    "array.array": (lambda: array.array("f", [1, 2]), "params = np.asarray(params) is a view of its memory"),
    "memoryview": (lambda: memoryview(VALUES.copy()), "params = np.asarray(params) is a view of its memory"),
    "a generator": (lambda: (w for w in [VALUES.copy()]), "write list(params)"),
    "values of a dict": ({"w": VALUES.copy()}.values, "write list(params)"),
    "items of a dict": ({"w": VALUES.copy()}.items, "write dict(params)"),
    "pairs": (lambda: [("w", VALUES.copy()), ("b", np.ones(2))], "write dict(params)"),
}
STATEMENTS = {name: (make, words) for name, (make, words) in STATEMENTS.items() if words is not None}


def cure_of(call: Callable[[], Any]) -> str:
    with pytest.raises((TypeError, ValueError)) as caught:
        call()
    return str(caught.value).rpartition("; ")[2]


@pytest.mark.parametrize("case", STATEMENTS)
def test_the_cure_makes_parameters_that_steps_update(case: str) -> None:
    make, expected = STATEMENTS[case]
    params = make()
    cure = cure_of(lambda: fastopt.AdamW(params))
    assert cure == expected
    statement = re.sub(r"^.*: (?=params = )", "", cure)
    statement = re.sub(r"( (is|are) (a|its|the|copies)\b|, if ).*$", "", statement).replace("write ", "params = ")
    known = {"np": np, "jax": jax, "params": params}
    exec(statement, known)
    params = known["params"]
    optimizer = fastopt.SGD(params, lr=0.5)
    arrays = optimizer.groups[0]["params"]
    before = [plain(array) for array in arrays]
    optimizer.step([np.ones(array.shape, array.dtype) for array in before])
    given = params if isinstance(params, list) else list(params.values()) if isinstance(params, dict) else [params]
    assert all(np.array_equal(plain(now), old - 0.5) for now, old in zip(given, before, strict=True))


def test_the_cure_names_the_entry() -> None:
    good = np.ones(2)
    for params in ([good, np.ones(2, int)], {"a": good, "w": np.ones(2, int)}, [{"params": [good]}, {"params": np.ones(2, int)}]):
        known = {"np": np, "params": params}
        exec(cure_of(lambda params=params: fastopt.AdamW(params)).removesuffix(f" {COPY}"), known)
        fastopt.AdamW(known["params"])


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("what", ["parameters", "used up", "named_parameters", "list", "pairs", "module", "one"])
def test_a_torch_model_belongs_to_the_class_of_the_same_name(rule: str, what: str) -> None:
    model = torch.nn.Linear(3, 2)
    used = model.parameters()
    assert len(list(used)) == 2
    params = {
        "parameters": model.parameters(),
        "used up": used,
        "named_parameters": model.named_parameters(),
        "list": list(model.parameters()),
        "pairs": list(model.named_parameters()),
        "module": model,
        "one": model.weight,
    }[what]
    cure = cure_of(lambda: getattr(fastopt, rule)(params))
    assert cure == f"for a torch model write fastopt.torch.{rule}(model.parameters(), ...)"
    assert isinstance(
        eval(cure.partition("write ")[2].replace(", ...", ""), {"fastopt": fastopt, "model": model}), torch.optim.Optimizer
    )


def test_bfloat16_parameters_of_torch_too() -> None:
    for params in (torch.nn.Linear(3, 2).bfloat16().weight, torch.nn.Linear(3, 2).half().weight):
        assert "fastopt.torch.Lion(model.parameters(), ...)" in cure_of(lambda params=params: fastopt.Lion([params]))


KERAS = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
"""Keras' own conversion to NumPy warns so."""


@KERAS
@pytest.mark.parametrize("make", [lambda: keras.Variable(VALUES), lambda: variable(VALUES)], ids=["Keras", "TensorFlow"])
def test_variables_are_stepped_as_copies_and_assigned(make: Callable[[], Any]) -> None:
    params = make()
    cure = cure_of(lambda: fastopt.AdamW(params))
    assert cure == "w = params.numpy().copy() is a copy that steps update, and params.assign(w) writes it back"
    known = {"params": params}
    exec("w = params.numpy().copy()", known)
    fastopt.SGD(known["w"], lr=0.5).step(np.ones_like(known["w"]))
    exec("params.assign(w)", known)
    np.testing.assert_array_equal(params.numpy(), VALUES - 0.5)


def test_a_list_of_variables_names_the_entry() -> None:
    assert "w = params[1].numpy().copy()" in cure_of(lambda: fastopt.AdamW([np.ones(2), variable(np.ones(2))]))


@KERAS
def test_a_model_of_keras() -> None:
    model = keras.Sequential([keras.layers.Input((3,)), keras.layers.Dense(2)])
    cure = cure_of(lambda: fastopt.AdamW(model))
    words = "step weights = {0}.get_weights(), which are copies, and write them back: {0}.set_weights(weights)"
    assert cure == words.format("params")
    weights = model.get_weights()
    before = [each.copy() for each in weights]
    fastopt.SGD(weights, lr=0.5).step([np.ones_like(each) for each in weights])
    model.set_weights(weights)
    assert all(np.allclose(now, old - 0.5) for now, old in zip(model.get_weights(), before, strict=True))


@pytest.mark.parametrize("make", [pandas.DataFrame, lambda values: pandas.Series(values[0])], ids=["frame", "series"])
def test_pandas(make: Callable[[Any], Any]) -> None:
    params = make(VALUES)
    cure = cure_of(lambda: fastopt.AdamW(params))
    assert cure == "w = np.array(params, np.float32, order='C') is a copy that steps update, and params[:] = w writes it back"
    known = {"np": np, "params": params}
    exec("w = np.array(params, np.float32, order='C')", known)
    fastopt.SGD(known["w"], lr=0.5).step(np.ones_like(known["w"]))
    exec("params[:] = w", known)
    np.testing.assert_array_equal(params, make(VALUES) - 0.5)


def test_words_without_a_statement() -> None:
    for params, words in (
        ([np.ones(2), None], "leave out what there is not"),
        ([{"params": np.ones(2)}, np.ones(3)], 'give every entry as a group: {"params": array}'),
        ([np.ones(2), [np.ones(2)]], "give one list or dict of arrays, without lists and dicts in it"),
        ([[[np.ones(2)]]], "give one list or dict of arrays, without lists and dicts in it"),
    ):
        assert cure_of(lambda params=params: fastopt.AdamW(params)) == words
    for params in (None, "weights", {"w": "weights"}, object()):
        with pytest.raises(TypeError, match=r"expected an array"):
            fastopt.AdamW(params)


def test_a_matrix_is_an_array() -> None:
    with pytest.warns(PendingDeprecationWarning):
        params = np.asmatrix(VALUES.copy())
    fastopt.SGD(params, lr=0.5).step(np.ones(VALUES.shape))
    np.testing.assert_array_equal(params, VALUES - 0.5)


def test_torchs_classes_send_models_and_arrays_on() -> None:
    model = torch.nn.Linear(3, 2)
    assert cure_of(lambda: fastopt.torch.AdamW(model)) == "pass model.parameters()"
    assert cure_of(lambda: fastopt.torch.Lion([np.ones(3)])) == "fastopt.Lion steps arrays of NumPy"
    table = torch.nn.Embedding(3, 2, sparse=True)
    optimizer = fastopt.torch.SGD(table.parameters())
    table(torch.tensor([1])).sum().backward()
    with pytest.raises(RuntimeError, match=r"; p\.grad = p\.grad\.to_dense\(\) makes a dense one$"):
        optimizer.step()
    for p in table.parameters():
        p.grad = p.grad.to_dense()
    optimizer.step()
