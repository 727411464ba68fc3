"""The CUDA kernels, run on the host, against the CPU's steps: every bit."""

from __future__ import annotations

import itertools
import platform
import shutil
import subprocess
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import fastopt
from fastopt import _core
from fastopt._arrays.driver import Parameters
from fastopt._cuda import table
from fastopt._cuda.kernels import WRITE
from fastopt._engine.tensors import Tensor
from fastopt.gradients import read
from fastopt.optimizer import engine_of
from fastopt.rules import RULES
from tests.support.arrays import Array, gradients, hostile
from tests.support.cases import KERNEL_CASES, Arguments, arguments_with_state, case_id, stage_arguments
from tests.support.comparing import same_bits
from tests.support.cuda_launches import GRIDS, Mirror, assert_at_rest, assert_pairs, gradient_launch, kernel_of, on_device
from tests.support.emulated_cuda import EmulatedDriver, array
from tests.support.formats import DTYPES, NARROW, random_params
from tests.support.kernels_on_host import COMPILER, flags, include_folder

pytestmark = [
    pytest.mark.skipif(shutil.which(COMPILER) is None, reason=f"{COMPILER} is not installed"),
    pytest.mark.skipif(platform.system() != "Linux", reason="the fibers are those of Linux"),
]

LENGTHS = (1, 255, 256, 257, 1000, 5000)
SEED = 2**63 + 12345
ADAMW = arguments_with_state("AdamW") | {"amsgrad": False}
PARAMS = [("float32", None), *itertools.product(("bfloat16", "float16"), (None, "24bit", "32bit", "float32", "stochastic"))]
STATES = [(rule, state_dtype) for rule in RULES for state_dtype in ("bfloat16", "8bit")]
ORDERS = pytest.mark.parametrize("order", [0, 1], ids=["ascending", "descending"])


@pytest.fixture
def driver() -> EmulatedDriver:
    return EmulatedDriver()


def two_groups(params: list[Array]) -> list[dict[str, Any]]:
    return [{"params": params[::2]}, {"params": params[1::2], "lr": 0.003, "weight_decay": 0.04}]


def run_steps(mirror: Mirror, steps: list[list[Array | None]], **options: Any) -> None:
    """Steps on both sides."""
    for t, grads in enumerate(steps, start=1):
        mirror.step(grads, **options)
        mirror.optimizer.step(grads, **options)
        mirror.assert_equal(t)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", KERNEL_CASES, ids=case_id)
def test_rules(driver: EmulatedDriver, case: tuple[str, Arguments], dtype: str, rng: np.random.Generator) -> None:
    rule, arguments = case
    params = [hostile(n, dtype, rng) for n in LENGTHS]
    mirror = Mirror(getattr(fastopt, rule)(two_groups(params), **arguments), driver)
    steps: list[list[Array | None]] = [[hostile(p.size, dtype, rng) for p in (*params[::2], *params[1::2])] for _ in range(2)]
    steps[1][2] = None  # this tensor stays at its first step
    for driver.order, grads in enumerate(steps):
        run_steps(mirror, [grads])


@pytest.mark.parametrize("state_dtype", [None, "bfloat16", "8bit"], ids=str)
@pytest.mark.parametrize(("dtype", "master"), PARAMS, ids=str)
def test_formats(driver: EmulatedDriver, dtype: str, master: Any, state_dtype: Any, rng: np.random.Generator) -> None:
    """Two gradient dtypes in each step, which are two launches of one plan."""
    params = random_params(LENGTHS, dtype, rng)
    arguments = ADAMW | {"master": master, "state_dtype": state_dtype, "seed": SEED}
    mirror = Mirror(fastopt.AdamW(two_groups(params), **arguments), driver)
    skipped = (2 - PARAMS.index((dtype, master))) % 3
    names = [name for i, name in enumerate(NARROW) if i != skipped]
    for driver.order in (0, 1):
        shapes = [p.size for p in (*params[::2], *params[1::2])]
        run_steps(mirror, [[gradients(n, DTYPES[names[i % 2]], rng) for i, n in enumerate(shapes)]])


