"""Builds the native drivers of `tests/drivers` against the kernels, feeds `replay` its cases and reads its results.

The drivers link the library's own sources, not the extension: so they run under an emulator, and under
sanitizers that cannot be loaded into a Python process.
"""

from __future__ import annotations

import itertools
import os
import struct
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

import fastopt
from fastopt.rules import RULES, Rule

ROOT = Path(__file__).resolve().parent.parent
FLAGS = ("-std=c++17", "-O3", "-ffp-contract=off", "-fno-math-errno", "-fPIC", "-pthread", "-Wall", "-Wextra")
SOURCES = ("floor", "isa", "line", "measure", "processors", "rule_table", "step", "threads")
KERNELS: dict[str, dict[str, tuple[str, ...]]] = {
    "x86_64": {"scalar": (), "avx2": ("-mavx2", "-mfma", "-mf16c"), "avx512": ("-mavx512f", "-mprefer-vector-width=512")},
    "aarch64": {"scalar": (), "neon": ()},
}


class BuildError(RuntimeError):
    """A compiler's own words."""


def build(driver: str, folder: Path, *, compiler: str = "g++", target: str = "x86_64", flags: Sequence[str] = ()) -> Path:
    """Compiles `tests/drivers/<driver>.cpp` with the kernels of every instruction set of `target`; returns the binary's path.

    `flags` come last for compiling and for linking.  Raises BuildError with what the compiler said where it fails.
    """
    generated = folder / "generated"
    run([sys.executable, str(ROOT / "csrc" / "generate.py"), str(generated)])
    cpu = ROOT / "csrc" / "cpu"
    jobs = [(ROOT / "tests" / "drivers" / f"{driver}.cpp", "driver", ())]
    jobs += [(cpu / f"{name}.cpp", name, ()) for name in SOURCES]
    jobs += [(cpu / "kernels.cpp", f"kernels_{isa}", (f"-DFASTOPT_ISA={isa}", *own)) for isa, own in KERNELS[target].items()]

    def compile_one(job: tuple[Path, str, tuple[str, ...]]) -> str:
        source, name, own = job
        made = str(folder / f"{name}.o")
        run([compiler, *FLAGS, *own, *flags, f"-I{generated}", f"-I{ROOT / 'csrc'}", "-c", str(source), "-o", made])
        return made

    with ThreadPoolExecutor(2) as pool:
        objects = list(pool.map(compile_one, jobs))
    binary = folder / driver
    run([compiler, "-pthread", *objects, *flags, "-o", str(binary)])
    return binary


