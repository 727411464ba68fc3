"""`Network`: a fully connected network in NumPy, whose gradients go to an optimizer over its parameters.

network = Network((64, 128, 10), seed=0)
opt = fastopt.Adam(network.params)
opt.step(network.gradients(images, digits))
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from ..flat import FlatBuffer
from ..rules.checks import check_choice
from ..rules.words import shown
from .losses import Logistic, Loss, Softmax, SquaredError

__all__ = ["ACTIVATIONS", "OUTPUTS", "Network"]

Array = np.ndarray[Any, Any]

ACTIVATIONS = ("relu", "tanh", "logistic", "identity")

OUTPUTS: dict[str, type[Loss]] = {"softmax": Softmax, "logistic": Logistic, "identity": SquaredError}
"""The function of the last layer, and the loss that goes with it."""

ROWS = 1024
"""Rows that `forward` takes at a time, so that the values between two layers stay in the cache."""


class Network:
    """Layers of outputs = activation(inputs @ weight + bias), with a loss of the last layer's outputs.

    `sizes`: the number of inputs, of units in each hidden layer, and of outputs; without hidden layers the model is linear.
    `activation`: the function of the hidden layers: "relu", "tanh", "logistic" or "identity".
    `output`: "softmax" (cross-entropy; the target is the index of the class, an integer, shape (rows,)), "logistic"
    (cross-entropy of each output; target 0 or 1, shape (rows, outputs)), "identity" (half the squared error, summed over the
    outputs; target of shape (rows, outputs)), or any `Loss`.
    `dtype`: float32 or float64, for the parameters, the inputs and all arithmetic.
    `seed`: what `numpy.random.default_rng` takes.  The first weights are normal, with the variance 2 / (inputs + outputs) of
    their layer (Glorot & Bengio, Understanding the difficulty of training deep feedforward neural networks, AISTATS 2010);
    biases begin at 0.

    `params` maps "weight0", "bias0", "weight1", ... to views of the one buffer `flat`, with shapes (inputs, outputs) and
    (outputs,).  Writing to a view changes the network.  `gradients` returns views of `flat_grads` in the same way.  Pickle and
    `copy.deepcopy` make a separate network with the same values.

    Raises ValueError or TypeError if an argument is none of these.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        *,
        activation: str = "relu",
        output: str | Loss = "softmax",
        dtype: Any = np.float32,
        seed: Any,
    ) -> None:
        self.sizes = checked_sizes(sizes)
        self.dtype = np.dtype(dtype)
        if self.dtype not in (np.float32, np.float64):
            raise TypeError(f"dtype: got {self.dtype}, expected float32 or float64")
        self.activation = check_choice(activation, "activation", ACTIVATIONS)
        self.output = output if isinstance(output, Loss) else OUTPUTS[check_choice(output, "output", OUTPUTS)]()
        self.depth = len(self.sizes) - 1
        shapes: dict[str, tuple[int, ...]] = {}
        for i, (inputs, outputs) in enumerate(pairwise(self.sizes)):
            shapes |= {f"weight{i}": (inputs, outputs), f"bias{i}": (outputs,)}
        self.flat = FlatBuffer(list(shapes.values()), list(shapes), self.dtype)
        self.flat_grads = self.flat.zeros_like()
        self.params: dict[str, Array] = self.flat.views
        self._grads: dict[str, Array] = self.flat_grads.views
        self.gradient_list = list(self._grads.values())
        self.weights = [self.params[f"weight{i}"] for i in range(self.depth)]
        self.biases = [self.params[f"bias{i}"] for i in range(self.depth)]
        rng = np.random.default_rng(seed)
        for weight in self.weights:
            weight[...] = (2 / sum(weight.shape)) ** 0.5 * rng.standard_normal(weight.shape)
        self._work: dict[int, Work] = {}

    def gradients(
        self,
        X: Any,
        target: Array,
        sample_weight: Array | None = None,
    ) -> dict[str, Array]:
        """The gradient of a batch's mean loss, or of its weighted mean, with the names and shapes of `params`.

        `X`: shape (rows, inputs), in the network's dtype; may be a SciPy sparse matrix.  `target`: as for `output`.
        `sample_weight`: shape (rows,), in the network's dtype, with a sum above 0.  The next call overwrites the returned arrays.
        Raises TypeError or ValueError for other arguments.
        """
        self._check(X)
        total = self._check_target(X.shape[0], target, sample_weight)
        self.differentiate(X, target, sample_weight, total, loss=False)
        return self._grads

    def differentiate(self, X: Any, target: Array, sample_weight: Array | None, total: float, *, loss: bool = True) -> float:
        """Writes the gradient of sum(sample_weight * losses) / total to `flat_grads`; returns that mean, or nan without `loss`.

        Checks nothing, for the sake of loops over many batches.
        """
        rows = X.shape[0]
        work = self._work.get(rows)
        if work is None:
            if len(self._work) > 3:  # batches of many sizes: drop what earlier sizes reserved
                self._work.clear()
            work = self._work[rows] = Work(rows, self.sizes, self.activation, self.dtype)
        last = self.depth - 1
        value = X
        for i, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            output = work.values[i]
            multiply(value, weight, output)
            output += bias
            if i < last:
                activate(self.activation, output, work.masks[i])
            value = output
        delta = value
        each = work.each if loss else None
        mean = self.output.mean_gradient(delta, target, sample_weight, total, each)
        for i in range(last, -1, -1):
            given = work.values[i - 1] if i else X
            multiply(given.T, delta, self.gradient_list[2 * i])
            np.matmul(work.ones, delta, out=self.gradient_list[2 * i + 1])
            if i:
                before = work.deltas[i - 1]
                np.matmul(delta, self.weights[i].T, out=before)
                derive(self.activation, before, given, work.masks[i - 1])
                delta = before
        return mean

    def forward(self, X: Any, weights: list[Array] | None = None, biases: list[Array] | None = None) -> Array:
        """The raw outputs, before softmax or logistic: a new array of shape (rows, outputs).

        `weights` and `biases`, if given, have an array for each layer and replace the network's own.
        Raises TypeError or ValueError if `X` is not as for `gradients`.
        """
        self._check(X)
        rows = X.shape[0]
        raw = np.empty((rows, self.sizes[-1]), self.dtype)
        for begin in range(0, rows, ROWS):
            part = X[begin : begin + ROWS]
            value = part
            for i, (weight, bias) in enumerate(zip(weights or self.weights, biases or self.biases, strict=True)):
                last = i + 1 == self.depth
                output = raw[begin : begin + ROWS] if last else np.empty((part.shape[0], self.sizes[i + 1]), self.dtype)
                multiply(value, weight, output)
                output += bias
                if not last:
                    activate(self.activation, output, np.empty(output.shape, bool))
                value = output
        return raw

    def predict(self, X: Any) -> Array:
        """The outputs, shape (rows, outputs): probabilities for "softmax" and "logistic", raw outputs for "identity"."""
        raw = self.forward(X)
        self.output.output(raw)
        return raw

    def loss(self, X: Any, target: Array, sample_weight: Array | None = None) -> float:
        """The mean loss, or the weighted mean; the arguments are those of `gradients`."""
        raw = self.forward(X)
        return self._loss(raw, target, sample_weight, self._check_target(len(raw), target, sample_weight))

    def evaluate(self, X: Any, target: Array) -> tuple[float, float]:
        """The mean loss, and the share of rows whose class has the largest output.  Raises ValueError unless the output is
        "softmax".
        """
        if not isinstance(self.output, Softmax):
            raise ValueError(f"evaluate: got a network whose output is {self.output!r}, expected 'softmax'; there is loss()")
        raw = self.forward(X)
        total = self._check_target(len(raw), target, None)
        right = float((raw.argmax(axis=1) == target).mean())
        return self._loss(raw, target, None, total), right

    def _loss(self, raw: Array, target: Array, sample_weight: Array | None, total: float) -> float:
        return self.output.mean_gradient(raw, target, sample_weight, total, np.empty(len(raw), self.dtype))

    def release(self, rows: int | None = None) -> None:
        """Drops the work space of all batch sizes but `rows`."""
        for size in [size for size in self._work if size != rows]:
            del self._work[size]

    def _check(self, X: Any) -> None:
        if not (isinstance(X, np.ndarray) or (hasattr(X, "tocsr") and hasattr(X, "dtype"))):
            raise TypeError(f"X: got {type(X).__name__}, expected an array or a SciPy sparse matrix")
        if X.dtype != self.dtype:
            raise TypeError(f"X: got dtype {X.dtype}, expected {self.dtype} as the network has")
        if X.ndim != 2 or X.shape[1] != self.sizes[0]:
            raise ValueError(f"X: got shape {X.shape}, expected (rows, {self.sizes[0]})")

    def _check_target(self, rows: int, target: Any, sample_weight: Any) -> float:
        """The sum of the weights.  Raises TypeError or ValueError if target or weights do not fit."""
        if not isinstance(target, np.ndarray):
            raise TypeError(f"target: got {type(target).__name__}, expected an array")
        if target.ndim and len(target) != rows:
            raise ValueError(f"target: got {len(target)} rows, expected {rows} as X has")
        outputs = self.sizes[-1]
        softmax = isinstance(self.output, Softmax)
        expected = (rows,) if softmax else (rows, outputs)
        if target.shape != expected:
            raise ValueError(f"target: got shape {target.shape}, expected {expected} with {self.output!r}")
        if softmax:
            if target.dtype.kind not in "iu":
                raise TypeError(f"target: got dtype {target.dtype}, expected integers, the indices of the classes")
            if rows and not (target.min() >= 0 and target.max() < outputs):
                wrong = target[(target < 0) | (target >= outputs)][0]
                raise ValueError(f"target: got the class {wrong}, expected numbers from 0 to {outputs - 1}")
        elif target.dtype.kind not in "biuf":
            raise TypeError(f"target: got dtype {target.dtype}, expected real numbers")
        if sample_weight is None:
            if not rows:
                raise ValueError("X: got no rows, expected at least one, since the loss is their mean")
            return float(rows)
        if not isinstance(sample_weight, np.ndarray):
            raise TypeError(f"sample_weight: got {type(sample_weight).__name__}, expected an array or None")
        if sample_weight.shape != (rows,):
            raise ValueError(f"sample_weight: got shape {sample_weight.shape}, expected ({rows},), a weight for each row of X")
        if sample_weight.dtype != self.dtype:
            raise TypeError(f"sample_weight: got dtype {sample_weight.dtype}, expected {self.dtype} as the network has")
        total = float(sample_weight.sum(dtype=np.float64))
        if not total > 0:
            raise ValueError(f"sample_weight: got a sum of {total}, expected one above 0")
        return total

    def __reduce__(self) -> Any:
        # Pickled views would be arrays of their own.
        return restored, (self.sizes, self.activation, self.output, self.dtype, self.flat)

    def __repr__(self) -> str:
        return f"Network({self.sizes}, activation={self.activation!r}, output={self.output!r}, dtype={self.dtype})"