@pytest.mark.parametrize(("rule", "state_dtype"), STATES)
def test_states(driver: EmulatedDriver, rule: str, state_dtype: str, rng: np.random.Generator) -> None:
    arguments = arguments_with_state(rule)
    params = random_params(LENGTHS, "float32", rng)
    mirror = Mirror(getattr(fastopt, rule)(params, **arguments, state_dtype=state_dtype, seed=SEED), driver)
    run_steps(mirror, [[hostile(p.size, np.float32, rng) for p in params], [gradients(p.size, np.float32, rng) for p in params]])


@pytest.mark.parametrize("before", [2**32 - 700, 2**40 - 1300])
def test_noise_beyond_32_bits(driver: EmulatedDriver, before: int, rng: np.random.Generator, monkeypatch: Any) -> None:
    """Tensors may be a piece of a long vector."""
    planned = Tensor.planned
    monkeypatch.setattr(Tensor, "planned", lambda self, slots: {**planned(self, slots), "offset": self.offset + before})
    params = random_params(LENGTHS, "bfloat16", rng)
    mirror = Mirror(fastopt.AdamW(params, **ADAMW, master="stochastic", state_dtype="bfloat16", seed=SEED), driver)
    run_steps(mirror, [[gradients(n, np.float32, rng) for n in LENGTHS]] * 2)


@pytest.mark.parametrize("grad", NARROW)
def test_float64_takes_narrow_gradients(driver: EmulatedDriver, grad: str, rng: np.random.Generator) -> None:
    params = [rng.standard_normal(n) for n in LENGTHS]
    mirror = Mirror(fastopt.SGD(params, lr=0.1, momentum=0.9), driver)
    run_steps(mirror, [[gradients(n, DTYPES[grad], rng) for n in LENGTHS]] * 2)


STAGES: dict[str, Any] = {
    "grad_scale": {"grad_scale": 1 / 1024},
    "clip_value": {"clip_value": 0.7},
    "max_norm": {"max_norm": 0.5},
    "norm_eps": {"max_norm": 0.5, "norm_eps": 0.25},
    "skip_nonfinite": {"skip_nonfinite": True},
    "zero_grad": {"zero_grad": True},
    "all": {"grad_scale": 3.0, "clip_value": 0.9, "max_norm": 0.5, "skip_nonfinite": True, "zero_grad": True},
}


@ORDERS
@pytest.mark.parametrize("copy", DTYPES)
@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
@pytest.mark.parametrize("stage", STAGES)
def test_stages(driver: EmulatedDriver, stage: str, dtype: str, copy: str, order: int, rng: np.random.Generator) -> None:
    """Each on its own and all together; averages and copies of every dtype; of three steps one that is not finite."""
    driver.order = order
    params = random_params(LENGTHS, dtype, rng)
    arguments: Any = stage_arguments(rng)[-1 - order] | {"ema_decay": 0.9, "copy_to": [p.astype(DTYPES[copy]) for p in params]}
    mirror = Mirror(fastopt.AdamW(params, lr=0.01, **arguments, master="24bit" if dtype == "bfloat16" else None), driver)
    for t in range(3):
        grads = [gradients(n, DTYPES[dtype], rng) for n in LENGTHS]
        if t == 1:
            grads[4][77] = (np.inf, np.nan)[order]
        run_steps(mirror, [[*grads]], **STAGES[stage])


