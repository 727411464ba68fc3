"""Steps over storage formats: the choices of formats, the float32 step behind a step, and what a rounding may lose."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np

import fastopt
from fastopt import _core
from fastopt.rules import RULES
from tests.support import reference, reference_formats
from tests.support.arrays import Array, gradients
from tests.support.cases import KERNEL_CASES, Arguments

DTYPES: dict[str, Any] = {"float32": np.float32, "float64": np.float64, "bfloat16": ml_dtypes.bfloat16, "float16": np.float16}
NARROW = ("float32", "bfloat16", "float16")
MASTERS = (None, "24bit", "32bit", "float32", "stochastic")
STATE_DTYPES = (None, "bfloat16", "8bit")
BLOCK = 256
PARAM_STREAM = -1
EPS = float(np.finfo(np.float32).eps)
ULPS = 15.5
"""The error of float32 arithmetic, as in tests/rules/test_formulas.py, with half a unit for decoupled decay."""

CASES = [case for i, case in enumerate(KERNEL_CASES) if i % 3 == i // 3 % 3]
"""Every variant of every rule, a third of them without stages."""


@dataclass(frozen=True)
class Storage:
    """How the parameters and the state of an optimizer are kept."""

    dtype: str
    master: str | None
    state_dtype: str | None

    def build(self, rule: str, params: Any, arguments: Mapping[str, Any], **options: Any) -> Any:
        return getattr(fastopt, rule)(params, **arguments, master=self.master, state_dtype=self.state_dtype, **options)

    def param_format(self, param: Array) -> str | None:
        """The name of the parameter's format; None for float32."""
        dtype = param.dtype.name
        if dtype == "float32":
            return None
        return dtype if self.master in (None, "stochastic") else f"{dtype} {self.master}"


def has_state(rule: str, arguments: Mapping[str, Any]) -> bool:
    return bool(RULES[rule].variant(RULES[rule].check(RULES[rule].defaults | arguments)).slots)


def storages(rule: str, arguments: Mapping[str, Any], state_dtypes: tuple[str | None, ...] = STATE_DTYPES) -> Iterator[Storage]:
    """All storages that an optimizer with these arguments can have."""
    params = [("float32", None), *itertools.product(("bfloat16", "float16"), MASTERS)]
    for (dtype, master), state_dtype in itertools.product(params, state_dtypes):
        if state_dtype is None or has_state(rule, arguments):
            yield Storage(dtype, master, state_dtype)


