"""What `fastopt compare` trains on: samples of any source, checked, split and standardised."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .samples import Array, DataError, Samples
from .sources import read

__all__ = ["FEWEST", "Data", "hold_out", "load", "prepare"]

FEWEST = 8
"""Samples of a class, at least: a quarter of them tests, and a quarter of the others chooses the learning rate."""

AMOUNTS = 100
"""Different whole numbers, at most, that are classes; more are amounts."""

MANY = 20
"""From so many different whole numbers on, labels are amounts if some of them are rare."""


@dataclass(frozen=True)
class Data:
    """Standardised inputs, shape (samples, features), float32, and labels, shape (samples,), int64: indices into `classes`."""

    name: str
    train_inputs: Array
    train_labels: Array
    test_inputs: Array
    test_labels: Array
    classes: tuple[str, ...]
    target: str | None = None
    """What the classes are classes of, if the source names it."""


def load(source: str = "digits", *, seed: int = 0, target: str | None = None) -> Data:
    """The data of "digits", "mnist" or a file, with the split that `seed` gives.  Raises DataError if they cannot be used."""
    return prepare(read(source, target), seed)


def prepare(samples: Samples, seed: int) -> Data:
    """Checks, splits and standardises; if the source has no test part, a quarter of each class is kept for it.

    Raises DataError if the samples are no classification problem that can be split twice.
    """
    name = samples.name
    inputs = check_inputs(samples, samples.inputs, "inputs")
    labels = check_labels(name, samples.labels, len(inputs))
    classes, codes, counts = np.unique(labels, return_inverse=True, return_counts=True)
    fewest = FEWEST if samples.test_inputs is None else FEWEST // 2
    check_classes(name, classes, counts, fewest)
    if samples.test_inputs is None or samples.test_labels is None:
        train, test, train_labels, test_labels = split(inputs, codes, seed)
    else:
        train, train_labels = inputs, codes
        test = check_inputs(samples, samples.test_inputs, "test inputs")
        if test.shape[1] != train.shape[1]:
            raise DataError(f"{name}: the test part has {test.shape[1]} features, expected {train.shape[1]} as for training")
        found = check_labels(name, samples.test_labels, len(test))
        if found.dtype.kind != labels.dtype.kind:
            found, labels_as = found.astype(np.str_), classes.astype(np.str_)
        else:
            labels_as = classes
        unknown = np.setdiff1d(found, labels_as)
        if len(unknown):
            raise DataError(f"{name}: the test part has the class {word(unknown[0])!r}, which no training sample has")
        order = np.argsort(labels_as)
        test_labels = order[np.searchsorted(labels_as, found, sorter=order)]
    train, test = standardise(samples, train, test)
    shown = tuple(word(value) for value in classes)
    return Data(name, train, train_labels.astype(np.int64), test, test_labels.astype(np.int64), shown, samples.target)


def hold_out(data: Data, seed: int) -> Data:
    """The training samples of `data` alone, with a quarter of them in place of the test part, for choices made before the test."""
    train, validation, train_labels, validation_labels = split(data.train_inputs, data.train_labels, seed)
    return Data(data.name, train, train_labels, validation, validation_labels, data.classes, data.target)


def split(inputs: Array, labels: Array, seed: int) -> list[Array]:
    """Three quarters of each class, the other quarter, and the labels of both."""
    from sklearn.model_selection import train_test_split

    parts: list[Array] = train_test_split(inputs, labels, test_size=0.25, random_state=seed, stratify=labels)
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


def check_labels(name: str, labels: Array, samples: int) -> Array:
    """One label a sample; whole numbers in floating point become integers."""
    if labels.ndim not in (1, 2) or labels.shape not in ((samples,), (samples, 1)):
        raise DataError(f"{name}: labels: got shape {labels.shape} for {samples} samples, expected ({samples},)")
    labels = labels.reshape(-1)
    if labels.dtype.kind == "S":
        return np.char.decode(labels, "utf-8", "replace")
    if labels.dtype.kind == "f":
        if not np.isfinite(labels).all():
            raise DataError(f"{name}: labels: some are NaN or infinite")
        broken = labels != np.rint(labels)
        if broken.any():
            raise DataError(
                f"{name}: labels: got real values such as {word(labels[broken][0])}; only classification is supported"
            )
        return labels.astype(np.int64) if np.abs(labels).max() < 2**53 else labels
    if labels.dtype.kind not in "biuU":
        raise DataError(f"{name}: labels: got dtype {labels.dtype}, expected whole numbers, truth values or texts")
    return labels


def check_classes(name: str, classes: Array, counts: Array, fewest: int) -> None:
    if len(classes) < 2:
        raise DataError(f"{name}: labels: all samples are of the class {word(classes[0])!r}, expected two classes or more")
    if classes.dtype.kind in "iuf" and len(classes) > AMOUNTS:
        raise DataError(
            f"{name}: labels: got {len(classes)} different numbers, expected {AMOUNTS} classes at most; "
            "only classification is supported"
        )
    rarest = int(np.argmin(counts))
    if counts[rarest] < fewest:
        if classes.dtype.kind in "iuf" and len(classes) > MANY:
            raise DataError(f"{name}: labels: got {len(classes)} different numbers, some rare; only classification is supported")
        samples = "sample" if counts[rarest] == 1 else "samples"
        raise DataError(
            f"{name}: labels: the class {word(classes[rarest])!r} has {counts[rarest]} {samples}, "
            f"expected {fewest} or more of each class"
        )


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


def word(value: Any) -> str:
    """A class, as reports show it."""
    return str(value.item()) if isinstance(value, np.generic) else str(value)
