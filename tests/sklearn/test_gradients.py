"""The network of the estimators and its losses: against formulas of their own and finite differences."""

from __future__ import annotations

import copy
import itertools
import pickle
from typing import Any

import numpy as np
import pytest
import scipy.sparse

import fastopt
from fastopt.sklearn import losses
from fastopt.sklearn.network import ACTIVATIONS, OUTPUTS, ROWS, Network

LOSSES = {
    "softmax": losses.Softmax(),
    "logistic": losses.Logistic(),
    "hinge": losses.Hinge(),
    "squared hinge": losses.SquaredHinge(),
    "modified huber": losses.ModifiedHuber(),
    "squared error": losses.SquaredError(),
    "huber": losses.Huber(0.5),
    "epsilon insensitive": losses.EpsilonInsensitive(0.2),
}


def targets(name: str, rows: int, outputs: int, rng: np.random.Generator) -> np.ndarray:
    if name == "softmax":
        return rng.integers(0, outputs, rows)
    if name == "logistic":
        return rng.integers(0, 2, (rows, outputs)).astype(float)
    if name in ("hinge", "squared hinge", "modified huber"):
        return rng.choice([-1.0, 1.0], (rows, outputs))
    return rng.standard_normal((rows, outputs))


def loss_of_row(name: str, raw: Any, target: Any) -> float:
    """The losses as the papers and scikit-learn's documentation write them, one output at a time."""
    if name == "softmax":
        return float(np.log(sum(np.exp(value) for value in raw)) - raw[target])
    total = 0.0
    for value, wanted in zip(raw, target, strict=True):
        margin, residual = value * wanted, abs(value - wanted)
        total += {
            "logistic": np.log(1 + np.exp(-value)) if wanted else np.log(1 + np.exp(value)),
            "hinge": max(0, 1 - margin),
            "squared hinge": max(0, 1 - margin) ** 2,
            "modified huber": max(0, 1 - margin) ** 2 if margin >= -1 else -4 * margin,
            "squared error": residual**2 / 2,
            "huber": residual**2 / 2 if residual <= 0.5 else 0.5 * residual - 0.5**2 / 2,
            "epsilon insensitive": max(0, residual - 0.2),
        }[name]
    return float(total)


@pytest.mark.parametrize("name", LOSSES)
def test_losses_are_those_of_their_formulas(name: str, rng: np.random.Generator) -> None:
    raw = 2 * rng.standard_normal((50, 3))
    target, weight = targets(name, 50, 3, rng), rng.random(50)
    expected = sum(w * loss_of_row(name, r, t) for w, r, t in zip(weight, raw, target, strict=True)) / 7.0
    found = LOSSES[name].mean_gradient(raw.copy(), target, weight, 7.0, np.empty(50))
    assert found == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("sizes", [(5, 3), (5, 7, 1), (4, 6, 5, 3)])
@pytest.mark.parametrize(("name", "activation"), list(itertools.product(LOSSES, ACTIVATIONS)))
def test_gradients_are_finite_differences(name: str, activation: str, sizes: tuple[int, ...], rng: np.random.Generator) -> None:
    network = Network(sizes, activation=activation, output=LOSSES[name], dtype=np.float64, seed=3)
    for bias in network.biases:
        bias[...] = rng.standard_normal(bias.shape)
    X, weight = rng.standard_normal((11, sizes[0])), rng.random(11)
    target = targets(name, 11, sizes[-1], rng)
    grads = {key: grad.copy() for key, grad in network.gradients(X, target, weight).items()}
    assert list(grads) == list(network.params)
    for key, param in network.params.items():
        for index in np.ndindex(param.shape):
            value = param[index]
            around = []
            for shift in (1e-6, -1e-6):
                param[index] = value + shift
                around.append(network.loss(X, target, weight))
            param[index] = value
            assert grads[key][index] == pytest.approx((around[0] - around[1]) / 2e-6, abs=1e-6)
    assert network.differentiate(X, target, weight, float(weight.sum())) == pytest.approx(network.loss(X, target, weight))


@pytest.mark.parametrize("name", LOSSES)
def test_extreme_outputs_overflow_nowhere(name: str, rng: np.random.Generator) -> None:
    raw = np.float32([[1e4, -1e4], [-1e4, 1e4], [0, 0], [88, -88], [-88, 88]])
    target = targets(name, 5, 2, rng)
    target = target if name == "softmax" else target.astype(np.float32)
    mean = LOSSES[name].mean_gradient(raw, target, None, 5.0, np.empty(5, np.float32))
    assert np.isfinite(raw).all()
    assert np.isfinite(mean)


