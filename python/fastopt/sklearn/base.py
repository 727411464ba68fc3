"""`Estimator`: what the four estimators share, from checked data to a fitted model."""

from __future__ import annotations

import copy
import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, is_regressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, column_or_1d, validate_data

from ..schedules import ReduceOnPlateau
from .assigned import assigned_arrays
from .losses import Loss
from .network import Network
from .parameters import Loop, Settings, read_loop
from .scaling import Moments, Scaling
from .suggesting import Suggesting
from .training import Trainer
from .weighting import checked_weight, normalised

__all__ = ["WHOLE_PATIENCE", "Data", "Estimator"]

Array = np.ndarray[Any, Any]

WHOLE_PATIENCE = 40
"""Epochs without improvement that end a training whose batch is all rows, so that an epoch is a single step."""

REDUCTIONS, REDUCTION = 2, 0.1
"""How often a default rate falls before the training ends, and to what share: small last steps settle what large ones circle."""

NO_BETTER = 0.999
"""The share of a constant prediction's loss above which a fit has learned nothing to speak of."""

FITTED = ("_trainer", "_multilabel", "_one_output")
"""What a fit sets besides the attributes whose names end in "_"."""


class Diverged(ValueError):
    """An epoch left numbers that are not finite."""


@dataclass(frozen=True)
class Data:
    """What a call trains on, and the held-out rows with their `y` and weights."""

    X: Any
    target: Array
    weight: Array | None
    held_out: tuple[Any, Array, Array | None] | None = None


