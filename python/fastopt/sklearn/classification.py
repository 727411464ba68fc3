"""Classes -> targets of a loss, and back: what `LinearClassifier` and `MLPClassifier` share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.sparse import issparse
from sklearn.base import ClassifierMixin
from sklearn.metrics import accuracy_score
from sklearn.utils.multiclass import check_classification_targets

from ..rules.checks import check_number
from ..rules.words import shown
from .base import Estimator
from .losses import Logistic, Loss, MarginLoss, Softmax
from .network import Network
from .parameters import plain

__all__ = ["Classifier"]

Array = np.ndarray[Any, Any]


class Classifier(ClassifierMixin, Estimator):  # type: ignore[misc]  # scikit-learn has no types
    """An estimator whose outputs are scores of classes: one output for two classes, else one for each class."""

    classes_: Array
    class_weight: Any

    def _takes_labels(self) -> bool:
        return bool(self.__sklearn_tags__().classifier_tags.multi_label)

    def _dense(self, y: Any) -> Any:
        if not issparse(y):
            return y
        if not self._takes_labels():
            raise TypeError(f"y: got a sparse {type(y).__name__}, expected an array with a class for each row")
        return y.toarray()

    def _encode(self, y: Array, classes: Any, dtype: np.dtype[Any], *, first: bool) -> Array:
        check_classification_targets(y)
        multilabel = y.ndim == 2
        if multilabel and not self._takes_labels():
            raise ValueError(f"y: got shape {y.shape}, expected (rows,), a class for each row")
        if multilabel and not np.isin(y, (0, 1)).all():
            raise ValueError(
                f"y: got shape {y.shape} with other values than 0 and 1, expected an indicator of labels, or (rows,), a class for"
                " each row"
            )
        if first:
            self._set_classes(y, classes)
        elif classes is not None and not np.array_equal(np.unique(classes), self.classes_):
            raise ValueError(
                f"classes: got {shown(np.unique(classes).tolist())}, expected those of the first call, {shown(self.classes_.tolist())}"
            )
        if multilabel != self._multilabel or (multilabel and y.shape[1] != len(self.classes_)):
            raise ValueError(f"y: got shape {y.shape}, expected targets of the {len(self.classes_)} classes of the first call")
        if multilabel:
            return y.astype(dtype)
        index, loss = self._positions(y), self._loss()
        if isinstance(loss, Softmax):
            return index
        hot = index[:, None] == (1 if self._outputs() == 1 else np.arange(len(self.classes_)))
        target: Array = hot.astype(dtype)
        return 2 * target - 1 if isinstance(loss, MarginLoss) else target

    def _set_classes(self, y: Array, classes: Any) -> None:
        self._multilabel = y.ndim == 2
        if self._multilabel:
            self.classes_ = np.arange(y.shape[1])
            if classes is not None and not np.array_equal(classes, self.classes_):
                raise ValueError(
                    f"classes: got {shown(classes)}, expected None or the columns' numbers, since y has several columns"
                )
            return
        found = np.unique(y if classes is None else classes)
        if len(found) < 2:
            raise ValueError(f"y: got {len(found)} class, expected at least two classes")
        self.classes_ = found

    def _positions(self, y: Array) -> Array:
        """The index of each row's class."""
        index: Array = np.searchsorted(self.classes_, y).clip(max=len(self.classes_) - 1)
        unknown = self.classes_[index] != y
        if unknown.any():
            raise ValueError(
                f"y: got the class {shown(y[unknown].tolist()[0])}, expected one of the classes {shown(self.classes_.tolist())}"
            )
        return index

    def _outputs(self) -> int:
        return 1 if len(self.classes_) == 2 and not self._multilabel else len(self.classes_)

    def _weigh(self, y: Array, weight: Array | None, dtype: np.dtype[Any], *, incremental: bool) -> Array | None:
        chosen = self.class_weight
        if chosen is None:
            return weight
        if self._multilabel:
            raise ValueError(
                f"class_weight: got {shown(chosen)}, expected None where a row has several labels; there is sample_weight"
            )
        index = self._positions(y)
        if isinstance(chosen, str):
            if chosen != "balanced":
                raise ValueError(f"class_weight: got {chosen!r}, expected a dict, 'balanced' or None")
            if incremental:
                raise ValueError(
                    "class_weight: got 'balanced', expected a dict or None, since partial_fit sees a part of the rows alone"
                )
            counts = np.bincount(index, weight, len(self.classes_))
            of_class = counts.sum() / (np.count_nonzero(counts) * np.where(counts > 0, counts, np.inf))
        else:
            of_class = self._given_weights(chosen)
        weights: Array = of_class.astype(dtype)[index]
        return weights if weight is None else weights * weight

    def _given_weights(self, chosen: Any) -> Array:
        """The weight of each class; 1 if the dict does not name the class.

        By scikit-learn's rule a dict that names every class may name others too, since a fold may lack a class.
        """
        if not isinstance(chosen, Mapping):
            raise TypeError(f"class_weight: got {shown(chosen)}, expected a dict, 'balanced' or None")
        names = self.classes_.tolist()
        for key, value in chosen.items():
            check_number(plain(value), f"class_weight[{key!r}]", "[0, inf)")
            if key not in names and not set(names) <= set(chosen):
                raise ValueError(f"class_weight: got the key {shown(key)}, expected one of the classes {shown(names)}")
        return np.array([float(chosen.get(name, 1)) for name in names])

    def _constant_loss(self, loss: Loss, target: Array, weight: Array | None) -> float:
        """The loss of predicting the shares of the classes for every row."""
        if isinstance(loss, Softmax):
            counts = np.bincount(target, weight, self._outputs())
            shares = counts[counts > 0] / counts.sum()
            return float(-(shares * np.log(shares)).sum())
        assert isinstance(loss, (Logistic, MarginLoss))
        positive = np.average(target > 0, axis=0, weights=weight)
        return float(loss.at_shares(positive).sum())

    def _stratified(self, y: Array) -> Array | None:
        return None if self._multilabel else y

    def _validate(self, X: Any, y: Array, weight: Array | None, network: Network) -> float:
        return float(accuracy_score(y, self._classes_of(network.forward(X)), sample_weight=weight))

    def _classes_of(self, raw: Array) -> Array:
        """The classes that raw outputs predict."""
        if self._multilabel:
            return (raw > 0).astype(int)
        index = (raw[:, 0] > 0).astype(int) if raw.shape[1] == 1 else raw.argmax(axis=1)
        predicted: Array = self.classes_[index]
        return predicted

    def predict(self, X: Any) -> Array:
        """The class of each row, shape (rows,); with several labels a row, 1 or 0 for each label, shape (rows, labels)."""
        return self._classes_of(self._raw(self._checked(X)))

    def _probabilities(self, X: Any) -> Array:
        """The loss's function of the raw outputs; two classes have a column each."""
        raw = self._scores(X)
        self._loss().output(raw)
        return raw

    def _log_probabilities(self, X: Any) -> Array:
        """The logarithms of the probabilities, finite even if a probability is too small for the dtype."""
        raw, loss = self._scores(X), self._loss()
        assert isinstance(loss, (Logistic, Softmax))
        loss.log_output(raw)
        return raw

    def _scores(self, X: Any) -> Array:
        """The raw outputs.  Two classes have a column each, since 1 - p is not exact."""
        raw = self._raw(self._checked(X))
        return raw if self._multilabel or raw.shape[1] > 1 else np.hstack([-raw, raw])
