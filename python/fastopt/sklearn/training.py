"""`Trainer`: a network, its optimizer and its random numbers; trains by epochs and continues after a pickle."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np

from .._minimization.batches import near_even
from ..optimizer import Optimizer
from ..schedules import ReduceOnPlateau
from .network import Network
from .parameters import Settings, own_schedule
from .scaling import Moments, Scaling

__all__ = ["Trainer"]

Array = np.ndarray[Any, Any]


class Trainer:
    """Trains `network` on scaled data.  Predictions come from `published`, whose weights are for the data as given: the averages
    with `ema_decay`, with the scaling folded in.  Without both `published` is `network` itself.

    The objective is mean loss + l1*|w|_1 + l2/2*|w|_2**2 over the weights.  Biases have no penalty, and do not change if `biases`
    is False.
    """

    def __init__(
        self,
        network: Network,
        settings: Settings,
        rng: np.random.Generator,
        *,
        scaling: Scaling | None = None,
        biases: bool = True,
    ) -> None:
        self.network = network
        self.rng = rng
        self.scaling = Scaling.none(network.sizes[0], network.sizes[-1]) if scaling is None else scaling
        self.moments: tuple[Moments, Moments | None] | None = None
        """The scales of the features and of the targets so far."""
        self.curvature = 0.0
        """The largest bound so far on the curvature of a call's squared error, if the rate follows it."""
        self.split_seed: int | None = None
        """Chooses the held-out rows, so that each fit of a warm start holds out the same rows of the same data."""
        self.best_loss = math.inf
        self.build(settings, biases)

    def build(self, settings: Settings, biases: bool) -> None:
        """Makes a new optimizer.  Raises TypeError or ValueError, and changes nothing, if a hyperparameter is wrong."""
        network = self.network
        groups: list[dict[str, Any]] = [{"params": network.weights, "weight_decay": settings.l2, "l1": settings.l1}]
        grads = network.gradient_list[0::2]
        if biases:
            groups.append({"params": network.biases, "weight_decay": 0.0, "l1": 0.0})
            grads += network.gradient_list[1::2]
        lr = own_schedule(settings.lr)
        try:
            optimizer = settings.optimizer(groups, lr=lr, grads=grads, **settings.arguments)
        except (TypeError, ValueError) as error:
            raise type(error)(f"optimizer: {error}") from error
        self.settings: Settings = settings
        self.biases: bool = biases
        self.lr: Any = lr
        self.optimizer: Optimizer = optimizer
        self.published: Network = network if optimizer.ema_params is None and self.scaling.plain else copy.deepcopy(network)
        self.publish()

    def adopt(self, settings: Settings, *, biases: bool) -> None:
        """Continues under other settings.  The optimizer keeps its state if the rule and its hyperparameters are the same."""
        before = self.settings
        if biases != self.biases or not settings.same_rule(before):
            without = self.biases and not biases
            self.build(settings, biases)
            if without:
                for bias in (*self.network.biases, *self.published.biases):
                    bias[...] = 0
            return
        if settings.lr is not before.lr and settings.lr != before.lr:
            lr = own_schedule(settings.lr)
            self.optimizer.lr = lr
            self.lr = lr
        self.settings = settings
        self.optimizer.groups[0].update(weight_decay=settings.l2, l1=settings.l1)

    def restart_rate(self) -> None:
        """Undoes the reductions of a default rate in an earlier fit."""
        if self.settings.default_rate:
            self.optimizer.lr = self.lr

    def rescale(self, scaling: Scaling) -> None:
        """Continues with another scaling of the data; the predictions stay the same."""
        if scaling is self.scaling:
            return
        sources = self.sources()
        raw = [self.scaling.fold(weights, biases) for weights, biases in sources]  # the averages may share the biases
        for (weights, biases), values in zip(sources, raw, strict=True):
            self.write(scaling.unfold(*values), weights, biases)
        self.scaling = scaling
        self.optimizer.reset_masters()
        plain = self.optimizer.ema_params is None and scaling.plain
        if plain or self.published is self.network:
            self.published = self.network if plain else copy.deepcopy(self.network)
        self.publish()

    def sources(self) -> list[tuple[list[Array], list[Array]]]:
        """The weights and biases that train and, with `ema_decay`, their averages last."""
        network, averages = self.network, self.optimizer.ema_params
        found = [(network.weights, network.biases)]
        if averages is not None:
            found.append((averages[: network.depth], averages[network.depth :] if self.biases else network.biases))
        return found

    def folded(self) -> list[Array]:
        """The weights and biases that predict, in the dtype of the network."""
        weights, biases = self.sources()[-1]
        if not self.scaling.plain:
            weights, biases = self.scaling.fold(weights, biases)
        return [array.astype(self.network.dtype, copy=False) for array in (*weights, *biases)]

    @staticmethod
    def write(values: tuple[list[Array], list[Array]], weights: list[Array], biases: list[Array]) -> None:
        for array, value in zip((*weights, *biases), (*values[0], *values[1]), strict=True):
            array[...] = value

    def take_published(self) -> None:
        """Continues from values written to `published`: takes them for the weights that train and for the averages."""
        shown = [*self.published.weights, *self.published.biases]
        changed = [not np.array_equal(mine, value) for mine, value in zip(self.folded(), shown, strict=True)]
        if any(changed):
            values = self.scaling.unfold(self.published.weights, self.published.biases)
            for weights, biases in self.sources():
                # Without a scaling each array stands alone, and those that nobody wrote to keep their bits.
                for array, value, new in zip((*weights, *biases), (*values[0], *values[1]), changed, strict=True):
                    if new or not self.scaling.plain:
                        array[...] = value
        self.optimizer.reset_masters()

    def snapshot(self) -> list[Array]:
        """Copies of the weights that train and of those that predict, for `restore`."""
        return [array.copy() for array in self._restorable()]

    def restore(self, snapshot: list[Array]) -> None:
        for array, value in zip(self._restorable(), snapshot, strict=True):
            array[...] = value
        self.optimizer.reset_masters()

    def _restorable(self) -> list[Array]:
        apart = [] if self.published is self.network else [self.published.flat.data]
        return [self.network.flat.data, *apart, *(self.optimizer.ema_params or ())]

    def penalty(self) -> float:
        """The weights' share of the objective: l1*|w|_1 + l2/2*|w|_2**2, without the second term if the decay is decoupled."""
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
        """Passes over the rows once, with a step for each batch; returns the objective, as the mean over the batches.

        A batch of all rows is neither shuffled nor copied.  The penalty is that before a single step, or the mean of before the
        first and after the last of several steps.
        """
        rows = X.shape[0]
        with np.errstate(all="ignore"):  # the caller checks the loss
            penalty = self.penalty()
            if batch_size >= rows:
                loss = self.network.differentiate(X, target, weight, rows)
                if not self.scaling.plain:
                    # Around centred data this may be rounding alone, which rules that divide by its size would follow in full steps.
                    bias = self.network.gradient_list[-1]
                    bias[np.abs(bias) < 64 * np.finfo(bias.dtype).eps] = 0
                self.stepper()()
                return loss + penalty
            passed = self._shuffled if shuffle else self._in_order
            loss = passed(X, target, weight, batch_size) / float(rows)
            return loss + (penalty + self.penalty()) / 2

    def stepper(self) -> Callable[[], None]:
        """The function that makes a step."""
        return self.optimizer.step if self.optimizer.ema_params is None else self._averaging_step

    def _averaging_step(self) -> None:
        """Makes a step with a bias-corrected average, as if divided by 1 - decay**t; the first average is the parameter."""
        decay = self.optimizer.options["ema_decay"]
        faded = decay ** (self.optimizer.steps + 1)
        if faded < 2**-60:
            self.optimizer.step()
        else:
            self.optimizer.step(ema_decay=(decay - faded) / (1 - faded))

    def _in_order(self, X: Any, target: Array, weight: Array | None, batch_size: int) -> float:
        total = 0.0
        rows = X.shape[0]
        step = self.stepper()
        for begin, end in pairwise(near_even(rows, batch_size)):
            some = None if weight is None else weight[begin:end]
            total += (end - begin) * self.network.differentiate(X[begin:end], target[begin:end], some, end - begin)
            step()
        return total

    def _shuffled(self, X: Any, target: Array, weight: Array | None, batch_size: int) -> float:
        total = 0.0
        rows = X.shape[0]
        order = self.rng.permutation(rows)
        dense = isinstance(X, np.ndarray)
        inputs = np.empty((batch_size, X.shape[1]), X.dtype) if dense else None
        targets = np.empty((batch_size, *target.shape[1:]), target.dtype)
        weights = None if weight is None else np.empty(batch_size, weight.dtype)
        differentiate, step = self.network.differentiate, self.stepper()
        for begin, end in pairwise(near_even(rows, batch_size)):
            batch, count = order[begin:end], end - begin
            if count < len(targets):  # the larger batches come first
                inputs, targets = None if inputs is None else inputs[:count], targets[:count]
                weights = None if weights is None else weights[:count]
            # Only "clip" writes directly to `out`; no index needs clipping.
            given = X[batch] if inputs is None else X.take(batch, axis=0, out=inputs, mode="clip")
            target.take(batch, axis=0, out=targets, mode="clip")
            if weight is not None:
                weight.take(batch, out=weights, mode="clip")
            total += count * differentiate(given, targets, weights, count)
            step()
        return total

    def publish(self) -> None:
        """Writes what predicts to `published`."""
        if self.published is not self.network:
            for shown, value in zip((*self.published.weights, *self.published.biases), self.folded(), strict=True):
                shown[...] = value

    def reduce(self, loss: float, score: float | None) -> None:
        """Gives a `ReduceOnPlateau` an epoch's metric: the training's loss (mode "min") or the validation's score ("max")."""
        if isinstance(self.lr, ReduceOnPlateau):
            self.lr.step(loss if self.lr.mode == "min" else score)

    def __getstate__(self) -> dict[str, Any]:
        state = {name: value for name, value in vars(self).items() if name != "optimizer"}
        return {**state, "state": self.optimizer.state_dict()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        published, snapshot = state["published"], state["state"]
        lr = state["lr"]
        vars(self).update({name: value for name, value in state.items() if name not in ("published", "state", "lr")})
        self.build(self.settings, self.biases)
        if lr is not self.lr:
            self.lr = lr
            self.optimizer.lr = lr
        self.optimizer.load_state_dict(snapshot)
        self.published = published
