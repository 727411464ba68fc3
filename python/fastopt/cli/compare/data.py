"""What `fastopt compare` trains on: samples of any source, checked, split and standardised."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ...sklearn.network import Network
from .labels import (
    FEWEST,
    FEWEST_AMOUNTS,
    check_amounts,
    check_classes,
    check_labels,
    codes_of,
    standardise_amounts,
    suggested,
    word,
)
from .samples import Array, DataError, Samples
from .sources import read
from .tasks import CLASSIFICATION, REGRESSION, TASKS, Task

__all__ = ["Data", "hold_out", "load", "prepare"]


@dataclass(frozen=True)
class Data:
    """Standardised inputs, shape (samples, features), float32, and what is to be predicted.

    Labels of classes are indices into `classes`, shape (samples,), int64.  Amounts are standardised, shape (samples, 1), float32.
    """

    name: str
    train_inputs: Array
    train_labels: Array
    test_inputs: Array
    test_labels: Array
    classes: tuple[str, ...]
    target: str | None = None
    """What is predicted, if the source names it."""
    task: Task = CLASSIFICATION
    unit: float = 1.0
    """The standard deviation of the training part's amounts."""
    span: tuple[float, float] = (0.0, 0.0)
    """The least and the largest amount."""

    @property
    def outputs(self) -> int:
        """Outputs of a network that predicts the labels."""
        return len(self.classes) or 1

    def evaluate(self, network: Network, inputs: Array, labels: Array) -> dict[str, float]:
        """The network's loss and scores over these samples."""
        return self.task.evaluate(network, inputs, labels, self.unit)


def load(source: str = "digits", *, seed: int = 0, target: str | None = None, task: str | None = None) -> Data:
    """The data of "digits", "mnist" or a file, with the split that `seed` gives.  Raises DataError if they cannot be used.

    `task`: "classification" or "regression"; None: as the target suggests.
    """
    return prepare(read(source, target), seed, task)


def prepare(samples: Samples, seed: int, task: str | None = None) -> Data:
    """Checks, splits and standardises; if the source has no test part, a quarter (of each class) is kept for it.

    Raises DataError if the samples cannot be split twice or learned from.
    """
    name = samples.name
    inputs = check_inputs(samples, samples.inputs, "inputs")
    labels = check_labels(name, samples.labels, len(inputs))
    fewest = FEWEST if samples.test_inputs is None else FEWEST // 2
    chosen = suggested(labels, fewest) if task is None else TASKS[task]
    classes: Array = np.array([])
    if chosen is REGRESSION:
        codes = check_amounts(name, labels, FEWEST_AMOUNTS if samples.test_inputs is None else FEWEST_AMOUNTS // 2)
    else:
        classes, codes, counts = np.unique(labels, return_inverse=True, return_counts=True)
        check_classes(name, classes, counts, fewest)
    if samples.test_inputs is None or samples.test_labels is None:
        train, test, train_labels, test_labels = split(inputs, codes, seed, chosen)
    else:
        train, train_labels = inputs, codes
        test = check_inputs(samples, samples.test_inputs, "test inputs")
        if test.shape[1] != train.shape[1]:
            raise DataError(f"{name}: the test part has {test.shape[1]} features, expected {train.shape[1]} as for training")
        found = check_labels(name, samples.test_labels, len(test))
        test_labels = check_amounts(name, found, 2) if chosen is REGRESSION else codes_of(name, found, classes)
    train, test = standardise(samples, train, test)
    if chosen is REGRESSION:
        both = np.concatenate((train_labels, test_labels))
        train_labels, test_labels, unit = standardise_amounts(name, train_labels, test_labels)
        span = float(both.min()), float(both.max())
        return Data(name, train, train_labels, test, test_labels, (), samples.target, chosen, unit, span)
    shown = tuple(word(value) for value in classes)
    return Data(name, train, train_labels.astype(np.int64), test, test_labels.astype(np.int64), shown, samples.target)


def hold_out(data: Data, seed: int) -> Data:
    """The training samples of `data` alone, with a quarter of them in place of the test part, for choices made before the test."""
    train, validation, train_labels, validation_labels = split(data.train_inputs, data.train_labels, seed, data.task)
    return replace(data, train_inputs=train, train_labels=train_labels, test_inputs=validation, test_labels=validation_labels)


def split(inputs: Array, labels: Array, seed: int, task: Task) -> list[Array]:
    """Three quarters, of each class if there are classes, the other quarter, and the labels of both."""
    from sklearn.model_selection import train_test_split

    classes = labels if task is CLASSIFICATION else None
    parts: list[Array] = train_test_split(inputs, labels, test_size=0.25, random_state=seed, stratify=classes)
    return parts


def check_inputs(samples: Samples, inputs: Array, what: str) -> Array:
    """Finite numbers, shape (samples, features)."""
    name = samples.name
    if inputs.dtype.kind not in "biuf":
        raise DataError(f"{name}: {what}: got dtype {inputs.dtype}, expected numbers")
    if inputs.ndim < 2 or 0 in inputs.shape:
        raise DataError(f"{name}: {what}: got shape {inputs.shape}, expected (samples, features) with some of both")
    flat = inputs.reshape(len(inputs), -1)
    if flat.dtype.kind == "f":
        finite = np.isfinite(flat).all(axis=0)
        if not finite.all():
            which = feature(samples, int(np.argmin(finite)))
            raise DataError(f"{name}: {what}: feature {which} has values that are NaN or infinite")
    return flat


@np.errstate(all="ignore")  # what overflows is told below
def standardise(samples: Samples, train: Array, test: Array) -> tuple[Array, Array]:
    """Both parts, less the mean of the training part and divided by its standard deviation, for each feature; float32.

    First the training part's values of each feature are brought to 0 to 1: squares of large numbers are infinite, of tiny ones 0.
    """
    wide, wide_test = train.astype(np.float64), test.astype(np.float64)
    if not (np.isfinite(wide).all() and np.isfinite(wide_test).all()):
        raise DataError(f"{samples.name}: inputs: some values are too large for float64")
    low, high = wide.min(axis=0), wide.max(axis=0)
    far = np.isinf(high - low)
    for array in (wide, wide_test, low, high):
        array[..., far] /= 2
    span = high - low
    if not span.any():
        raise DataError(f"{samples.name}: inputs: no feature varies among the training samples")
    lost = (span == 0) & (train != train[0]).any(axis=0)
    if lost.any():
        which = feature(samples, int(np.argmax(lost)))
        raise DataError(f"{samples.name}: inputs: feature {which} varies less than float64 can tell at its size")
    # Nothing can be learned from what does not vary.  Pixels share a unit.
    unit = np.where(span == 0, np.inf, span.max() if samples.images else span)
    for array in (wide, wide_test):
        np.subtract(array, low, out=array)
        np.divide(array, unit, out=array)
    mean, deviation = wide.mean(axis=0), wide.std(axis=0)
    if samples.images:
        # Pixels that are blank in all but a few images would be blown up by their own deviation.
        deviation[deviation < 1 / 160] = 1 / 16
    else:
        deviation[span == 0] = 1
    train, test = (((part - mean) / deviation).astype(np.float32) for part in (wide, wide_test))
    if not (np.isfinite(train).all() and np.isfinite(test).all()):
        raise DataError(f"{samples.name}: inputs: some values are too large to be standardised")
    return train, test


def feature(samples: Samples, which: int) -> str:
    """The feature's name, or else its number, for an error."""
    return str(which) if samples.features is None else repr(samples.features[which])