def restored(sizes: tuple[int, ...], activation: str, output: Loss, dtype: np.dtype[Any], flat: FlatBuffer) -> Network:
    """Makes a network from a pickle or for a copy."""
    network = Network(sizes, activation=activation, output=output, dtype=dtype, seed=0)
    network.flat.data[...] = flat.data
    return network


class Work:
    """The arrays that a pass over a batch of `rows` rows writes to."""

    def __init__(self, rows: int, sizes: Sequence[int], activation: str, dtype: np.dtype[Any]) -> None:
        self.values = [np.empty((rows, size), dtype) for size in sizes[1:]]
        self.deltas = [np.empty((rows, size), dtype) for size in sizes[1:-1]]
        self.masks = [np.empty((rows, size) if activation == "relu" else 0, bool) for size in sizes[1:-1]]
        self.ones = np.ones(rows, dtype)
        self.each = np.empty(rows, dtype)


def multiply(left: Any, right: Array, out: Array) -> None:
    """Writes left @ right to `out`; `left` may be sparse."""
    if isinstance(left, np.ndarray):
        np.matmul(left, right, out=out)
    else:
        out[...] = left @ right


def activate(activation: str, value: Array, mask: Array) -> None:
    """Applies the activation in place; `mask` takes what the derivative needs besides the result."""
    if activation == "relu":  # twice as fast as np.maximum
        np.greater(value, 0, out=mask)
        value *= mask
    elif activation == "tanh":
        np.tanh(value, out=value)
    elif activation == "logistic":
        half = value.dtype.type(0.5)
        value *= half
        np.tanh(value, out=value)
        value *= half
        value += half


def derive(activation: str, delta: Array, value: Array, mask: Array) -> None:
    """Multiplies `delta` by the activation's derivative at the point where it gave `value`; overwrites `value`."""
    if activation == "relu":
        delta *= mask
    elif activation == "tanh":
        np.multiply(value, value, out=value)
        np.subtract(1, value, out=value)
        delta *= value
    elif activation == "logistic":
        delta *= value
        np.subtract(1, value, out=value)
        delta *= value


def checked_sizes(sizes: Any) -> tuple[int, ...]:
    if not isinstance(sizes, Iterable) or isinstance(sizes, (str, bytes)):
        raise TypeError(f"sizes: got {shown(sizes)}, expected the numbers of inputs, of hidden units and of outputs")
    sizes = tuple(sizes)
    if len(sizes) < 2:
        raise ValueError(f"sizes: got {sizes!r}, expected at least the numbers of inputs and outputs")

    def whole() -> Iterator[int]:
        for size in sizes:
            if isinstance(size, bool) or not isinstance(size, (int, np.integer)):
                raise TypeError(f"sizes: got {size!r}, expected whole numbers")
            if size < 1:
                raise ValueError(f"sizes: got {size}, expected numbers from 1")
            yield int(size)

    return tuple(whole())