class Estimator(ABC, Suggesting, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Trains a `Network` with any rule of fastopt.  Use its subclasses, such as `LinearClassifier`."""

    _rates: Mapping[str, float]
    _patience: int
    _trainer: Trainer

    # What each class says about itself.

    @abstractmethod
    def _loss(self) -> Loss:
        """The loss; a classifier's fits its `classes_`."""

    @abstractmethod
    def _raw(self, X: Any) -> Array:
        """The raw outputs for checked rows."""

    @abstractmethod
    def _encode(self, y: Array, classes: Any, dtype: np.dtype[Any], *, first: bool) -> Array:
        """`y` as the loss takes it.  Sets `classes_` if `first`, else checks them."""

    @abstractmethod
    def _weigh(self, y: Array, weight: Array | None, dtype: np.dtype[Any], *, incremental: bool) -> Array | None:
        """The weights of the rows times those of their classes."""

    @abstractmethod
    def _network(self, columns: int, target: Array, dtype: np.dtype[Any], seed: Any) -> Network:
        """A network as the parameters describe it."""

    @abstractmethod
    def _begin(self, network: Network, target: Array, weight: Array | None) -> None:
        """Writes the first weights and biases to a new network."""

    @abstractmethod
    def _batch(self, rows: int) -> int:
        """The batch size that "auto" means."""

    @abstractmethod
    def _arrays(self, network: Network) -> dict[str, Any]:
        """The public arrays, views of the network's: for each name an array or a new list of arrays."""

    @abstractmethod
    def _dense(self, y: Any) -> Any:
        """`y` as a dense array.  Raises TypeError if `y` is sparse and may not be."""

    @abstractmethod
    def _constant_loss(self, loss: Loss, target: Array, weight: Array | None) -> float:
        """The loss of the same prediction for every row: the best one, or nearly so."""

    @abstractmethod
    def _stratified(self, y: Array) -> Array | None:
        """Values of which the held-out rows get the same shares, or None."""

    @abstractmethod
    def _validate(self, X: Any, y: Array, weight: Array | None, network: Network) -> float:
        """The score of a network's predictions for the held-out rows."""

    def _check_parameters(self) -> None:
        """Raises TypeError or ValueError if one of the class's own parameters is wrong."""

    @abstractmethod
    def _settings(self, data: Data, before: float, *, whole: bool) -> tuple[Settings, float]:
        """The optimizer for scaled data, and the largest curvature so far, given the one `before`, if the rate follows it.

        `whole`: whether a step sees all rows.
        """

    def _targets(self, target: Array) -> Array | None:
        """The targets whose scale the training takes out, or None."""
        return None

    def _intercepts(self) -> bool:
        """Whether the biases are trained."""
        return True

    def _unit(self, constant: float) -> float:
        """The loss that `tol` is a share of, given the loss of a constant prediction."""
        return 1.0

    # Training.

    def _fit(self, X: Any, y: Any, sample_weight: Any, *, incremental: bool = False, classes: Any = None) -> None:
        """`fit`, or `partial_fit` with `incremental`.  If a `fit` raises, the estimator stays as it was."""
        before, backup = dict(vars(self)), {}
        curves = [before.get("loss_curve_"), before.get("validation_scores_")]
        lengths = [len(curve or ()) for curve in curves]
        try:
            loop = read_loop(self)
            if loop.warm_start and not incremental and "_trainer" in before:
                backup = copy.deepcopy({name: before[name] for name in ("_trainer", *self._arrays(self._trainer.published))})
            trainer, data = self._prepare(X, y, sample_weight, loop, incremental=incremental, classes=classes)
            self._train(trainer, loop, data, incremental=incremental)
        except BaseException as error:
            self.__dict__.clear()
            self.__dict__.update(before | backup)
            for curve, length in zip(curves, lengths, strict=True):
                if curve is not None:
                    del curve[length:]
            if backup:
                self._link()
            elif isinstance(error, Diverged) and incremental:
                error.args = (f"{error}; partial_fit keeps no copy of what was there: the estimator is not fitted any more",)
                for name in [name for name in before if name in FITTED or (name.endswith("_") and not name.startswith("_"))]:
                    delattr(self, name)
            raise

    def _prepare(
        self, X: Any, y: Any, sample_weight: Any, loop: Loop, *, incremental: bool, classes: Any
    ) -> tuple[Trainer, Data]:
        """Checks everything, then returns a new trainer, or the last call's with the changes since then."""
        self._check_parameters()
        if incremental and loop.early_stopping:
            raise ValueError("early_stopping: got True, expected False, since partial_fit holds no rows out")
        trainer: Trainer | None = getattr(self, "_trainer", None) if incremental or loop.warm_start else None
        X, y = validate_data(
            self,
            X,
            self._dense(y),
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
        target = self._encode(y, classes, X.dtype, first=trainer is None)
        weight = self._weigh(y, weight, X.dtype, incremental=incremental)
        if not incremental:
            weight = normalised(weight)
        rng = np.random.default_rng(check_random_state(self.random_state).randint(2**31 - 1)) if trainer is None else trainer.rng
        data = Data(X, target, weight)
        seed = None if trainer is None else trainer.split_seed
        if loop.early_stopping:
            if seed is None:
                seed = int(rng.integers(2**31))
            data = self._hold_out(data, y, loop, seed)
        columns, rows = X.shape[1], data.X.shape[0]
        whole = not incremental and (loop.batch_size or self._batch(rows)) >= rows
        moments, scaling = self._scaling(trainer, data, loop, incremental=incremental)
        data = replace(data, X=scaling.features(data.X), target=scaling.targets(data.target))
        before = trainer.curvature if trainer is not None and incremental else 0.0
        settings, curvature = self._settings(data, before, whole=whole)
        if isinstance(settings.lr, ReduceOnPlateau) and settings.lr.mode == "max" and not loop.early_stopping:
            raise ValueError(
                'learning_rate: got a ReduceOnPlateau of mode "max", which needs early_stopping=True: it takes the scores'
            )
        if trainer is None:
            network = self._network(columns, target, X.dtype, rng)
            self._begin(network, data.target, data.weight)
            trainer = Trainer(network, settings, rng, scaling=scaling, biases=self._intercepts())
            self.loss_curve_: list[float] = []
            self.validation_scores_: list[float] | None = None
            self.best_validation_score_: float | None = None
            self.n_iter_ = 0
        else:
            self._continue(trainer, self._network(columns, target, X.dtype, 0), settings, scaling)
        trainer.network.output = trainer.network.output.scaled(scaling.target_scale.astype(X.dtype))
        trainer.moments, trainer.curvature, trainer.split_seed = moments, curvature, seed
        return trainer, data

    def _scaling(
        self, trainer: Trainer | None, data: Data, loop: Loop, *, incremental: bool
    ) -> tuple[tuple[Moments, Moments | None] | None, Scaling]:
        """The moments of the data, in `partial_fit` of all calls so far, and the scaling that suits them."""
        targets = self._targets(data.target)
        nothing = Scaling.none(data.X.shape[1], 1 if targets is None else targets.shape[1])
        before = nothing if trainer is None else trainer.scaling
        if not loop.standardize:
            return None, before if before.plain else nothing
        features, outputs = Moments.of(data.X, data.weight), None if targets is None else Moments.of(targets, data.weight)
        if incremental and trainer is not None and trainer.moments is not None:
            earlier = trainer.moments
            features = earlier[0].added(features)
            outputs = outputs if outputs is None or earlier[1] is None else earlier[1].added(outputs)
        centred = self._intercepts() and isinstance(data.X, np.ndarray)  # centres would fill a sparse matrix
        return (features, outputs), before.renewed(features, outputs, centred=centred, intercept=self._intercepts())

    def _train(self, trainer: Trainer, loop: Loop, data: Data, *, incremental: bool) -> None:
        rows = data.X.shape[0]
        batch_size = min(loop.batch_size or self._batch(rows), rows)
        trainer.restart_rate()
        if incremental:
            self._epochs(trainer, replace(loop, tol=None), 1, data, batch_size)
            self.n_iter_ += 1
        else:
            self.n_iter_ = self._epochs(trainer, loop, loop.max_iter, data, batch_size)
        trainer.network.release(batch_size if incremental else None)
        self.best_loss_: float | None = None if loop.early_stopping else trainer.best_loss
        self._trainer = trainer
        self.t_ = trainer.optimizer.steps
        self._show(trainer)

    def _continue(self, trainer: Trainer, expected: Network, settings: Settings, scaling: Scaling) -> None:
        """Takes on parameters and scales that have changed since the last call, and arrays that were assigned."""
        network = trainer.network
        for name in ("sizes", "activation"):
            if getattr(expected, name) != getattr(network, name):
                raise ValueError(
                    f"{type(self).__name__}: got parameters or data of a network of {name} {getattr(expected, name)}, expected"
                    f" {getattr(network, name)}, since warm_start and partial_fit go on with the network that is there"
                )
        assigned = assigned_arrays(self._arrays(trainer.published), vars(self))
        for live, value in assigned:
            live[...] = value
        if assigned or trainer.published is not network:
            trainer.take_published()
        trainer.rescale(scaling)
        trainer.adopt(settings, biases=self._intercepts())
        for part in (network, trainer.published):
            part.output = expected.output

    def _hold_out(self, data: Data, y: Array, loop: Loop, seed: int) -> Data:
        rows = len(y)
        try:
            train, held = train_test_split(
                np.arange(rows), test_size=loop.validation_fraction, random_state=seed, stratify=self._stratified(y)
            )
        except ValueError as error:
            raise ValueError(f"validation_fraction: got {loop.validation_fraction} of {rows} rows: {error}") from error
        if len(held) < 2 and is_regressor(self):
            raise ValueError(
                f"validation_fraction: got {loop.validation_fraction} of {rows} rows, which is one, expected two or more: the"
                " score is R2"
            )
        weight = data.weight
        if weight is None:
            return Data(data.X[train], data.target[train], None, (data.X[held], y[held], None))
        for part, name in ((train, "training"), (held, "validation")):
            if not weight[part].any():
                raise ValueError(f"sample_weight: got 0 for every row of the {name} part, expected some above 0")
        return Data(data.X[train], data.target[train], normalised(weight[train]), (data.X[held], y[held], weight[held]))

    def _epochs(self, trainer: Trainer, loop: Loop, most: int, data: Data, batch_size: int) -> int:
        """Trains for up to `most` epochs and returns how many it took."""
        stops = loop.tol is not None
        constant = self._constant_loss(trainer.network.output, data.target, data.weight) if stops else np.nan
        unit = 1.0 if loop.early_stopping else self._unit(constant)
        threshold = (loop.tol or 0.0) * unit
        patience = loop.n_iter_no_change or (WHOLE_PATIENCE if batch_size >= data.X.shape[0] else self._patience)
        first, best, stale, kept = np.inf, np.inf, 0, None
        if data.held_out is not None:
            if self.validation_scores_ is None:
                self.validation_scores_, self.best_validation_score_ = [], None
            else:  # the start of a warm start may stay the best
                self.best_validation_score_ = self._validate(*data.held_out, trainer.published)
                best, kept = -self.best_validation_score_, trainer.snapshot()
        ended, reductions = False, REDUCTIONS
        for done in range(1, most + 1):
            loss = trainer.epoch(data.X, data.target, data.weight, batch_size, shuffle=loop.shuffle)
            if not np.isfinite(loss) or not np.isfinite(trainer.network.flat.data).all():
                raise Diverged(
                    f"{type(self).__name__}: epoch {done} left numbers that are not finite; try a lower learning_rate, or"
                    " standardize=True if it is False"
                )
            first = loss if done == 1 else first
            trainer.best_loss = min(trainer.best_loss, loss)
            self.loss_curve_.append(loss)
            trainer.publish()
            measure, score = loss, None
            if data.held_out is not None:
                score = self._validate(*data.held_out, trainer.published)
                assert self.validation_scores_ is not None
                self.validation_scores_.append(score)
                if self.best_validation_score_ is None or score > self.best_validation_score_:
                    self.best_validation_score_ = score
                    kept = trainer.snapshot()
                measure = -score
            if loop.verbose:
                print(f"Epoch {done}, loss {loss:.8f}" + ("" if score is None else f", validation score {score:.6f}"))
            trainer.reduce(loss, score)
            stale = 0 if measure < best - threshold else stale + 1
            best = measure if stale == 0 else best
            # A loss above the first epoch's is still on its way down, after steps that were too large.
            if stops and stale >= patience and loss <= first + threshold:
                if reductions and trainer.settings.default_rate:
                    trainer.optimizer.lr *= REDUCTION
                    stale, reductions, patience = 0, reductions - 1, -(-patience // 2)  # small steps show sooner what they bring
                    continue
                ended = True
                break
        if stops:
            self._warn(loop, ended=ended, first=first, last=loss, constant=constant)
        if kept is not None:
            trainer.restore(kept)
        return done

    def _warn(self, loop: Loop, *, ended: bool, first: float, last: float, constant: float) -> None:
        """Gives a ConvergenceWarning if the epochs were too few, or if the result is no better than a constant."""
        words = [] if ended else [f"max_iter={loop.max_iter} epochs were over before the loss had stopped improving by tol"]
        if self._intercepts() and constant > 0 and last > NO_BETTER * constant:
            scale = "" if loop.standardize else "standardize=True, or "
            words.append(
                f"the last loss, {last:.4g}, is no better than that of the same prediction for every row, {constant:.4g}: try"
                f" {scale}another learning_rate, a smaller l1 or l2, or features that have more to do with y"
            )
        elif not ended and last > first:
            words.append(f"the last loss, {last:.4g}, is above the first epoch's, {first:.4g}: try a lower learning_rate")
        if words:
            warnings.warn(f"{type(self).__name__}: {'; '.join(words)}", ConvergenceWarning, stacklevel=6)

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
        if "_trainer" in vars(self):
            self._link()

    def _link(self) -> None:
        """Makes the public arrays, which a copy has separated, views of the network's again.  Assigned arrays stay."""
        for name, live in self._arrays(self._trainer.published).items():
            value = vars(self)[name]
            if isinstance(live, list) and isinstance(value, list) and len(value) == len(live):
                value[:] = [mine if np.array_equal(mine, other) else other for mine, other in zip(live, value, strict=True)]
            elif not isinstance(live, list) and np.array_equal(live, value):
                setattr(self, name, live)