@ORDERS
@pytest.mark.parametrize("zero_grad", [False, True])
@pytest.mark.parametrize("cut", [(0, 0), (0, 1), (3, 997), (256, 512), (255, 257), (900, 1000)])
def test_parts(driver: EmulatedDriver, cut: tuple[int, int], zero_grad: bool, order: int, rng: np.random.Generator) -> None:
    driver.order = order
    optimizer = fastopt.AdamW(rng.standard_normal(1000).astype(np.float32), ema_decay=0.9)
    mirror, kernel = Mirror(optimizer, driver), kernel_of("AdamW", ADAMW, "float32", "float32")
    grad = gradients(1000, np.float32, rng)
    there = on_device(grad, 3)
    options = _core.Options(1.0, 0.0, 0.0, -1.0, False, zero_grad)  # which leave averages alone
    for begin, end in (cut, (0, cut[0]), (cut[1], 1000)):
        mirror.part(kernel, there, begin, end, options)
        engine_of(optimizer).plan.step_part(grad, 0, begin, end, options)
        assert_pairs([(label, host, each.host) for label, host, each in [*mirror.pairs, ("grad", grad, there)]], (begin, end))
    mirror.part(kernel, there, 0, 0, options, end_tile=0, counts=1, ends=1)
    engine_of(optimizer).plan.count(0)
    engine_of(optimizer).plan.completed = 1
    mirror.assert_equal()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_lr_on_the_device(driver: EmulatedDriver, dtype: Any, rng: np.random.Generator) -> None:
    params = [rng.standard_normal(n).astype(np.float32) for n in LENGTHS]
    rate = array(np.array([0.0123], dtype))
    mirror = Mirror(fastopt.AdamW(params, lr=float(rate.host[0])), driver)
    row = mirror.groups.host[0]
    row["lr"], row["device_lr"], row["lr_is_double"] = np.nan, rate.pointer, dtype is np.float64
    run_steps(mirror, [[gradients(n, np.float32, rng) for n in LENGTHS]] * 2)


def ranges(rng: np.random.Generator) -> Iterator[list[Array]]:
    """Gradients whose squares overflow, vanish, are not finite, or are just numbers."""
    for scale in (1.0, 1e-300, 1e300, 1e-160, 1e160, 5e-324):
        yield [gradients(n, np.float64, rng, scale) for n in LENGTHS]
    for special in (np.inf, -np.inf, np.nan):
        yield [np.where(np.arange(n) == 200, special, gradients(n, np.float64, rng)) for n in LENGTHS]
    yield [np.array([np.inf, np.nan]), np.zeros(300)]
    yield [np.zeros(257), -np.zeros(3)]
    for dtype in DTYPES.values():
        yield [gradients(n, dtype, rng) for n in LENGTHS]
    yield [gradients(n, DTYPES[name], rng, 1e-3) for n, name in zip(LENGTHS, itertools.cycle(DTYPES), strict=False)]
    yield [np.array([np.finfo(np.float64).max] * 300), np.full(5, 3e38, np.float32)]
    # A sum in another order is seen in every fourth norm or so.
    yield from ([gradients(256, np.float64, rng)] for _ in range(40))


@ORDERS
def test_measurement(driver: EmulatedDriver, order: int, rng: np.random.Generator) -> None:
    driver.order = order
    control = array(np.zeros(1, table.CONTROL))
    options = _core.Options(1.0, 0.0, 0.0, 0.0, False, False)
    for i, grads in enumerate(ranges(rng)):
        gradient_launch(driver, "Sweep", grads, control, options, GRIDS[i % len(GRIDS)])
        found = control.host[0]
        assert same_bits(np.array([found["norm"]]), np.array([fastopt.global_norm(grads)])), i
        assert bool(found["finite"]) == fastopt.all_finite(grads), i
        assert_at_rest(found)
        driver.check_guards()


@ORDERS
@pytest.mark.parametrize(
    ("clip_value", "max_norm", "norm_eps"),
    [(0.7, 0.0, 0.0), (0.0, 0.5, 0.0), (0.0, 1e30, 0.0), (0.0, 0.5, 1e-6), (0.0, 1e30, 1e30)],
)
def test_clipping(
    driver: EmulatedDriver, clip_value: float, max_norm: float, norm_eps: float, order: int, rng: np.random.Generator
) -> None:
    driver.order = order
    control = array(np.zeros(1, table.CONTROL))
    options = _core.Options(1.0, clip_value, max_norm, 0.0, False, False, norm_eps)
    for i, grads in enumerate(ranges(rng)):
        if max_norm:
            gradient_launch(driver, "Sweep", grads, control, options, GRIDS[i % len(GRIDS)])
        there = gradient_launch(driver, "Clip", grads, control, options, GRIDS[(i + 1) % len(GRIDS)], measured=max_norm > 0)
        norm, _ = _core.clip(read(grads, written=True), options)
        if max_norm:
            assert same_bits(np.array([control.host[0]["norm"]]), np.array([norm])), i
        assert_pairs([(f"grad {k}", a, b.host) for k, (a, b) in enumerate(zip(grads, there, strict=True))], i)
        driver.check_guards()


