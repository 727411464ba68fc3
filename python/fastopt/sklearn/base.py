"""`Estimator`: what the four estimators share, from checked data to a fitted model."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, is_regressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.utils import check_array, check_random_state
from sklearn.utils.validation import check_is_fitted, column_or_1d, validate_data

from ..schedules import ReduceOnPlateau
from .losses import Loss
from .network import Network
from .parameters import Loop, Settings, read_loop, read_settings
from .training import Trainer

__all__ = ["Estimator"]

Array = np.ndarray[Any, Any]


class Estimator(ABC, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Trains a `Network` by any rule of fastopt.  Use the classes: `LinearClassifier` and the others."""

    _rates: Mapping[str, float]
    _other_rate: float
    _patience: int

    # What the classes say of themselves.

    @abstractmethod
    def _loss(self) -> Loss:
        """The loss, of a classifier for its `classes_`."""

    @abstractmethod
    def _raw(self, X: Any) -> Array:
        """The raw outputs for checked rows."""

    @abstractmethod
    def _encode(self, y: Array, classes: Any, dtype: np.dtype[Any], *, first: bool) -> Array:
        """`y` as the loss takes it; sets `classes_` where `first`, and checks them where not."""

    @abstractmethod
    def _weigh(self, y: Array, weight: Array | None, dtype: np.dtype[Any], *, incremental: bool) -> Array | None:
        """The weights of the rows with those of their classes."""

    @abstractmethod
    def _network(self, columns: int, target: Array, dtype: np.dtype[Any], seed: Any) -> Network:
        """A network as the parameters say."""

    @abstractmethod
    def _begin(self, network: Network, target: Array, weight: Array | None) -> None:
        """Writes to a new network what it is to begin with."""

    @abstractmethod
    def _batch(self, rows: int) -> int:
        """The batch size of "auto"."""

    @abstractmethod
    def _arrays(self, network: Network) -> dict[str, Any]:
        """The public arrays, views of the network's: an array or a list of them for each name."""

    @abstractmethod
    def _validate(self, X: Any, y: Array, weight: Array | None, network: Network) -> float:
        """The score of a network's predictions for the rows held out."""

    def _check_parameters(self) -> None:
        """TypeError or ValueError where a parameter of the class's own is wrong."""

    def _settings(self, target: Array, weight: Array | None, *, first: bool, whole: bool) -> Settings:
        """The optimizer for these targets; `whole` where a step is to see all rows there are."""
        return read_settings(self, self._rates, self._other_rate)

    def _unit(self, target: Array, weight: Array | None) -> float:
        """The loss that `tol` is a share of."""
        return 1.0

    def _stratified(self, y: Array) -> Array | None:
        """What a part held out has the same shares of."""
        return y

    # Training.

    def _fit(self, X: Any, y: Any, sample_weight: Any, *, incremental: bool = False, classes: Any = None) -> None:
        self._check_parameters()
        loop = read_loop(self)
        lr = read_settings(self, self._rates, self._other_rate).lr
        if isinstance(lr, ReduceOnPlateau) and lr.mode == "max" and not loop.early_stopping:
            raise ValueError(
                'learning_rate: got a ReduceOnPlateau of mode "max", which needs early_stopping=True: it takes the scores'
            )
        if incremental and loop.early_stopping:
            raise ValueError("early_stopping: got True, expected False, since partial_fit holds no rows out")
        trainer: Trainer | None = getattr(self, "_trainer", None) if incremental or loop.warm_start else None
        X, y = validate_data(
            self,
            X,
            y,
            accept_sparse="csr",
            dtype=(np.float64, np.float32) if trainer is None else trainer.network.dtype,
            order="C",
            multi_output=True,
            y_numeric=is_regressor(self),
            reset=trainer is None,
        )
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        weight = checked_weight(sample_weight, X)
        whole = not incremental and (loop.batch_size or self._batch(X.shape[0])) >= X.shape[0]
        target = self._encode(y, classes, X.dtype, first=trainer is None)
        weight = normalised(self._weigh(y, weight, X.dtype, incremental=incremental))
        if trainer is None:
            rng = np.random.default_rng(check_random_state(self.random_state).randint(2**31 - 1))
            network = self._network(X.shape[1], target, X.dtype, rng)
            self._begin(network, target, weight)
            trainer = Trainer(
                network, self._settings(target, weight, first=True, whole=whole), rng, biases=getattr(self, "fit_intercept", True)
            )
            self.loss_curve_: list[float] = []
            self.validation_scores_: list[float] | None = None
            self.best_validation_score_: float | None = None
            self.n_iter_ = 0
        else:
            self._continue(trainer, X.shape[1], target, weight, whole)
        if incremental:
            self._run(trainer, replace(loop, tol=None), 1, X, target, weight, None)
            self.n_iter_ += 1
            self.best_loss_: float | None = min(self.loss_curve_)
        else:
            held_out = None
            if loop.early_stopping:
                X, target, weight, held_out = self._hold_out(X, y, target, weight, loop, trainer.rng)
            self.n_iter_ = self._run(trainer, loop, loop.max_iter, X, target, weight, held_out)
            self.best_loss_ = None if loop.early_stopping else min(self.loss_curve_)
        self._trainer = trainer
        self.t_ = trainer.optimizer.steps
        self._show(trainer)

    def _continue(self, trainer: Trainer, columns: int, target: Array, weight: Array | None, whole: bool) -> None:
        """Takes on parameters that have been changed since, and arrays that have been assigned."""
        network = trainer.network
        expected = self._network(columns, target, network.dtype, 0)
        for name in ("sizes", "activation"):
            if getattr(expected, name) != getattr(network, name):
                raise ValueError(
                    f"{type(self).__name__}: got parameters or data of a network of {name} {getattr(expected, name)}, expected"
                    f" {getattr(network, name)}, since warm_start and partial_fit go on with the network that is there"
                )
        trainer.adopt(self._settings(target, weight, first=False, whole=whole))
        for part in (network, trainer.published):
            part.output = expected.output
        if trainer.published is network:
            for live, value in pairs(self._arrays(network), vars(self)):
                if not np.shares_memory(live, value):
                    live[...] = value

    def _hold_out(
        self, X: Any, y: Array, target: Array, weight: Array | None, loop: Loop, rng: np.random.Generator
    ) -> tuple[Any, Array, Array | None, tuple[Any, Array, Array | None]]:
        train, held = train_test_split(
            np.arange(len(y)),
            test_size=loop.validation_fraction,
            random_state=int(rng.integers(2**31)),
            stratify=self._stratified(y),
        )
        if weight is None:
            return X[train], target[train], None, (X[held], y[held], None)
        for rows, part in ((train, "training"), (held, "validation")):
            if not weight[rows].any():
                raise ValueError(f"sample_weight: got 0 for every row of the {part} part, expected some above 0")
        return X[train], target[train], normalised(weight[train]), (X[held], y[held], weight[held])

    def _run(
        self,
        trainer: Trainer,
        loop: Loop,
        epochs: int,
        X: Any,
        target: Array,
        weight: Array | None,
        held_out: tuple[Any, Array, Array | None] | None,
    ) -> int:
        """Up to so many epochs; returns how many it were."""
        rows = X.shape[0]
        batch_size = min(loop.batch_size or self._batch(rows), rows)
        unit = self._unit(target, weight)
        patience = loop.n_iter_no_change or (20 if batch_size >= rows else self._patience)
        best, stale = np.inf, 0
        kept: Array | None = None
        if held_out is not None:
            self.validation_scores_, self.best_validation_score_ = self.validation_scores_ or [], None
        done = 0
        for _ in range(epochs):
            loss = trainer.epoch(X, target, weight, batch_size, shuffle=loop.shuffle)
            if not np.isfinite(loss) or not np.isfinite(trainer.network.flat.data).all():
                raise ValueError(
                    f"{type(self).__name__}: epoch {done + 1} left numbers that are not finite; a lower learning_rate, or features"
                    " scaled with StandardScaler or MinMaxScaler, might help"
                )
            done += 1
            self.loss_curve_.append(loss)
            trainer.publish()
            score = None
            measure, threshold = loss, (loop.tol or 0.0) * unit
            if held_out is not None:
                score = self._validate(*held_out, trainer.published)
                assert self.validation_scores_ is not None
                self.validation_scores_.append(score)
                if self.best_validation_score_ is None or score > self.best_validation_score_:
                    self.best_validation_score_ = score
                    kept = trainer.published.flat.data.copy()
                measure, threshold = -score, loop.tol or 0.0
            if loop.verbose:
                print(f"Epoch {done}, loss {loss:.8f}" + ("" if score is None else f", validation score {score:.6f}"))
            trainer.reduce(loss, score)
            if measure < best - threshold:
                best, stale = measure, 0
            else:
                stale += 1
            if loop.tol is not None and stale >= patience:
                break
        else:
            if loop.tol is not None:
                warnings.warn(
                    f"{type(self).__name__}: max_iter={epochs} epochs were over before the loss had stopped to improve by tol",
                    ConvergenceWarning,
                    stacklevel=4,
                )
        if kept is not None:
            trainer.published.flat.data[...] = kept
        return done

    def _show(self, trainer: Trainer) -> None:
        """Sets the public arrays."""
        for name, array in self._arrays(trainer.published).items():
            setattr(self, name, array)

    # Predicting.

    def _checked(self, X: Any) -> Any:
        """`X` as the network takes it."""
        check_is_fitted(self)
        return validate_data(self, X, accept_sparse="csr", dtype=self._trainer.network.dtype, order="C", reset=False)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "t_")

    def __setstate__(self, state: Any) -> None:
        super().__setstate__(state)
        trainer = vars(self).get("_trainer")
        if trainer is not None:  # the public arrays are the network's again
            arrays = self._arrays(trainer.published)
            if all(np.array_equal(live, value) for live, value in pairs(arrays, vars(self))):
                self._show(trainer)


