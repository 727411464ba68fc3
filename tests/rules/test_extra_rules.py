"""Rules beside the product's, compiled into a library of their own: one that fills the table's limits, one with a factor.

`drivers/rules` has their headers and rows.  The steps go through the C functions; NumPy has the formulas again.
"""

from __future__ import annotations

import ctypes
import functools
import importlib.util
import itertools
import platform
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import fastopt.rules
from fastopt import _core
from fastopt._cuda import table
from fastopt._cuda.kernels import StepKernel
from tests.support import build_driver, kernels_on_host, reference_formats

Array = np.ndarray[Any, Any]

ROWS = {path.stem: path for path in sorted((build_driver.DRIVERS / "rules").glob("*.py"))}
TARGET = {"x86_64": "x86_64", "AMD64": "x86_64", "aarch64": "aarch64"}.get(platform.machine())
LENGTH = 1000
SEED = 12345

pytestmark = [
    pytest.mark.skipif(shutil.which("g++") is None, reason="g++ is not installed"),
    pytest.mark.skipif(platform.system() != "Linux" or TARGET is None, reason="the library is built for Linux"),
]

PLAN = np.dtype(
    [
        *((name, np.uint64) for name in ("size", "tensors", "tensor_count", "tensor_size")),
        *((name, np.uint64) for name in ("groups", "group_count", "group_size", "seed")),
    ]
)


def row(name: str) -> Any:
    """The Rule of a file, which imports the table as the build's script names it."""
    sys.modules.setdefault("rules", fastopt.rules)
    spec = importlib.util.spec_from_file_location(name, ROWS[name])
    assert spec
    assert spec.loader
    module: ModuleType = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.RULE


@pytest.fixture(scope="module")
def library() -> ctypes.CDLL:
    assert TARGET
    built = ctypes.CDLL(str(build_driver.build_library(list(ROWS.values()), target=TARGET, flags=["-O1"])))
    for name in ("fastopt_isa_at", "fastopt_status_message"):
        getattr(built, name).restype = ctypes.c_char_p
    return built


def isas(library: ctypes.CDLL) -> list[bytes]:
    names = itertools.takewhile(lambda name: name is not None, map(library.fastopt_isa_at, itertools.count()))
    return [name for name in names if library.fastopt_isa_available(name)]