def run(command: Sequence[str], environment: dict[str, str] | None = None, limit: float = 120) -> str:
    """The command's output; BuildError with its words where it fails."""
    variables = {**os.environ, **(environment or {})}
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=limit, env=variables, check=False)
    if done.returncode != 0:
        raise BuildError(f"{' '.join(map(str, command))}\nexit status {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def links(compiler: str, folder: Path, flags: Sequence[str]) -> bool:
    """Whether the compiler has what `flags` need, such as a sanitizer's runtime."""
    source = folder / "empty.cpp"
    source.write_text("int main() { return 0; }\n")
    try:
        run([compiler, *flags, str(source), "-o", str(folder / "empty")])
        run([str(folder / "empty")])
    except BuildError:
        return False
    return True


@dataclass(frozen=True)
class Case:
    """Steps of one tensor: what replay reads, and what the Python package made of the same."""

    label: str
    data: bytes
    expected: tuple[np.ndarray[Any, Any], ...]


LENGTHS = (0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 1023, 1024, 1025, 5000)
PARALLEL, LONG = 100_003, 540_001  # elements: shared among the threads that are awake; worth waking those that sleep
DTYPES = (np.float32, np.float64)
HEADER = struct.Struct("<16s12d4dd3d8i4q")  # CaseHeader of replay.cpp
NEUTRAL: dict[str, Any] = {"weight_decay": 0.0, "decoupled_weight_decay": False, "l1": 0.0, "maximize": False, "grad_scale": 1.0}
STAGED: dict[str, Any] = {"weight_decay": 0.01, "decoupled_weight_decay": True, "l1": 1e-3, "maximize": True, "grad_scale": 0.37}
COPIES = {"float32": np.float32, "float64": np.float64, "bfloat16": ml_dtypes.bfloat16, "float16": np.float16}
WHOLE: tuple[dict[str, Any], ...] = (
    {"clip_value": 1.5},
    {"ema_decay": 0.9, "copy_to": "bfloat16"},
    {"zero_grad": True, "copy_to": "float16"},
    {"max_norm": 2.0, "zero_grad": True, "ema_decay": 0.9, "copy_to": "float64"},
    {"skip_nonfinite": True, "clip_value": 0.3, "max_norm": 0.7, "ema_decay": 0.5, "zero_grad": True, "copy_to": "float32"},
)
"""Options of a step, each over every rule."""


def configurations(rule: Rule) -> Iterator[dict[str, Any]]:
    """Every combination of the rule's own choices, each number at its default and at 0.9."""

    def values(h: Any) -> tuple[Any, ...]:
        return h.choices or ((h.default,) if h.parts else (h.default, 0.9)) + ((None,) if h.optional else ())

    for combination in itertools.product(*(values(h) for h in rule.own)):
        arguments = rule.defaults | NEUTRAL | dict(zip((h.name for h in rule.own), combination, strict=True))
        del arguments["grad_scale"]
        try:
            yield rule.check(arguments)
        except ValueError:  # combinations that the rule forbids
            continue


def stages() -> Iterator[dict[str, Any]]:
    """Every combination of stages; the kind of decay matters only where there is some."""
    for combination in itertools.product(*zip(NEUTRAL.values(), STAGED.values(), strict=True)):
        chosen = dict(zip(NEUTRAL, combination, strict=True))
        if chosen["weight_decay"] or not chosen["decoupled_weight_decay"]:
            yield chosen


def awkward(generator: np.random.Generator, length: int, dtype: type, *, signed: bool = True) -> np.ndarray[Any, Any]:
    """Values of many magnitudes, a tenth of them denormal, infinite, NaN or a zero of either sign."""
    info = np.finfo(dtype)
    values = generator.normal(size=length) * 10.0 ** generator.uniform(-4, 4, length)
    denormal = [info.smallest_subnormal, -info.smallest_normal / 3, 1e3 * info.smallest_subnormal]
    odd = np.array([*denormal, info.max, np.inf, -np.inf, np.nan, 0.0, -0.0])
    values = np.where(generator.random(length) < 0.1, generator.choice(odd, length), values).astype(dtype)
    return values if signed else np.abs(values)


def make_case(
    rule: Rule,
    arguments: dict[str, Any],
    stage: dict[str, Any],
    dtype: type,
    length: int,
    seed: int,
    whole: dict[str, Any] | None = None,
) -> Case:
    generator = np.random.default_rng(seed)
    values = rule.check(arguments | {name: value for name, value in stage.items() if name != "grad_scale"})
    options = dict(whole or {})
    copy_dtype = options.pop("copy_to", None)
    slots = rule.variant(values).slots
    steps, before = 2, (0, 39)[seed % 2]  # some rules begin otherwise than they go on
    running = [0.75 for _ in rule.carried]
    param = awkward(generator, length, dtype)
    state = [awkward(generator, length, dtype, signed=rule.slot(name).kind != "non-negative") for name in slots]
    grads = [awkward(generator, length, dtype) for _ in range(steps)]
    if options.get("max_norm"):  # a norm that is not finite is none, and half of the steps are skipped
        grads[0] = np.nan_to_num(grads[0], posinf=3.0, neginf=-3.0)
    shift = int(generator.integers(16)) * np.dtype(dtype).itemsize % 64
    codes = rule.codes(values)
    codes += [0.0] * (12 - len(codes))
    header = HEADER.pack(
        rule.arithmetic.encode(),
        *codes,
        values["lr"],
        values["weight_decay"],
        values["l1"],
        stage["grad_scale"],
        *(running or [0.0]),
        *(options.get(name, 0.0) for name in ("clip_value", "max_norm", "ema_decay")),
        *(options.get(name, False) for name in ("skip_nonfinite", "zero_grad")),
        "ema_decay" in options,
        -1 if copy_dtype is None else list(COPIES).index(copy_dtype),
        values["decoupled_weight_decay"],
        values["maximize"],
        DTYPES.index(dtype),
        len(slots),
        before,
        steps,
        length,
        shift,
    )
    data = b"".join([header, *(array.tobytes() for array in (param, *state, *grads))])
    copy = None if copy_dtype is None else np.full(length, 0xA5A5, np.uint16).astype(COPIES[copy_dtype])
    optimizer = getattr(fastopt, rule.name)(param, **values, **options, copy_to=copy)
    live = [optimizer.state[0][name] for name in slots]
    for own, start in zip(live, state, strict=True):
        own[...] = start
    snapshot = optimizer.state_dict()
    snapshot["state"][0] |= {"step": before, **dict(zip(rule.carried, running, strict=True))}
    optimizer.load_state_dict(snapshot)
    for grad in grads:
        optimizer.step(grad, grad_scale=stage["grad_scale"])
    label = f"{rule.name} {dtype.__name__}[{length}] {values} {stage} {whole}"
    written = [] if optimizer.ema_params is None else [optimizer.ema_params]
    return Case(label, data, (param, *live, *written, *([] if copy is None else [copy])))


@cache
def cases() -> tuple[Case, ...]:
    """Each rule's every choice; each of its variants with every stage, every option, and at all lengths; in both dtypes."""
    made: list[Case] = []
    seeds = itertools.count()
    short = itertools.cycle([n for n in LENGTHS if 0 < n < 20])
    stage = itertools.cycle(stages())
    for rule in RULES.values():
        table = list(configurations(rule))
        of_variant = {rule.variant(values): values for values in reversed(table)}
        assert len(of_variant) == len(rule.variants), f"{rule.name}: no configuration for some variant"
        for values, dtype in itertools.product(table, DTYPES):
            made.append(make_case(rule, values, next(stage), dtype, next(short), next(seeds)))
        for values, each, dtype in itertools.product(of_variant.values(), stages(), DTYPES):
            made.append(make_case(rule, values, each, dtype, next(short), next(seeds)))
        for values, each, dtype, length in itertools.product(of_variant.values(), (NEUTRAL, STAGED), DTYPES, LENGTHS):
            made.append(make_case(rule, values, each, dtype, length, next(seeds)))
        for values, whole, dtype in itertools.product(of_variant.values(), WHOLE, DTYPES):
            made.append(make_case(rule, values, STAGED, dtype, next(short), next(seeds), whole))
            made.append(make_case(rule, values, NEUTRAL, dtype, 1025, next(seeds), whole))
        for i, values in enumerate(of_variant.values()):
            each, dtype = (NEUTRAL, STAGED)[i % 2], DTYPES[i // 2 % 2]
            made.append(make_case(rule, values, each, dtype, PARALLEL, next(seeds)))
    made.append(make_case(RULES["SGD"], RULES["SGD"].defaults, STAGED, np.float32, LONG, next(seeds)))
    return tuple(made)


@cache
def delicate_cases() -> tuple[Case, ...]:
    """Hyperparameters whose derived scalars depend on rounding, or are denormal."""
    made: list[Case] = []
    for rule in RULES.values():
        for values, lr, stage in itertools.product(configurations(rule), (5e-310, 0.1), (NEUTRAL, STAGED)):
            made.append(make_case(rule, values | {"lr": lr}, stage, np.float64, 17, len(made)))
    return tuple(made)


def write_cases(chosen: Sequence[Case], path: Path) -> Path:
    with path.open("wb") as file:
        file.write(struct.pack("<q", len(chosen)))
        file.writelines(case.data for case in chosen)
    return path


def check_results(chosen: Sequence[Case], path: Path) -> None:
    """Raises AssertionError at the first case whose bits are not those of the Python package; a NaN equals any NaN."""
    data, at = path.read_bytes(), 0
    for case in chosen:
        for number, expected in enumerate(case.expected):
            found = np.frombuffer(data, expected.dtype, expected.size, at)
            at += expected.nbytes
            if found.tobytes() == expected.tobytes():
                continue
            bits = np.dtype(f"u{expected.itemsize}")
            differ = (found.view(bits) != expected.view(bits)) & ~(np.isnan(found) & np.isnan(expected))
            where = np.flatnonzero(differ)
            if where.size:
                first = where[0]
                raise AssertionError(
                    f"{case.label}: array {number} (parameter, state, average, copy) differs in {where.size} of {expected.size} elements, "
                    f"first at {first}: got {found[first]!r}, expected {expected[first]!r}"
                )
    assert at == len(data), "the driver wrote more than was expected"