def pairs(arrays: Mapping[str, Any], values: Mapping[str, Any]) -> list[tuple[Array, Any]]:
    """The arrays with what stands under their names in `values`; those of a list one by one."""
    found: list[tuple[Array, Any]] = []
    for name, array in arrays.items():
        found += zip(array, values[name], strict=True) if isinstance(array, list) else [(array, values[name])]
    return found


def checked_weight(sample_weight: Any, X: Any) -> Array | None:
    """Weights of the rows of `X`, of its dtype; ValueError where they are not that."""
    if sample_weight is None:
        return None
    rows = X.shape[0]
    weight: Array = check_array(sample_weight, ensure_2d=False, dtype=X.dtype, order="C", input_name="sample_weight")
    if weight.ndim == 0:
        weight = np.full(rows, weight)
    if weight.shape != (rows,):
        raise ValueError(f"sample_weight: got shape {weight.shape}, expected ({rows},), a weight for each row of X")
    if (weight < 0).any():
        raise ValueError("sample_weight: got negative weights, expected numbers from 0")
    return weight


def normalised(weight: Array | None) -> Array | None:
    """Weights whose mean is 1, so that the sum over a batch, divided by its rows, is on average the weighted mean over all."""
    if weight is None:
        return None
    total = weight.sum(dtype=np.float64)
    if not total > 0:
        raise ValueError("sample_weight: got zero for every weight, expected some above 0")
    scaled: Array = weight * weight.dtype.type(len(weight) / total)
    return scaled
