"""`Trainer`: a network, its optimizer and its random numbers; it trains by epochs and goes on after being pickled."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

from ..schedules import ReduceOnPlateau
from .network import Network
from .parameters import Settings, own_schedule

__all__ = ["Trainer"]

Array = np.ndarray[Any, Any]


class Trainer:
    """Trains `network`; what predicts is `published`, the same network or, with `ema_decay`, one of its averages.

    The objective is mean loss + l1*|w|_1 + l2/2*|w|_2**2 over the weights; biases have no penalty, and stay as they are where
    `biases` is False.
    """

    def __init__(self, network: Network, settings: Settings, rng: np.random.Generator, *, biases: bool = True) -> None:
        self.network = network
        self.settings = settings
        self.rng = rng
        self.biases = biases
        self.build()

    def build(self) -> None:
        """A new optimizer, of no steps."""
        network, settings = self.network, self.settings
        groups: list[dict[str, Any]] = [{"params": network.weights, "weight_decay": settings.l2, "l1": settings.l1}]
        grads = network.gradient_list[0::2]
        if self.biases:
            groups.append({"params": network.biases, "weight_decay": 0.0, "l1": 0.0})
            grads += network.gradient_list[1::2]
        self.lr = own_schedule(settings.lr)
        self.optimizer = settings.optimizer(groups, lr=self.lr, grads=grads, **settings.arguments)
        self.published = network if self.optimizer.ema_params is None else copy.deepcopy(network)

    def adopt(self, settings: Settings) -> None:
        """Goes on under other settings; the optimizer's state is kept where the rule and its hyperparameters are the same."""
        before, self.settings = self.settings, settings
        if not settings.same_rule(before):
            self.build()
            return
        if settings.lr is not before.lr and settings.lr != before.lr:
            self.lr = own_schedule(settings.lr)
            self.optimizer.lr = self.lr
        self.optimizer.groups[0].update(weight_decay=settings.l2, l1=settings.l1)

    def penalty(self) -> float:
        """What the weights add to the objective: l1*|w|_1 + l2/2*|w|_2**2, the latter not where the decay is decoupled."""
        l1, l2 = self.settings.l1, 0.0 if self.settings.decoupled else self.settings.l2
        value = 0.0
        for weight in self.network.weights:
            if l1:
                value += l1 * float(np.abs(weight).sum(dtype=np.float64))
            if l2:
                flat = weight.reshape(-1)
                value += 0.5 * l2 * float(np.dot(flat, flat))
        return value

    def epoch(self, X: Any, target: Array, weight: Array | None, batch_size: int, *, shuffle: bool) -> float:
        """One pass over the rows, a step for each batch; the objective, in the mean over the batches as they came.

        `weight`: weights of the rows whose mean is 1.  A batch of all rows is not shuffled, and nothing is copied.
        """
        rows = X.shape[0]
        with np.errstate(all="ignore"):  # the caller looks at the loss
            penalty = self.penalty()
            if batch_size >= rows:
                loss = self.network.differentiate(X, target, weight, rows)
                self.optimizer.step()
            elif shuffle:
                loss = self._shuffled(X, target, weight, batch_size) / rows
            else:
                loss = self._in_order(X, target, weight, batch_size) / rows
        return loss + penalty

    def _in_order(self, X: Any, target: Array, weight: Array | None, batch_size: int) -> float:
        total = 0.0
        rows = X.shape[0]
        for begin in range(0, rows, batch_size):
            end = min(begin + batch_size, rows)
            some = None if weight is None else weight[begin:end]
            total += (end - begin) * self.network.differentiate(X[begin:end], target[begin:end], some, end - begin)
            self.optimizer.step()
        return total

    def _shuffled(self, X: Any, target: Array, weight: Array | None, batch_size: int) -> float:
        total = 0.0
        rows = X.shape[0]
        order = self.rng.permutation(rows)
        dense = isinstance(X, np.ndarray)
        inputs = np.empty((batch_size, X.shape[1]), X.dtype) if dense else None
        targets = np.empty((batch_size, *target.shape[1:]), target.dtype)
        weights = None if weight is None else np.empty(batch_size, weight.dtype)
        differentiate, step = self.network.differentiate, self.optimizer.step
        for begin in range(0, rows, batch_size):
            batch = order[begin : begin + batch_size]
            count = len(batch)
            if count < batch_size:
                inputs, targets = None if inputs is None else inputs[:count], targets[:count]
                weights = None if weights is None else weights[:count]
            # "clip" alone writes to `out` directly; the indices are right.
            given = X[batch] if inputs is None else X.take(batch, axis=0, out=inputs, mode="clip")
            target.take(batch, axis=0, out=targets, mode="clip")
            if weight is not None:
                weight.take(batch, out=weights, mode="clip")
            total += count * differentiate(given, targets, weights, count)
            step()
        return total

    def publish(self) -> None:
        """Brings `published` up to date."""
        if self.published is not self.network:
            averages = self.optimizer.ema_params
            arrays = self.published.weights + (self.published.biases if self.biases else [])
            for array, average in zip(arrays, averages, strict=True):
                array[...] = average

    def reduce(self, loss: float, score: float | None) -> None:
        """Tells a `ReduceOnPlateau` of an epoch: of mode "min" the training's loss, of mode "max" the validation's score."""
        if isinstance(self.lr, ReduceOnPlateau):
            self.lr.step(loss if self.lr.mode == "min" else score)

    def __getstate__(self) -> dict[str, Any]:
        state = {name: value for name, value in vars(self).items() if name != "optimizer"}
        return {**state, "state": self.optimizer.state_dict()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        published, snapshot = state["published"], state["state"]
        lr = state["lr"]
        vars(self).update({name: value for name, value in state.items() if name not in ("published", "state", "lr")})
        self.build()
        if lr is not self.lr:
            self.lr = lr
            self.optimizer.lr = lr
        self.optimizer.load_state_dict(snapshot)
        self.published = published