def test_words(driver: EmulatedDriver, rng: np.random.Generator) -> None:
    words, to = rng.integers(0, 2**64, 77, np.uint64), array(np.zeros(77, np.uint64))
    parameters = Parameters(table.WORDS)
    parameters.value["to"], parameters.value["count"], parameters.value["words"][:77] = to.pointer, 77, words
    kernel = driver.kernel(WRITE, 0)
    with driver.capture() as graph:
        driver.launch(kernel, 1, 64, parameters, 0, 0)
    assert not to.host.any()
    assert len(graph.launches) == 1
    graph.replay()
    assert (to.host == words).all()


def test_layouts() -> None:
    """The structures that Python fills are those of C."""
    names = {"fastopt_tensor": table.TENSOR, "fastopt_options": table.OPTIONS, "Control": table.CONTROL}
    names |= {"Launch": table.LAUNCH, "Words": table.WORDS, "Group": table.GROUP}
    group = {"device_lr": "lr", "lr_is_double": "lr_is_double"}
    lines = []
    for name, dtype in names.items():
        lines.append(f'static_assert(sizeof({name}) == {dtype.itemsize}, "{name}");')
        for field, (kind, offset, *_) in (dtype.fields or {}).items():
            member = group.get(field, f"values.{field}") if name == "Group" else field
            place, size = f"__builtin_offsetof({name}, {member})", f"sizeof(static_cast<{name}*>(nullptr)->{member})"
            lines.append(f'static_assert({place} == {offset} && {size} == {kind.itemsize}, "{name}.{field}");')
    source = f'#include "cuda/kernels.h"\nnamespace fastopt::cuda {{\n{chr(10).join(lines)}\n}}\n'
    options = f"-I{include_folder()} -include device_on_host.h -fsyntax-only -x c++ -"
    command = [COMPILER, *flags(), *options.split()]
    done = subprocess.run(command, input=source, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


MISUSES = {
    "waits for ever at __syncthreads": "if (threadIdx.x != 5) __syncthreads();",
    "waits for ever at __syncwarp": "if (threadIdx.x < 40) __syncwarp();",
    "are at different operations": "if (threadIdx.x % 2) __syncwarp(); else __any_sync(~0U, 1);",
    "a mask without all lanes": "__any_sync(1, 1);",
    "is not aligned": "*reinterpret_cast<volatile uint32_t*>(reinterpret_cast<char*>(words.to) + 2) = 0;",
    "memory that is not there": "*reinterpret_cast<volatile uint64_t*>(16 * words.count) = 0;",
    "8 bytes behind an array of 24": "words.to[words.count] = 0;",
}


@pytest.mark.parametrize("words", MISUSES)
def test_the_emulation_refuses(driver: EmulatedDriver, words: str) -> None:
    """What a GPU would not bear, and goes on afterwards."""
    declaration = 'extern "C" __global__ void fastopt_kernel(Parameters words)'
    source = f'#include "cuda/kernels.h"\nusing Parameters = fastopt::cuda::Words;\n{declaration} {{ {MISUSES[words]} }}\n'
    kernel = driver.kernel(SimpleNamespace(name="misuse", source=source), 0)
    to, parameters = array(np.zeros(3, np.uint64)), Parameters(table.WORDS)
    parameters.value["to"], parameters.value["count"] = to.pointer, 3

    def launch() -> None:
        driver.launch(kernel, 2, 64, parameters, 0, 0)
        driver.check_guards()

    for _ in range(2):
        with pytest.raises((RuntimeError, AssertionError), match=words):
            launch()
    parameters.value["to"] = parameters.address  # the host's
    with pytest.raises(RuntimeError, match="no memory of device 0"):
        launch()
    spoiled = "allocation while a graph is captured"
    with pytest.raises(AssertionError, match=spoiled), driver.capture(), pytest.raises(RuntimeError, match=spoiled):
        driver.zeros((3,), np.float32, 0, 0)