def padded(array: Array) -> Array:
    """The values in float32, with zeros up to a multiple of a block."""
    result = np.zeros(-(-array.size // BLOCK) * BLOCK, np.float32)
    result[: array.size] = array.ravel()
    return result


def random_params(lengths: tuple[int, ...], dtype: str, rng: np.random.Generator) -> list[Array]:
    """Parameters whose scales span four decades, so that blocks of 8 bits are wide."""
    return [gradients(n, DTYPES[dtype], rng, 10.0 ** rng.uniform(-2, 2, n)) for n in lengths]


def random_gradients(params: list[Array], step: int, rng: np.random.Generator) -> list[Array]:
    """Gradients as large as the parameters, with dtypes that change from step to step and from tensor to tensor."""
    sizes = [np.abs(param.astype(np.float64)) for param in params]
    return [gradients(p.shape, DTYPES[NARROW[(step + i) % 3]], rng, np.clip(p, 1e-3, 1e3)) for i, p in enumerate(sizes)]


def held(optimizer: Any, i: int, param: Array) -> Array:
    """The parameter in float32, as a step reads it."""
    return np.asarray(np.asarray(optimizer.state[i].get("master", param)), np.float32)


def slots_of(optimizer: Any, i: int = 0) -> list[str]:
    carried = RULES[type(optimizer).__name__].carried
    return [name for name in optimizer.state[i] if name not in ("step", "master", *carried)]


def arrays_of(value: Any) -> list[Array]:
    """The arrays in memory of an entry of the state."""
    return list(value.raw.values()) if hasattr(value, "raw") else [np.asarray(value)]


def everything(optimizer: Any, params: list[Array]) -> list[Array]:
    """All arrays that a step writes, except the gradients."""
    state = [array for entry in optimizer.state for value in entry.values() for array in arrays_of(value)]
    return [*params, *state, *(optimizer.ema_params or [])]


def words_of(value: Any) -> Array | None:
    """The block's word for each element of 8-bit state; None for other state."""
    return np.repeat(value.raw["blocks"], BLOCK)[: value.size] if "blocks" in getattr(value, "raw", {}) else None


def same_bytes(actual: list[Array], expected: list[Array]) -> list[int]:
    """The numbers of the arrays that differ."""
    assert [a.nbytes for a in actual] == [b.nbytes for b in expected]
    return [i for i, (a, b) in enumerate(zip(actual, expected, strict=True)) if a.tobytes() != b.tobytes()]


class Twin:
    """The same step over float32: arrays in formats are decoded before the step, and encoded by the reference after it.

    The tensors are padded to whole blocks with zeros, since the padding of an 8-bit block counts as zeros.
    """

    def __init__(
        self, optimizer: Any, params: list[Array], storage: Storage, arguments: Arguments, seed: int, **options: Any
    ) -> None:
        self.optimizer, self.params, self.storage, self.seed = optimizer, params, storage, seed
        self.rule = RULES[type(optimizer).__name__]
        if "variance_floor" in arguments:
            arguments = arguments | {"variance_floor": optimizer.groups[0]["variance_floor"]}
        self.values = [padded(param.astype(np.float32)) for param in params]
        self.floats = getattr(fastopt, self.rule.name)(self.values, **arguments, **options)
        sizes = [value.size for value in self.values]
        self.offsets = list(itertools.accumulate(sizes, initial=0))[:-1]

    def step(self, grads: list[Array]) -> None:
        """Makes the step with gradients in float32.  Call this before the optimizer's step."""
        for i, param in enumerate(self.params):
            self.values[i][: param.size] = held(self.optimizer, i, param)
            for slot in slots_of(self.optimizer):
                value = self.optimizer.state[i][slot]
                if "codes" in getattr(value, "raw", {}):
                    decoded = _core.decode(value.format, value.raw["codes"].reshape(-1), value.raw["blocks"])
                else:
                    decoded = padded(np.asarray(value))
                self.floats.state[i][slot][...] = decoded
        self.floats.step([padded(grad) for grad in grads])

    def expected(self) -> list[Array]:
        """The parameters, masters and state that memory must hold after `step`, in the order of `actual`."""
        result = []
        for i, param in enumerate(self.params):
            result += self.param_after(i, param.size)
            for slot in slots_of(self.optimizer):
                result += self.state_after(i, slot, param.size)
        return result

    def actual(self) -> list[Array]:
        result = []
        for i, param in enumerate(self.params):
            master = self.optimizer.state[i].get("master")
            result += [param, *([] if master is None else arrays_of(master))]
            for slot in slots_of(self.optimizer):
                result += arrays_of(self.optimizer.state[i][slot])
        return result

    def noise(self, i: int, stream: int) -> Array:
        step = int(self.floats.state[i]["step"])
        return reference_formats.noise_words(self.values[i].size, self.seed, step, stream, self.offsets[i])

    def param_after(self, i: int, n: int) -> list[Array]:
        name, values = self.storage.param_format(self.params[i]), self.values[i]
        if name is None:
            return [values[:n]]
        words = None if self.storage.master in (None, "float32") else self.noise(i, PARAM_STREAM)
        data, extra = reference_formats.encode(name, values, words)
        return [data[:n], *([] if extra is None else [extra[:n]])]

    def state_after(self, i: int, slot: str, n: int) -> list[Array]:
        values = self.floats.state[i][slot]
        kept = self.optimizer.state[i][slot]
        if not hasattr(kept, "raw"):
            return [values[:n]]
        number = [row.name for row in self.rule.slots].index(slot)
        data, extra = reference_formats.encode(kept.format, values, self.noise(i, number))
        return [data[:n]] if extra is None else [data, extra]


MANTISSAS: dict[str | None, tuple[int, int]] = {
    "bfloat16": (7, -126),
    "bfloat16 non-negative": (7, -126),
    "float16": (10, -14),
    "bfloat16 24bit": (15, -126),
    "float16 24bit": (18, -14),
    "float16 32bit": (26, -14),
}
"""A format's bits of mantissa, and the exponent below which it has fewer.  A format that is missing here holds every float32."""


def gap(name: str | None, values: Array, words: Array | None = None) -> Array:
    """The gap from each value to the next larger one in a format; `words` are those of its 8-bit blocks."""
    if words is not None:
        shift, base = (words & 7) + 16, words >> 8
        bits = np.abs(values).astype(np.float32).view(np.uint32)
        width = np.ldexp(1.0, np.maximum(bits >> 23, 1).astype(np.int64) - 150 + shift)
        lowest = (base + 1 << shift).astype(np.uint32).view(np.float32).astype(np.float64)
        return np.where(np.abs(values) < lowest, np.maximum(lowest, width), width)
    if name not in MANTISSAS:
        return np.zeros_like(values)
    mantissa, least = MANTISSAS[name]
    exponent = np.frexp(values)[1] - 1
    return np.ldexp(1.0, np.maximum(exponent, least) - mantissa)


STAGES = ("weight_decay", "decoupled_weight_decay", "l1", "maximize")


def float32_scales(rule: str, arguments: Arguments, p: Array, g: Array, state: dict[str, Array], t: int) -> dict[str, Array]:
    """For the parameter and each slot, the scale of the roundings of one float32 step: the sum of its terms' sizes.

    If the step divides by a difference (the gradient and its penalties, the centered variance), the scale is larger by as much as
    the difference is smaller than its terms.
    """
    own = {name: value for name, value in arguments.items() if name not in STAGES}
    decoupled = arguments["decoupled_weight_decay"]
    l1, l2 = arguments["l1"], 0.0 if decoupled else arguments["weight_decay"]
    size = np.abs(g) + l1 + l2 * np.abs(p)
    g = (-g if arguments["maximize"] else g) + l1 * np.sign(p) + l2 * p
    cancelled = size / np.abs(g)
    # With these signs all terms add up; a centered variance stays what it is.
    positive = {slot: value * np.sign(g) if slot == "grad_avg" else np.abs(value) for slot, value in state.items()}
    way = np.abs(reference.REFERENCES[rule](np.zeros_like(p), np.abs(g), positive, t, **own, weight_decay=0.0))
    after = {slot: np.abs(value) + np.abs(positive[slot]) for slot, value in state.items()}
    divided = cancelled
    if arguments.get("centered"):
        square = positive["square_avg"]
        floor = (arguments["variance_floor"] or 0.0) * square
        divided = cancelled * square / np.maximum(square - positive["grad_avg"] ** 2, floor)
    scales = {slot: value * (divided if slot == "momentum_buffer" else cancelled) for slot, value in after.items()}
    return scales | {"params": np.abs(p) + way * divided}


def state_of(optimizer: Any, i: int) -> dict[str, Array]:
    return {slot: np.asarray(optimizer.state[i][slot]).astype(np.float64) for slot in slots_of(optimizer)}


def step_and_compare(optimizer: Any, storage: Storage, params: list[Array], grads: list[Array], known: Arguments, t: int) -> None:
    """Makes step `t`, and compares it with a step in float64 from the same stored values, with the arguments `known`."""
    rule = type(optimizer).__name__
    rounded = 1.0 if storage.master in ("24bit", "32bit", "stochastic") else 0.5
    before = [(held(optimizer, i, param).astype(np.float64), state_of(optimizer, i)) for i, param in enumerate(params)]
    optimizer.step(grads)
    for i, ((p, state), grad) in enumerate(zip(before, grads, strict=True)):
        g = grad.astype(np.float64)
        scales = float32_scales(rule, known, p, g, state, t)
        expected = reference.REFERENCES[rule](p, g, state, t, **known)
        where, name = (storage, t, i), storage.param_format(params[i])
        actual = held(optimizer, i, params[i])
        assert_within(actual, expected, rounded, name, None, scales["params"], (*where, "params"))
        if storage.master not in (None, "stochastic"):
            # The parameter is the rounding to nearest of its master.
            assert_within(params[i].astype(np.float64), actual, 0.5, storage.dtype, None, 0.0, (*where, "visible"))
        for slot in slots_of(optimizer):
            stored = optimizer.state[i][slot]
            kept, words = getattr(stored, "format", None), words_of(stored)
            assert_within(np.asarray(stored), state[slot], 1.0, kept, words, scales[slot], (*where, slot))


def assert_within(
    actual: Array, expected: Array, rounded: float, name: str | None, words: Array | None, scale: Any, where: Any
) -> None:
    """Asserts that both differ by at most `rounded` gaps of the format, at the larger of the two, and the arithmetic's error."""
    largest = np.maximum(np.abs(actual), np.abs(expected)).astype(np.float64)
    error = np.abs(actual.astype(np.float64) - expected)
    allowed = rounded * gap(name, largest, words) + ULPS * EPS * scale
    bad = np.flatnonzero(error > allowed)
    assert bad.size == 0, (
        f"{where}: {bad.size}, at {bad[:3]} {actual[bad[:3]]} {expected[bad[:3]]}, {error[bad[:3]]} > {allowed[bad[:3]]}"
    )
