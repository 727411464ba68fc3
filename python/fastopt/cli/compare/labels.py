"""The targets of `fastopt compare`: classes or amounts, which of the two they are, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np

from .samples import Array, DataError
from .tasks import CLASSIFICATION, REGRESSION, Task

__all__ = [
    "FEWEST",
    "FEWEST_AMOUNTS",
    "check_amounts",
    "check_classes",
    "check_labels",
    "codes_of",
    "standardise_amounts",
    "suggested",
]
__all__ += ["word"]

FEWEST = 8
"""Samples of a class, at least: a quarter of them tests, and a quarter of the others chooses the learning rate."""

FEWEST_AMOUNTS = 20
"""Samples with amounts, at least, for the same reason."""

CLASSES = 100
"""Different numbers, at most, that are classes; more are amounts."""

MANY = 20
"""From so many different numbers on, they are amounts if some of them are rare."""


def check_labels(name: str, labels: Array, samples: int) -> Array:
    """One label a sample: numbers, with whole ones as integers, truth values, or texts without the spaces around them."""
    if labels.ndim not in (1, 2) or labels.shape not in ((samples,), (samples, 1)):
        raise DataError(f"{name}: labels: got shape {labels.shape} for {samples} samples, expected ({samples},)")
    labels = labels.reshape(-1)
    if labels.dtype.kind == "S":
        labels = np.char.decode(labels, "utf-8", "replace")
    if labels.dtype.kind == "U":
        return np.char.strip(labels)
    if labels.dtype.kind == "f":
        if not np.isfinite(labels).all():
            raise DataError(f"{name}: labels: some are NaN or infinite")
        whole = (labels == np.rint(labels)).all() and np.abs(labels).max() < 2**53
        return labels.astype(np.int64) if whole else labels
    if labels.dtype.kind not in "biu":
        raise DataError(f"{name}: labels: got dtype {labels.dtype}, expected numbers, truth values or texts")
    return labels


def suggested(labels: Array, fewest: int) -> Task:
    """The task of checked labels.

    Amounts are numbers of which some are no whole numbers, or of which there are many different ones.
    """
    if labels.dtype.kind not in "iuf":
        return CLASSIFICATION
    different, counts = np.unique(labels, return_counts=True)
    many = len(different) > CLASSES or (len(different) > MANY and counts.min() < fewest)
    return REGRESSION if labels.dtype.kind == "f" or many else CLASSIFICATION


# ---- Classes -----------------------------------------------------------------------------------------------------------


def check_classes(name: str, classes: Array, counts: Array, fewest: int) -> None:
    """Refuses a single class, and one with too few samples to be split."""
    if len(classes) < 2:
        raise DataError(f"{name}: labels: all samples are of the class {word(classes[0])!r}, expected two classes or more")
    rarest = int(np.argmin(counts))
    if counts[rarest] < fewest:
        samples = "sample" if counts[rarest] == 1 else "samples"
        cure = "; --task regression takes them for amounts" if classes.dtype.kind in "iuf" else ""
        raise DataError(
            f"{name}: labels: the class {word(classes[rarest])!r} has {counts[rarest]} {samples}, "
            f"expected {fewest} or more of each class{cure}"
        )


def codes_of(name: str, labels: Array, classes: Array) -> Array:
    """Indices into the classes, which may be of another type than the labels."""
    if labels.dtype.kind != classes.dtype.kind:
        labels, classes = labels.astype(np.str_), classes.astype(np.str_)
    unknown = np.setdiff1d(labels, classes)
    if len(unknown):
        raise DataError(f"{name}: the test part has the class {word(unknown[0])!r}, which no training sample has")
    order = np.argsort(classes)
    codes: Array = order[np.searchsorted(classes, labels, sorter=order)]
    return codes


def word(value: Any) -> str:
    """A class, as reports show it."""
    return str(value.item()) if isinstance(value, np.generic) else str(value)


# ---- Amounts -----------------------------------------------------------------------------------------------------------


def check_amounts(name: str, labels: Array, fewest: int) -> Array:
    """Checked labels as float64.  Refuses texts, and fewer labels than `fewest`."""
    if labels.dtype.kind == "U":
        raise DataError(f"{name}: labels: got texts such as {word(labels[0])!r}, expected the numbers of a regression")
    if len(labels) < fewest:
        raise DataError(f"{name}: labels: got {len(labels)} amounts, expected {fewest} or more")
    return labels.astype(np.float64)


@np.errstate(all="ignore")  # what overflows is told below
def standardise_amounts(name: str, train: Array, test: Array) -> tuple[Array, Array, float]:
    """Both parts, less the training part's mean over its standard deviation, shape (samples, 1), float32; and that deviation."""
    mean, deviation = float(train.mean()), float(train.std())
    if (train == train[0]).all():
        raise DataError(f"{name}: labels: all training samples have the amount {train[0]:g}, expected different ones")
    if not (np.isfinite(deviation) and deviation > 0):
        raise DataError(f"{name}: labels: the amounts are too large or too small for float64: write them in another unit")
    train, test = (((part - mean) / deviation).astype(np.float32)[:, None] for part in (train, test))
    if not np.isfinite(test).all():
        raise DataError(f"{name}: labels: some amounts of the test part are too far from those of the training part")
    return train, test, deviation