def test_whole_weights_are_repeated_rows(rng: np.random.Generator) -> None:
    network = Network((4, 6, 3), dtype=np.float64, seed=0)
    X, target, weight = rng.standard_normal((9, 4)), rng.integers(0, 3, 9), rng.integers(0, 4, 9)
    weighted = {key: grad.copy() for key, grad in network.gradients(X, target, weight.astype(float)).items()}
    for key, grad in network.gradients(X.repeat(weight, axis=0), target.repeat(weight)).items():
        np.testing.assert_allclose(weighted[key], grad, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", [scipy.sparse.csr_matrix, scipy.sparse.csr_array])
def test_sparse_rows_are_dense_ones(kind: Any, dtype: Any, rng: np.random.Generator) -> None:
    X = (rng.standard_normal((30, 8)) * (rng.random((30, 8)) < 0.3)).astype(dtype)
    target = rng.integers(0, 3, 30)
    network = Network((8, 5, 3), dtype=dtype, seed=0)
    tolerance = 1e-5 if dtype == np.float32 else 1e-12
    np.testing.assert_allclose(network.forward(kind(X)), network.forward(X), rtol=tolerance, atol=tolerance)
    dense = {key: grad.copy() for key, grad in network.gradients(X, target).items()}
    for key, grad in network.gradients(kind(X), target).items():
        np.testing.assert_allclose(grad, dense[key], rtol=tolerance, atol=tolerance)


def test_batches_of_changing_sizes_and_a_forward_in_parts(rng: np.random.Generator) -> None:
    network = Network((6, 10, 4), activation="tanh", dtype=np.float64, seed=1)
    X, target = rng.standard_normal((2 * ROWS + 17, 6)), rng.integers(0, 4, 2 * ROWS + 17)
    hidden = np.tanh(X @ network.params["weight0"] + network.params["bias0"])
    raw = hidden @ network.params["weight1"] + network.params["bias1"]
    np.testing.assert_allclose(network.forward(X), raw, rtol=1e-12, atol=1e-13)
    for rows in (5, 100, 5, 33, 1, 100, 2, 7):
        fresh = Network((6, 10, 4), activation="tanh", dtype=np.float64, seed=1).gradients(X[:rows], target[:rows])
        for key, grad in network.gradients(X[:rows], target[:rows]).items():
            np.testing.assert_array_equal(grad, fresh[key])


@pytest.mark.parametrize("output", OUTPUTS)
def test_predictions(output: str, rng: np.random.Generator) -> None:
    network = Network((3, 4), output=output, dtype=np.float64, seed=0)
    X = rng.standard_normal((20, 3))
    raw = X @ network.params["weight0"]
    expected = {
        "softmax": np.exp(raw) / np.exp(raw).sum(axis=1, keepdims=True),
        "logistic": 1 / (1 + np.exp(-raw)),
        "identity": raw,
    }[output]
    np.testing.assert_allclose(network.predict(X), expected, rtol=1e-12)


def test_an_optimizer_trains_it(rng: np.random.Generator) -> None:
    X = rng.standard_normal((200, 5)).astype(np.float32)
    target = (X[:, 0] > 0).astype(int) + (X[:, 1] > 0)
    network = Network((5, 16, 3), seed=0)
    opt = fastopt.Adam(network.params, lr=1e-2)
    before, _ = network.evaluate(X, target)
    for _ in range(200):
        opt.step(network.gradients(X, target))
    loss, right = network.evaluate(X, target)
    assert right > 0.97
    assert loss < before / 5
    assert loss == pytest.approx(network.loss(X, target))


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda network: pickle.loads(pickle.dumps(network))])
def test_copies_are_separate(copied: Any, rng: np.random.Generator) -> None:
    network = Network((3, 4, 1), output=losses.Huber(0.3), dtype=np.float64, seed=0)
    twin = copied(network)
    X, target = rng.standard_normal((7, 3)), rng.standard_normal((7, 1))
    np.testing.assert_array_equal(twin.forward(X), network.forward(X))
    assert twin.loss(X, target) == network.loss(X, target)
    assert np.shares_memory(twin.params["weight0"], twin.flat.data)
    twin.params["weight0"][...] = 0
    assert network.params["weight0"].any()


