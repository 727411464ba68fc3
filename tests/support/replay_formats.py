"""The cases of storage formats that the driver `replay` gets.

They go past the classes, straight to the extension's plan, which takes any formats that go together and any offset.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import Any, TypeAlias

import ml_dtypes
import numpy as np

from fastopt import _core
from fastopt._engine.plans import write_group
from fastopt._storage.formats import FORMATS
from fastopt.rules import Rule
from tests.support.replay_file import (
    COPIES,
    DTYPES,
    NEUTRAL,
    STAGED,
    WHOLE,
    Array,
    Case,
    Result,
    Storage,
    awkward,
    header,
    joined,
)

LENGTHS = (1, 255, 256, 257, 700)
PARALLEL = 50_001  # elements: several chunks for the threads, each of several tiles
OFFSETS = (0, 256, 2**32 - 256, 2**40 + 2**32 - 512)
SEEDS = (0, 1, 2**32 + 5, 2**64 - 1)
BEFORE = (0, 39, 2**32 - 2)  # steps
NATIVE = ""

PARAMS = [(NATIVE, False)] + [
    (f"{dtype}{master}", stochastic)
    for dtype in ("bfloat16", "float16")
    for master, stochastic in (
        ("", False),
        ("", True),
        (" 24bit", True),
        (" 24bit", False),
        (" 32bit", True),
        (" float32", False),
    )
]
GRADS = {NATIVE: np.float32, "float32": np.float32, "bfloat16": ml_dtypes.bfloat16, "float16": np.float16}
STATES = ((NATIVE, NATIVE), ("bfloat16", "bfloat16"), ("8bit", "8bit"))
"""The storage of signed slots and that of non-negative ones."""
COMPILED = (
    (PARAMS[0], NATIVE, STATES[1]),
    (PARAMS[0], NATIVE, STATES[2]),
    (("bfloat16 24bit", True), "bfloat16", STATES[1]),
    (("bfloat16 24bit", True), "bfloat16", STATES[2]),
)
"""The storages that FASTOPT_STORAGES has kernels for."""
Level: TypeAlias = tuple[dict[str, Any], dict[str, Any]]
"""Stages and options: each kernel is compiled for none, for stages, and for all."""
VALUES = {"float16": np.float16, "bfloat16": ml_dtypes.bfloat16}


class Coded:
    """An array in a format, with the extras beside its elements."""

    def __init__(self, format: int, values: Array) -> None:
        """Encodes `values`, rounded to nearest; a format in blocks gets whole blocks."""
        self.format = next((row for row in FORMATS.values() if row.index == format), None)
        self.data = values
        self.extra: Array | None = None
        if self.format is None:
            return
        self.data = np.empty(values.size, np.dtype(f"u{self.format.size}"))
        if self.format.extra_size:
            self.extra = np.empty(self.format.extras(values.size), np.dtype(f"u{self.format.extra_size}"))
        self.format.encode(values, self.data, self.extra)

    def arrays(self) -> tuple[Array, Array | None]:
        return self.data, self.extra

    def planned(self) -> tuple[Array, Array | None, int]:
        """The array, its extras and its format, as the plan takes them."""
        return self.data, self.extra, self.format.index if self.format else 0

    def results(self) -> Iterator[Result]:
        """The arrays with their dtypes, so that a NaN is seen."""
        if self.format is None:
            yield Result(self.data)
            return
        name, _, kind = self.format.name.partition(" ")
        if name == "8bit":
            special = np.repeat(self.extra & 8 != 0, self.format.extra_span)
            yield Result(self.data, None if kind else special)
        else:
            yield Result(self.data.view(VALUES[name]))
        if self.extra is not None:
            yield Result(self.extra.view(np.float32) if kind == "float32" else self.extra)


def tame(generator: np.random.Generator, length: int, dtype: type, *, signed: bool = True) -> Array:
    """Finite values over some decades, a few of them zeros: no block needs codes for Inf and NaN."""
    values = generator.normal(size=length) * 10.0 ** generator.uniform(-generator.integers(1, 6), 1, length)
    values = np.where(generator.random(length) < 0.02, 0.0, values).astype(dtype)
    return values if signed else np.abs(values)


def make_case(
    rule: Rule, values: dict[str, Any], stage: dict[str, Any], whole: dict[str, Any], dtype: type, length: int, storage: Storage
) -> Case:
    # The numbers are made from what tells this case from others.
    generator = np.random.default_rng([length, storage.param, storage.grad, *storage.state, len(whole), storage.offset])
    values = rule.check(values | {name: value for name, value in stage.items() if name != "grad_scale"})
    variant = rule.variant(values)
    draw = awkward if generator.integers(3) == 0 else tame
    steps, before = 2, BEFORE[generator.integers(len(BEFORE))]
    param = Coded(storage.param, draw(generator, length, dtype))
    states = {}
    for name, format in zip(variant.slots, storage.state, strict=True):
        blocks = format != 0 and list(FORMATS.values())[format - 1].extra_span > 1
        elements = -(-length // 256) * 256 if blocks else length
        states[name] = Coded(format, draw(generator, elements, dtype, signed=rule.slot(name).kind != "non-negative"))
    grad_name = list(FORMATS)[storage.grad - 1] if storage.grad else NATIVE
    grad_dtype = GRADS[grad_name] if storage.grad else dtype
    with np.errstate(over="ignore"):
        grads = [draw(generator, length, dtype).astype(grad_dtype) for _ in range(steps)]
    if whole.get("max_norm"):
        grads[0] = tame(generator, length, dtype).astype(grad_dtype)
    average = tame(generator, length, dtype) if "ema_decay" in whole else None
    copy_to = whole.get("copy_to")
    copy = None if copy_to is None else np.zeros(length, COPIES[copy_to])
    running = [0.75 for _ in rule.carried]
    counts = {"before": before, "steps": steps, "length": length, "shift": int(generator.integers(16))}
    first = header(rule, values, stage["grad_scale"], whole, dtype=dtype, running=running, storage=storage, **counts)
    coded = (param, *states.values())
    data = joined(first, (*itertools.chain.from_iterable(each.arrays() for each in coded), average, *grads))
    row = {
        "param": param.planned(),
        "state": [states[slot.name].planned() if slot.name in states else None for slot in rule.slots],
        "dtype": DTYPES.index(dtype),
        "stochastic": storage.stochastic,
        "ema": average,
        "copy": copy,
        "copy_dtype": 0 if copy_to is None else list(COPIES).index(copy_to),
        "group": 0,
        "offset": storage.offset,
        "owner": None,
        "copy_owner": None,
    }
    plan = _core.Plan(rule.arithmetic, [row], 1, storage.seed)
    write_group(plan, 0, rule, values)
    plan.set_progress([(before, running)])
    options = _core.Options(
        stage["grad_scale"],
        whole.get("clip_value", 0.0),
        whole.get("max_norm", 0.0),
        whole.get("ema_decay", -1.0),
        whole.get("skip_nonfinite", False),
        whole.get("zero_grad", False),
        whole.get("norm_eps", 0.0),
    )
    for grad in grads:
        assert plan.step(grad, options)
    label = f"{rule.name} {dtype.__name__}[{length}] {storage} {values} {stage} {whole} after {before} steps"
    results = [result for each in coded for result in each.results()]
    return Case(label, data, (*results, *(Result(array) for array in (average, copy) if array is not None)))


def index_of(name: str) -> int:
    return FORMATS[name].index if name else 0


def storage_of(
    rule: Rule, values: dict[str, Any], param: tuple[str, bool], grad: str, state: tuple[str, str], place: tuple[int, int]
) -> Storage:
    """`state` names the format of signed slots and that of the others; `place` is an offset and a seed."""
    offset, seed = place
    formats = []
    for name in rule.variant(values).slots:
        non_negative = rule.slot(name).kind == "non-negative"
        chosen = state[non_negative]
        formats.append(index_of(f"{chosen} non-negative" if chosen and non_negative else chosen))
    blocks = index_of("8bit") in formats or index_of("8bit non-negative") in formats
    return Storage(
        param=index_of(param[0]),
        grad=index_of(grad),
        state=tuple(formats),
        stochastic=param[1],
        offset=offset if blocks else offset + 3,
        seed=seed,
    )


def cases(configurations: Iterable[tuple[Rule, dict[str, Any]]]) -> Iterator[Case]:
    """Every compiled storage at every level, some other storages, and every other dtype of float64's gradients."""
    lengths, whole = itertools.cycle(LENGTHS), itertools.cycle(WHOLE)
    places = itertools.cycle((offset, SEEDS[(i + k) % len(SEEDS)]) for k in range(4) for i, offset in enumerate(OFFSETS))
    others = list(itertools.product(PARAMS, GRADS, STATES))
    other = itertools.cycle([others[i] for i in np.random.default_rng(0).permutation(len(others))])
    for rule, values in configurations:

        def case(
            param: tuple[str, bool],
            grad: str,
            state: tuple[str, str],
            level: Level,
            *,
            dtype: type = np.float32,
            length: int | None = None,
            rule: Rule = rule,
            values: dict[str, Any] = values,
        ) -> Case:
            storage = storage_of(rule, values, param, grad, state, next(places))
            return make_case(rule, values, *level, dtype, next(lengths) if length is None else length, storage)

        for param, grad, state in COMPILED:
            for level in ((NEUTRAL, {}), (STAGED, {}), (STAGED, next(whole))):
                yield case(param, grad, state, level)
        for level in ((NEUTRAL, {}), (STAGED, {}), (NEUTRAL, next(whole)), (STAGED, next(whole)), (NEUTRAL, next(whole))):
            yield case(*next(other), level)
        for grad in ("float32", "bfloat16", "float16"):
            yield case(PARAMS[0], grad, STATES[0], (STAGED, next(whole)), dtype=np.float64)
        if rule.name == "Adam":
            for length in (0, PARALLEL):
                for param, grad, state in (*COMPILED[1:3], (PARAMS[-1], "float32", STATES[2])):
                    yield case(param, grad, state, (STAGED, next(whole)), length=length)