class Problem:
    """A tensor of a rule for each of `lengths`, whose state lies in formats for `state`: "", "bfloat16" or "8bit"."""

    def __init__(
        self, library: ctypes.CDLL, name: str, dtype: Any, state: str = "", lengths: tuple[int, ...] = (LENGTH,)
    ) -> None:
        self.library, self.rule = library, row(name)
        rng = np.random.default_rng(7)
        self.params = [rng.normal(size=length).astype(dtype) for length in lengths]
        self.grads = [np.empty_like(param) for param in self.params]
        self.tensors = np.zeros(len(lengths), table.TENSOR)
        self.group = np.zeros((), table.GROUP)
        self.group["rule"] = library.fastopt_find_rule(name.encode())
        self.values = self.rule.defaults
        self.group["lr"] = self.values["lr"]
        codes = self.rule.codes(self.values)
        self.group["hyperparameters"][: len(codes)] = codes
        self.states: list[list[Array]] = []
        self.words: list[Array] = []
        for tensor, param, grad in zip(self.tensors, self.params, self.grads, strict=True):
            tensor["param"], tensor["grad"] = param.ctypes.data, grad.ctypes.data
            tensor["length"], tensor["dtype"] = param.size, int(param.dtype == np.float64)
            self.states.append([self._slot(tensor, k, slot, state, param) for k, slot in enumerate(self.rule.slots)])

    def _slot(self, tensor: Any, k: int, slot: Any, state: str, param: Array) -> Array:
        if state:
            name = state if slot.kind == "signed" else f"{state} non-negative"
            tensor["state_format"][k] = self.library.fastopt_find_format(name.encode())
        blocks = -(-param.size // 256)
        data = {"": np.zeros_like(param), "bfloat16": np.zeros(param.size, np.uint16), "8bit": np.zeros(256 * blocks, np.uint8)}[
            state
        ]
        tensor["state"][k] = data.ctypes.data
        if state == "8bit":
            self.words.append(np.zeros(blocks, np.uint32))
            tensor["state_extra"][k] = self.words[-1].ctypes.data
        return data

    def plan(self) -> Array:
        plan = np.zeros((), PLAN)
        plan["size"], plan["seed"] = PLAN.itemsize, SEED
        plan["tensors"], plan["tensor_count"], plan["tensor_size"] = (
            self.tensors.ctypes.data,
            self.tensors.size,
            self.tensors.itemsize,
        )
        plan["groups"], plan["group_count"], plan["group_size"] = (
            self.group.ctypes.data,
            1,
            table.offset_of(table.GROUP, "device_lr"),
        )
        return plan

    def step(self, seed: int, **options: float) -> None:
        """One step by random gradients."""
        rng = np.random.default_rng(seed)
        for grad in self.grads:
            grad[...] = rng.normal(size=grad.size)
        given, plan = np.zeros((), table.OPTIONS), self.plan()
        given["size"], given["grad_scale"], given["ema_decay"] = table.OPTIONS.itemsize, 1.0, -1.0
        for name, value in options.items():
            given[name] = value
        status = self.library.fastopt_step(ctypes.c_void_p(plan.ctypes.data), ctypes.c_void_p(given.ctypes.data), None)
        assert status == 0, self.library.fastopt_status_message(status)

    def arrays(self) -> list[Array]:
        """Everything that a step writes."""
        return [
            *self.params,
            *itertools.chain(*self.states),
            *self.words,
            self.tensors["running"].copy(),
            self.tensors["steps"].copy(),
        ]


class Crowded:
    """crowded.h in float64."""

    def __init__(self, param: Array, beta: float = 0.75, lr: float = 0.1) -> None:
        self.param, self.beta, self.lr = param.astype(np.float64), beta, lr
        self.slots = [np.zeros(param.size) for _ in range(6)]
        self.product, self.count, self.sum, self.last = 1.0, 0.0, 0.0, 0.0

    def step(self, g: Array) -> None:
        g = g.astype(np.float64)
        average, square, _, _, total, largest = self.slots
        average = average + (1 - self.beta) * (g - average)
        square = self.beta * square + (1 - self.beta) * g * g
        half, size, total = g / 2, np.abs(g), total + g
        largest = np.maximum(largest, size)
        self.slots = [average, square, half, size, total, largest]
        self.product *= self.beta
        self.count += 1
        self.sum += self.product
        self.last = self.last / 2 + self.count
        direction = (average + half + total) / (np.sqrt(square) + size + largest + 1)
        self.param -= self.lr * self.sum / (self.count * self.last) * direction


class Trusting:
    """trusting.h in float64."""

    def __init__(self, param: Array, beta: float = 0.75, lr: float = 0.1, trust: float = 0.01) -> None:
        self.param, self.beta, self.lr, self.trust = param.astype(np.float64), beta, lr, trust
        self.slots = [np.zeros(param.size)]

    def step(self, g: Array) -> None:
        (buffer,) = self.slots
        buffer = buffer + (1 - self.beta) * (g.astype(np.float64) - buffer)
        self.slots = [buffer]
        self.param -= self.lr * self.trust * np.linalg.norm(self.param) / np.linalg.norm(buffer) * buffer


REFERENCES = {"crowded": Crowded, "trusting": Trusting}


@pytest.fixture(params=REFERENCES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_values(library: ctypes.CDLL, name: str, dtype: Any) -> None:
    problem = Problem(library, name, dtype, lengths=(LENGTH, 1, 40_000, 0, 255))
    references = [REFERENCES[name](param) for param in problem.params]
    for seed in range(5):
        problem.step(seed)
        for reference, grad in zip(references, problem.grads, strict=True):
            if grad.size:
                reference.step(grad)
    tolerance = 1e-5 if dtype == np.float32 else 1e-13
    for i, reference in enumerate(references):
        np.testing.assert_allclose(problem.params[i], reference.param, rtol=tolerance, atol=tolerance)
        for mine, expected in zip(problem.states[i], reference.slots, strict=True):
            np.testing.assert_allclose(mine, expected, rtol=tolerance, atol=tolerance)


def test_running_scalars(library: ctypes.CDLL) -> None:
    problem = Problem(library, "crowded", np.float64)
    reference = Crowded(problem.params[0])
    assert _core.limits()["running"] == len(problem.rule.running) == 4
    for seed in range(4):
        problem.step(seed)
        reference.step(problem.grads[0])
        expected = [reference.product, reference.count, reference.sum, reference.last]
        assert problem.tensors["running"][0].tolist() == expected
        assert problem.tensors["steps"][0] == seed + 1


@pytest.mark.parametrize("options", [{}, {"clip_value": 0.5, "max_norm": 3.0}], ids=["bare", "whole"])
@pytest.mark.parametrize(("dtype", "state"), [(np.float32, ""), (np.float64, ""), (np.float32, "bfloat16"), (np.float32, "8bit")])
def test_bits(library: ctypes.CDLL, name: str, dtype: Any, state: str, options: dict[str, float]) -> None:
    """They depend neither on the instruction set nor on the number of threads."""
    results: list[list[Array]] = []
    for isa, threads in itertools.product(isas(library), (1, 3)):
        assert library.fastopt_set_isa(isa) == library.fastopt_set_num_threads(threads) == 0
        problem = Problem(library, name, dtype, state, lengths=(LENGTH, 60_001, 3))
        for seed in range(3):
            problem.step(seed, **options)
        results.append(problem.arrays())
    assert len(results) >= 2
    for arrays in results[1:]:
        for first, other in zip(results[0], arrays, strict=True):
            assert first.tobytes() == other.tobytes()


@pytest.mark.parametrize("state", ["bfloat16", "8bit"])
def test_states_in_formats(library: ctypes.CDLL, state: str) -> None:
    """Each slot has noise of its own: after a step from zeros the last four hold what NumPy encodes."""
    problem = Problem(library, "crowded", np.float32, state)
    problem.step(1)
    g = problem.grads[0]
    for slot, values in {2: g / 2, 3: np.abs(g), 4: g, 5: np.abs(g)}.items():
        name = state if slot % 2 == 0 else f"{state} non-negative"
        noise = reference_formats.noise_words(g.size, SEED, 1, slot)
        expected = reference_formats.encode(name, values.astype(np.float32), noise)
        np.testing.assert_array_equal(problem.states[0][slot][: g.size], np.asarray(expected[0]).ravel()[: g.size])
    assert len({problem.states[0][slot].tobytes() for slot in (3, 5)}) == 2


def test_a_part_has_no_factor(library: ctypes.CDLL) -> None:
    problem = Problem(library, "trusting", np.float32)
    given, plan = np.zeros((), table.OPTIONS), problem.plan()
    given["size"], given["grad_scale"] = table.OPTIONS.itemsize, 1.0
    arguments = (ctypes.c_void_p(plan.ctypes.data), ctypes.c_void_p(given.ctypes.data))
    before = problem.params[0].copy()
    status = library.fastopt_step_part(*arguments, ctypes.c_int64(0), ctypes.c_int64(0), ctypes.c_int64(256))
    assert b"need all gradients" in library.fastopt_status_message(status)
    np.testing.assert_array_equal(problem.params[0], before)


def test_on_the_emulated_gpu(library: ctypes.CDLL, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    generated = build_driver.generate(tmp_path, [ROWS["crowded"]])
    texts = kernels_on_host.texts() | {name: (generated / name).read_text() for name in ("rules.h", "derived.h")}
    texts["rules/crowded.h"] = ROWS["crowded"].with_suffix(".h").read_text()
    monkeypatch.setattr(kernels_on_host, "texts", lambda: texts)
    for name in ("include_folder", "precompiled"):  # which remember the texts that they have seen
        monkeypatch.setattr(kernels_on_host, name, functools.cache(getattr(kernels_on_host, name).__wrapped__))
    rule = row("crowded")
    kernel = StepKernel(rule, rule.variants[0], "float32", "", "", "bfloat16")
    emulated = kernels_on_host.build(kernel.source, kernel.name)
    here, there = (Problem(library, "crowded", np.float32, "bfloat16") for _ in range(2))
    control = np.zeros((), table.CONTROL)
    tiles = np.array([0, 4 * -(-LENGTH // 1024)], np.int64)
    for seed in range(2):
        here.step(seed)
        there.grads[0][...] = here.grads[0]
        grads, launch = np.array([there.grads[0].ctypes.data], np.uint64), np.zeros((), table.LAUNCH)
        arrays = {"tensors": there.tensors, "grads": grads, "first_tiles": tiles, "groups": there.group, "control": control}
        for field, value in arrays.items():
            launch[field] = value.ctypes.data
        launch["tensor_count"], launch["end_tile"], launch["end"] = 1, tiles[-1], 2**62
        launch["seed"], launch["counts"], launch["ends"], launch["ticket"] = SEED, 1, 1, (seed + 1) << 32
        launch["options"]["size"], launch["options"]["grad_scale"], launch["options"]["ema_decay"] = (
            table.OPTIONS.itemsize,
            1.0,
            -1.0,
        )
        words = emulated.run_kernel(1, 128, ctypes.create_string_buffer(launch.tobytes(), launch.nbytes))
        assert words is None, words
    for first, other in zip(here.arrays(), there.arrays(), strict=True):
        assert first.tobytes() == other.tobytes()


# ---- What the compiler refuses ----------------------------------------------------------------------------------------


def compile_with(folder: Path, header: str, changes: dict[str, str], source: str) -> str:
    """What the compiler says to a source with the row of crowded.py after these replacements, and to a header of these words."""
    text = ROWS["crowded"].read_text()
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    (folder / "crowded.py").write_text(text)
    (folder / "rules").mkdir()
    (folder / "rules" / "crowded.h").write_text(header)
    generated = build_driver.generate(folder, [folder / "crowded.py"])
    command = ["g++", "-std=c++17", "-fsyntax-only", f"-I{folder}", *build_driver.includes(generated), "-DFASTOPT_ISA=scalar"]
    try:
        build_driver.run([*command, str(build_driver.ROOT / "csrc" / "cpu" / source)])
    except build_driver.BuildError as error:
        return str(error)
    return ""


HEADER = ROWS["crowded"].with_suffix(".h").read_text() if ROWS else ""


def too_many() -> Iterator[tuple[str, dict[str, str]]]:
    names = [f"x{i}" for i in range(20)]
    slots = ", ".join(f'"{name}"' for name in names[:7])
    yield "7 slots: raise FASTOPT_MAX_SLOTS", {'("average", "square", "half", "size", "total", "largest")': f"({slots})"}
    scalars = "".join(f'"{name}": "1", ' for name in names[:12])
    yield "19 scalars: raise FASTOPT_MAX_SCALARS", {"scalars={": f"scalars={{{scalars}"}
    yield "5 running: raise FASTOPT_MAX_RUNNING", {'"sum", "last"))': '"sum", "last", "gain"))'}


@pytest.mark.parametrize(("words", "changes"), list(too_many()), ids=["slots", "scalars", "running"])
def test_limits_stop_the_compiler(words: str, changes: dict[str, str], tmp_path: Path) -> None:
    assert f"crowded has {words} in include/fastopt.h" in compile_with(tmp_path, HEADER, changes, "door/rule_table.cpp")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (", V& largest)", ")", "another number of slots than the variant's row"),
        ("Direction<V> plain", "V plain", "a rule's function is Direction<V> f"),
    ],
    ids=["slots", "returns"],
)
def test_a_function_of_another_form_stops_the_compiler(old: str, new: str, words: str, tmp_path: Path) -> None:
    header = HEADER.replace("                                           V& total", " V& total").replace(old, new)
    assert header != HEADER
    header = (
        header.replace("largest = max(largest, size);", "[[maybe_unused]] const V largest = size;")
        if old == ", V& largest)"
        else header
    )
    assert words in compile_with(tmp_path, header, {}, "loops/kernels.cpp")


def test_the_table_is_the_products() -> None:
    assert not {"crowded", "trusting"} & set(_core.rules())
