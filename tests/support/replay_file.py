"""The files of the driver `replay`: steps of one tensor each, and the bits that they lead to."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import ml_dtypes
import numpy as np

from fastopt import _core
from fastopt.rules import Rule

Array: TypeAlias = "np.ndarray[Any, Any]"

SLOTS, RUNNING, HYPERPARAMETERS = (_core.limits()[name] for name in ("slots", "running", "hyperparameters"))
HEADER = struct.Struct(f"<16s{HYPERPARAMETERS}d4d{RUNNING}d4d{12 + SLOTS}i4qQ")  # CaseHeader of replay.cpp
DTYPES = (np.float32, np.float64)
COPIES = {"float32": np.float32, "float64": np.float64, "bfloat16": ml_dtypes.bfloat16, "float16": np.float16}

NEUTRAL: dict[str, Any] = {"weight_decay": 0.0, "decoupled_weight_decay": False, "l1": 0.0, "maximize": False, "grad_scale": 1.0}
STAGED: dict[str, Any] = {"weight_decay": 0.01, "decoupled_weight_decay": True, "l1": 1e-3, "maximize": True, "grad_scale": 0.37}
WHOLE: tuple[dict[str, Any], ...] = (
    {"clip_value": 1.5},
    {"ema_decay": 0.9, "copy_to": "bfloat16"},
    {"zero_grad": True, "copy_to": "float16"},
    {"max_norm": 2.0, "norm_eps": 0.5},
    {"max_norm": 2.0, "zero_grad": True, "ema_decay": 0.9, "copy_to": "float64"},
    {"skip_nonfinite": True, "clip_value": 0.3, "max_norm": 0.7, "ema_decay": 0.5, "zero_grad": True, "copy_to": "float32"},
)
"""Options of a step, each over every rule."""


@dataclass(frozen=True)
class Result:
    """An array as it is after the steps."""

    values: Array
    nan_codes: Array | None = None
    """The blocks of 8-bit codes in which the largest code stands for NaN, with either sign."""

    def differences(self, found: Array) -> Array:
        """The elements whose bits differ; a NaN equals any NaN."""
        expected = self.values
        if self.nan_codes is not None:
            expected, found = (np.where(self.nan_codes & (codes & 0x7F == 0x7F), 0x7F, codes) for codes in (expected, found))
        bits = np.dtype(f"u{expected.itemsize}")
        return np.flatnonzero((found.view(bits) != expected.view(bits)) & ~(np.isnan(found) & np.isnan(expected)))


@dataclass(frozen=True)
class Case:
    """Steps of one tensor: the input of `replay`, and the Python package's results."""

    label: str
    data: bytes
    expected: tuple[Result, ...]


@dataclass(frozen=True)
class Storage:
    """How the arrays of a case lie in memory: indices of formats, 0 for the arithmetic's own."""

    param: int = 0
    grad: int = 0
    state: tuple[int, ...] = ()  # formats of the variant's slots
    stochastic: bool = False
    offset: int = 0
    seed: int = 0


def header(
    rule: Rule,
    values: Mapping[str, Any],
    grad_scale: float,
    whole: Mapping[str, Any],
    *,
    dtype: type,
    before: int,
    steps: int,
    length: int,
    shift: int,
    running: Sequence[float] = (),
    storage: Storage | None = None,
) -> bytes:
    """A case's CaseHeader."""
    storage = storage or Storage()
    codes = rule.codes(values)
    slots = len(rule.variant(values).slots)
    copy_dtype = whole.get("copy_to")
    return HEADER.pack(
        rule.arithmetic.encode(),
        *codes,
        *[0.0] * (HYPERPARAMETERS - len(codes)),
        values["lr"],
        values["weight_decay"],
        values["l1"],
        grad_scale,
        *running,
        *[0.0] * (RUNNING - len(running)),
        *(whole.get(name, 0.0) for name in ("clip_value", "max_norm", "ema_decay", "norm_eps")),
        *(whole.get(name, False) for name in ("skip_nonfinite", "zero_grad")),
        "ema_decay" in whole,
        -1 if copy_dtype is None else list(COPIES).index(copy_dtype),
        values["decoupled_weight_decay"],
        values["maximize"],
        DTYPES.index(dtype),
        slots,
        shift,
        storage.param,
        storage.grad,
        storage.stochastic,
        *storage.state,
        *[0] * (SLOTS - len(storage.state)),
        before,
        steps,
        length,
        storage.offset,
        storage.seed,
    )


def awkward(generator: np.random.Generator, length: int, dtype: type, *, signed: bool = True) -> Array:
    """Values of many magnitudes, a tenth of them denormal, infinite, NaN or a zero of either sign."""
    info = np.finfo(dtype)
    values = generator.normal(size=length) * 10.0 ** generator.uniform(-4, 4, length)
    denormal = [info.smallest_subnormal, -info.smallest_normal / 3, 1e3 * info.smallest_subnormal]
    odd = np.array([*denormal, info.max, np.inf, -np.inf, np.nan, 0.0, -0.0])
    values = np.where(generator.random(length) < 0.1, generator.choice(odd, length), values).astype(dtype)
    return values if signed else np.abs(values)


def write_cases(chosen: Sequence[Case], path: Path) -> Path:
    with path.open("wb") as file:
        file.write(struct.pack("<q", len(chosen)))
        file.writelines(case.data for case in chosen)
    return path


def joined(first: bytes, arrays: Iterable[Array | None]) -> bytes:
    """A header and the arrays behind it."""
    return b"".join([first, *(array.tobytes() for array in arrays if array is not None)])


def check_results(chosen: Sequence[Case], path: Path) -> None:
    """Raises AssertionError at the first case whose bits are not those of the Python package; a NaN equals any NaN."""
    data, at = path.read_bytes(), 0
    for case in chosen:
        for number, result in enumerate(case.expected):
            expected = result.values
            found = np.frombuffer(data, expected.dtype, expected.size, at)
            at += expected.nbytes
            if found.tobytes() == expected.tobytes():
                continue
            where = result.differences(found)
            if where.size:
                first = where[0]
                raise AssertionError(
                    f"{case.label}: array {number} (parameter, states, average, copy; extras behind theirs) differs in "
                    f"{where.size} of {expected.size} elements, first at {first}: got {found[first]!r}, expected {expected[first]!r}"
                )
    assert at == len(data), "the driver wrote more than was expected"