def test_first_weights_depend_on_the_seed_alone() -> None:
    first, same, other = (Network((50, 400, 2), seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.flat.data, same.flat.data)
    assert (first.weights[0] != other.weights[0]).any()
    for weight in first.weights:
        assert weight.std() == pytest.approx((2 / sum(weight.shape)) ** 0.5, rel=0.05)
    assert not any(bias.any() for bias in first.biases)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"sizes": (3,)}, ValueError, r"sizes: got \(3,\)"),
        ({"sizes": (3, 0)}, ValueError, "sizes: got 0"),
        ({"sizes": (3, 1.5)}, TypeError, "sizes: got 1.5"),
        ({"sizes": (3, True)}, TypeError, "sizes: got True"),
        ({"sizes": 3}, TypeError, "sizes: got 3, expected the numbers of inputs"),
        ({"activation": ["relu"]}, TypeError, r"activation: got \['relu'\]"),
        ({"output": ["x"]}, TypeError, r"output: got \['x'\]"),
        ({"activation": "swish"}, ValueError, "activation: got 'swish'"),
        ({"output": "sigmoid"}, ValueError, "output: got 'sigmoid'"),
        ({"dtype": np.float16}, TypeError, "dtype: got float16"),
    ],
)
def test_wrong_arguments(arguments: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        Network(**{"sizes": (3, 2), "seed": 0, **arguments})


ARRAY = np.zeros((4, 3), np.float32)
CLASSES = np.zeros(4, int)


@pytest.mark.parametrize(
    ("X", "error", "words"),
    [
        (ARRAY.tolist(), TypeError, "X: got list, expected an array or a SciPy sparse matrix"),
        (ARRAY.astype(float), TypeError, "X: got dtype float64, expected float32"),
        (ARRAY[:, :2], ValueError, r"X: got shape \(4, 2\), expected \(rows, 3\)"),
        (ARRAY[None], ValueError, r"X: got shape \(1, 4, 3\)"),
        (ARRAY[0], ValueError, r"X: got shape \(3,\)"),
        (scipy.sparse.csr_matrix(ARRAY[:, :2]), ValueError, r"X: got shape \(4, 2\)"),
    ],
)
def test_wrong_inputs(X: Any, error: type[Exception], words: str) -> None:
    network = Network((3, 2), seed=0)
    for call in (network.forward, network.predict):
        with pytest.raises(error, match=words):
            call(X)
    for call in (network.gradients, network.loss, network.evaluate):
        with pytest.raises(error, match=words):
            call(X, CLASSES)


@pytest.mark.parametrize(
    ("output", "target", "error", "words"),
    [
        ("softmax", CLASSES.tolist(), TypeError, "target: got list, expected an array"),
        ("softmax", CLASSES[:3], ValueError, "target: got 3 rows, expected 4"),
        ("softmax", CLASSES[:, None], ValueError, r"target: got shape \(4, 1\), expected \(4,\)"),
        ("softmax", CLASSES.astype(float), TypeError, "target: got dtype float64, expected integers"),
        ("softmax", CLASSES + 2, ValueError, "target: got the class 2, expected numbers from 0 to 1"),
        ("softmax", CLASSES - 1, ValueError, "target: got the class -1, expected numbers from 0 to 1"),
        ("identity", CLASSES, ValueError, r"target: got shape \(4,\), expected \(4, 2\)"),
        ("identity", CLASSES[:, None], ValueError, r"target: got shape \(4, 1\), expected \(4, 2\)"),
        ("logistic", np.full((4, 2), "a"), TypeError, "target: got dtype <U1, expected real numbers"),
    ],
)
def test_wrong_targets(output: str, target: Any, error: type[Exception], words: str) -> None:
    network = Network((3, 2), output=output, seed=0)
    for call in (network.gradients, network.loss):
        with pytest.raises(error, match=words):
            call(ARRAY, target)
    if output == "softmax":
        with pytest.raises(error, match=words):
            network.evaluate(ARRAY, target)
    else:
        with pytest.raises(ValueError, match="evaluate: got a network whose output is"):
            network.evaluate(ARRAY, target)


@pytest.mark.parametrize(
    ("weight", "error", "words"),
    [
        ([1.0] * 4, TypeError, "sample_weight: got list, expected an array or None"),
        (np.ones(3, np.float32), ValueError, r"sample_weight: got shape \(3,\), expected \(4,\)"),
        (np.ones(4), TypeError, "sample_weight: got dtype float64, expected float32"),
        (np.zeros(4, np.float32), ValueError, "sample_weight: got a sum of 0.0, expected one above 0"),
    ],
)
def test_wrong_weights(weight: Any, error: type[Exception], words: str) -> None:
    network = Network((3, 2), seed=0)
    for call in (network.gradients, network.loss):
        with pytest.raises(error, match=words):
            call(ARRAY, CLASSES, weight)


def test_no_rows() -> None:
    network = Network((3, 2), seed=0)
    assert network.forward(ARRAY[:0]).shape == (0, 2)
    with pytest.raises(ValueError, match="X: got no rows"):
        network.gradients(ARRAY[:0], CLASSES[:0])
