"""Losses of raw outputs: the weighted mean over a batch and its gradient, computed in place.

A loss reads raw outputs of shape (rows, outputs) and overwrites them with its gradient by them.  A row's target depends on the
loss: for `Softmax` the index of the row's class, for the margin losses +1 or -1 for each output, for `Logistic` 1 or 0 for each
output, for the regression losses a number for each output.  The loss of a row is the sum over its outputs.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from scipy.special import xlogy

__all__ = [
    "EpsilonInsensitive",
    "Hinge",
    "Huber",
    "Logistic",
    "Loss",
    "ModifiedHuber",
    "Softmax",
    "SquaredError",
    "SquaredHinge",
]

Array = np.ndarray[Any, Any]


class Loss(ABC):
    """A loss of raw outputs; `losses` and `differentiate` may overwrite them."""

    @abstractmethod
    def differentiate(self, raw: Array, target: Array, each: Array | None = None) -> None:
        """Replaces `raw`, shape (rows, outputs), with the gradient of each row's loss, and writes the losses to `each`, shape
        (rows,).
        """

    def output(self, raw: Array) -> None:  # noqa: B027  # most losses have no other function
        """Replaces raw outputs with what they predict, such as probabilities."""

    def scaled(self, scale: Array) -> Loss:
        """The loss for outputs that are divided by `scale`, shape (outputs,)."""
        return self

    def mean_gradient(self, raw: Array, target: Array, sample_weight: Array | None, total: float, each: Array | None) -> float:
        """Replaces `raw` with the gradient of sum(sample_weight * loss) / total; returns the quotient, or nan without `each`.

        `each`: work space of shape (rows,), which takes the rows' losses without their weights.
        """
        self.differentiate(raw, target, each)
        if sample_weight is not None:
            raw *= sample_weight[:, None]
        raw *= raw.dtype.type(1 / total)
        if each is None:
            return float("nan")
        summed = each.sum(dtype=np.float64) if sample_weight is None else np.dot(each, sample_weight)
        return float(summed) / total

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class Softmax(Loss):
    """Cross-entropy of the softmax over the outputs, in nats; the target is the index of the class, shape (rows,), an integer."""

    def differentiate(self, raw: Array, target: Array, each: Array | None = None) -> None:
        rows = np.arange(len(target))
        shift(raw)
        if each is not None:
            each[...] = raw[rows, target]
        np.exp(raw, out=raw)
        total = sum_outputs(raw)
        raw /= total[:, None]
        raw[rows, target] -= 1
        if each is not None:
            np.subtract(np.log(total), each, out=each)

    def output(self, raw: Array) -> None:
        shift(raw)
        np.exp(raw, out=raw)
        raw /= sum_outputs(raw)[:, None]

    def log_output(self, raw: Array) -> None:
        """Replaces raw outputs with the logarithms of the probabilities."""
        shift(raw)
        raw -= np.log(sum_outputs(np.exp(raw)))[:, None]


class Logistic(Loss):
    """Cross-entropy of the logistic function of each output, in nats; the target is 1 or 0 for each output."""

    def differentiate(self, raw: Array, target: Array, each: Array | None = None) -> None:
        if each is not None:  # log(1 + exp(raw)) - target * raw, without overflow
            losses = np.exp(-np.abs(raw))
            losses += 1
            np.log(losses, out=losses)  # log1p has no vector instructions, and its gain is below the mean's precision
            losses += np.maximum(raw, 0)
            losses -= target * raw
            each[...] = sum_outputs(losses)
        self.output(raw)
        raw -= target

    def output(self, raw: Array) -> None:
        np.negative(raw, out=raw)
        with np.errstate(over="ignore"):  # 1 / inf is 0, as it should be
            np.exp(raw, out=raw)
        raw += 1
        np.divide(1, raw, out=raw)  # exact to the last digit for small probabilities, unlike (1 + tanh(raw / 2)) / 2

    def log_output(self, raw: Array) -> None:
        """Replaces raw outputs with the logarithms of the probabilities."""
        np.negative(raw, out=raw)
        np.logaddexp(0, raw, out=raw)
        np.negative(raw, out=raw)

    def at_shares(self, positive: Array) -> Array:
        """The least mean loss of each output if it is constant, and these shares of the rows have a positive target."""
        entropy: Array = -(xlogy(positive, positive) + xlogy(1 - positive, 1 - positive))
        return entropy


class MarginLoss(Loss):
    """A loss of the margin target * raw, where the target is +1 or -1 for each output."""

    def differentiate(self, raw: Array, target: Array, each: Array | None = None) -> None:
        raw *= target
        losses = self.by_margin(raw, each is not None)
        raw *= target
        if each is not None and losses is not None:
            each[...] = sum_outputs(losses)

    def at_shares(self, positive: Array) -> Array:
        """The least mean loss of each output if it is constant, and these shares of the rows have a positive target."""
        least: Array = 4 * positive * (1 - positive)  # of both squares, at the output 2 * positive - 1
        return least

    @abstractmethod
    def by_margin(self, margin: Array, wanted: bool) -> Array | None:
        """Replaces margins with the derivative of the loss; returns the losses if wanted."""


class Hinge(MarginLoss):
    """max(0, 1 - margin)."""

    def at_shares(self, positive: Array) -> Array:
        least: Array = 2 * np.minimum(positive, 1 - positive)
        return least

    def by_margin(self, margin: Array, wanted: bool) -> Array | None:
        losses = np.maximum(1 - margin, 0) if wanted else None
        np.less(margin, 1, out=margin)
        np.negative(margin, out=margin)
        return losses


class SquaredHinge(MarginLoss):
    """max(0, 1 - margin)**2."""

    def by_margin(self, margin: Array, wanted: bool) -> Array | None:
        np.subtract(1, margin, out=margin)
        np.maximum(margin, 0, out=margin)
        losses = np.square(margin) if wanted else None
        margin *= -2
        return losses


class ModifiedHuber(MarginLoss):
    """max(0, 1 - margin)**2 where the margin is at least -1, else -4 * margin."""

    def by_margin(self, margin: Array, wanted: bool) -> Array | None:
        losses = None
        if wanted:
            losses = np.where(margin >= -1, np.square(np.maximum(1 - margin, 0)), -4 * margin)
        np.subtract(margin, 1, out=margin)
        np.clip(margin, -2, 0, out=margin)  # 2 * (margin - 1) goes to -4 at a margin of -1, and stays there
        margin *= 2
        return losses


class ResidualLoss(Loss):
    """A loss of the residual raw - target."""

    def differentiate(self, raw: Array, target: Array, each: Array | None = None) -> None:
        raw -= target
        losses = self.by_residual(raw, each is not None)
        if each is not None and losses is not None:
            each[...] = sum_outputs(losses)

    @abstractmethod
    def by_residual(self, residual: Array, wanted: bool) -> Array | None:
        """Replaces residuals with the derivative of the loss; returns the losses if wanted."""


class SquaredError(ResidualLoss):
    """residual**2 / 2."""

    def by_residual(self, residual: Array, wanted: bool) -> Array | None:
        return residual * residual * residual.dtype.type(0.5) if wanted else None


class Huber(ResidualLoss):
    """residual**2 / 2 where |residual| is at most `epsilon`, else epsilon * |residual| - epsilon**2 / 2."""

    def __init__(self, epsilon: float | Array) -> None:
        self.epsilon = epsilon

    def scaled(self, scale: Array) -> Loss:
        return Huber(self.epsilon / scale)

    def by_residual(self, residual: Array, wanted: bool) -> Array | None:
        if not wanted:
            np.clip(residual, -self.epsilon, self.epsilon, out=residual)
            return None
        clipped = np.clip(residual, -self.epsilon, self.epsilon)
        losses: Array = clipped * (residual - clipped / 2)
        residual[...] = clipped
        return losses

    def __repr__(self) -> str:
        return f"Huber({self.epsilon!r})"


class EpsilonInsensitive(ResidualLoss):
    """max(0, |residual| - epsilon)."""

    def __init__(self, epsilon: float | Array) -> None:
        self.epsilon = epsilon

    def scaled(self, scale: Array) -> Loss:
        return EpsilonInsensitive(self.epsilon / scale)

    def by_residual(self, residual: Array, wanted: bool) -> Array | None:
        excess = np.abs(residual) - self.epsilon
        np.sign(residual, out=residual)
        residual *= excess > 0
        return np.maximum(excess, 0) if wanted else None

    def __repr__(self) -> str:
        return f"EpsilonInsensitive({self.epsilon!r})"


# Rows are short: NumPy's own reductions over them would take ten times as long.


def sum_outputs(values: Array) -> Array:
    """The sum of each row, shape (rows,)."""
    sums: Array = values @ np.ones(values.shape[1], values.dtype)
    return sums


def shift(raw: Array) -> None:
    """Subtracts from each row its maximum, so that no exponential overflows."""
    raw -= np.maximum.reduce(np.ascontiguousarray(raw.T), axis=0)[:, None]
