"""Comparisons of arrays: to the bit, within units in the last place, by a digest."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from tests.support.arrays import Array


def same_bits(a: Array, b: Array) -> bool:
    """Whether two arrays have the same bytes; a NaN equals any NaN."""
    assert a.dtype == b.dtype
    assert a.shape == b.shape
    unsigned = np.uint32 if a.dtype == np.float32 else np.uint64
    return bool(np.all((a.view(unsigned) == b.view(unsigned)) | (np.isnan(a) & np.isnan(b))))


def differences(a: Array, b: Array) -> str:
    unsigned = np.uint32 if a.dtype == np.float32 else np.uint64
    bad = np.flatnonzero((a.view(unsigned) != b.view(unsigned)) & ~(np.isnan(a) & np.isnan(b)))
    return f"{bad.size} of {a.size} differ, first at {bad[:3]}: {a.ravel()[bad[:3]]} {b.ravel()[bad[:3]]}"


def assert_same_bits(actual: list[Array], expected: list[Array], where: Any = "") -> None:
    assert len(actual) == len(expected)
    for i, (a, b) in enumerate(zip(actual, expected, strict=True)):
        assert same_bits(a, b), f"{where} array {i}: {differences(a, b)}"


def assert_close(actual: Array, expected: Array, scale: Array, ulps: float, where: Any = "") -> None:
    """Asserts that values are within `ulps` units in the last place of `scale`, in the type of `actual`."""
    error = np.abs(np.asarray(actual, np.float64) - np.asarray(expected, np.float64)) / (
        np.asarray(scale, np.float64) * np.finfo(actual.dtype).eps
    )
    worst = float(error.max(initial=0.0))
    assert worst <= ulps, f"{where}: {worst:.1f} ulps of its scale at {int(error.argmax())}, expected at most {ulps}"


class History:
    """The yardstick of an error of a few roundings a step: the largest value that each element passed through, and for a
    parameter also the length of its way, since each update is rounded relative to itself."""

    def __init__(self) -> None:
        self.scales: dict[str, Array] = {}
        self.last: Array | None = None

    def see(self, p: Array, state: Mapping[str, Array]) -> None:
        for name, value in state.items():
            self.scales[name] = np.maximum(self.scales.get(name, np.zeros_like(value)), np.abs(value))
        way = self.scales.get("params", np.abs(p)) if self.last is None else self.scales["params"] + np.abs(p - self.last)
        self.scales["params"] = np.maximum(way, np.abs(p))
        self.last = p


def digest(*arrays: Any) -> str:
    """A hash of the arrays' bytes."""
    total = hashlib.sha256()
    for array in arrays:
        total.update(np.asarray(array).tobytes())
    return total.hexdigest()
