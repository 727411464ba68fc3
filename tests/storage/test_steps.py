"""Steps over storage formats: within one rounding of float64, and bit for bit decode, float32 step, encode."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import fastopt
from fastopt import _core
from fastopt.rules import RULES
from tests.support.arrays import Array, gradients, hostile
from tests.support.cases import ISAS, Arguments, arguments_with_state, case_id, stage_arguments
from tests.support.comparing import assert_same_bits, digest
from tests.support.formats import (
    CASES,
    DTYPES,
    MASTERS,
    NARROW,
    STATE_DTYPES,
    Storage,
    Twin,
    everything,
    has_state,
    held,
    random_gradients,
    random_params,
    same_bytes,
    slots_of,
    step_and_compare,
    storages,
)

pytestmark = pytest.mark.kernel

LENGTHS = (1, 255, 257, 1000)
STEPS = 4
SEED = 2**63 + 12345
ALL_CASES = pytest.mark.parametrize("case", CASES, ids=case_id)
ALL_RULES = pytest.mark.parametrize("rule", RULES)
ALL_STATES = pytest.mark.parametrize("state_dtype", STATE_DTYPES, ids=str)
RESOLUTION = {None: None, "bfloat16": 2.0**-7, "8bit": 0.25}
"""What the centered variance of RMSprop is held at (docs/rules.md)."""


@ALL_STATES
@ALL_CASES
def test_each_step_is_one_rounding_from_float64(case: tuple[str, Arguments], state_dtype: str | None) -> None:
    rule, arguments = case
    known = arguments | ({"variance_floor": RESOLUTION[state_dtype]} if "variance_floor" in arguments else {})
    rng = np.random.default_rng(11)
    for storage in storages(rule, arguments, (state_dtype,)):
        params = random_params(LENGTHS, storage.dtype, rng)
        optimizer = storage.build(rule, params, arguments, seed=SEED)
        for t in range(1, STEPS + 1):
            step_and_compare(optimizer, storage, params, random_gradients(params, t, rng), known, t)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("state_dtype", ["bfloat16", "8bit"])
def test_steady_gradients_bring_a_centered_variance_to_its_floor(state_dtype: str, momentum: float) -> None:
    """Where the square and the average are rounded apart, their difference is mostly error: it is held at what they can tell."""
    own = {"lr": 1e-3, "alpha": 0.5, "momentum": momentum, "centered": True, "variance_floor": None}
    arguments = own | stage_arguments(np.random.default_rng(0))[0]  # none
    known, rng = arguments | {"variance_floor": RESOLUTION[state_dtype]}, np.random.default_rng(20)
    storage = Storage("float32", None, state_dtype)
    params = random_params(LENGTHS, "float32", rng)
    optimizer = storage.build("RMSprop", params, arguments, seed=SEED)
    grads = random_gradients(params, 0, rng)
    for t in range(1, 21):
        step_and_compare(optimizer, storage, params, grads, known, t)


def by_hand(grads: list[Array], options: dict[str, Any]) -> list[Array]:
    """The gradients behind `grad_scale`, a power of two, and `clip_value`, both exact."""
    wide = [grad.astype(np.float32) for grad in grads]
    if not options:
        return wide
    limit = np.float32(options["clip_value"])
    return [np.clip(grad * np.float32(options["grad_scale"]), -limit, limit) for grad in wide]


@pytest.mark.parametrize("staged", [False, True], ids=["bare", "staged"])
@ALL_STATES
@ALL_CASES
def test_a_step_is_decode_float32_step_encode(case: tuple[str, Arguments], state_dtype: str | None, staged: bool) -> None:
    """Bit for bit, with the noise of the specification; the average and the copy are of the float32 parameter."""
    rule, arguments = case
    rng = np.random.default_rng(12)
    options: dict[str, Any] = {"grad_scale": 1 / 8, "clip_value": 0.3} if staged else {}
    average: dict[str, Any] = {"ema_decay": 0.9} if staged else {}
    for storage in storages(rule, arguments, (state_dtype,)):
        params = random_params((1000, 255, 257), storage.dtype, rng)
        copies = [np.zeros(param.shape, DTYPES[name]) for param, name in zip(params, NARROW, strict=True)]
        more = {"copy_to": copies, "zero_grad": True, **options, **average} if staged else {}
        optimizer = storage.build(rule, params, arguments, seed=SEED, **more)
        twin = Twin(optimizer, params, storage, arguments, SEED, **average)
        for t in range(1, STEPS + 1):
            grads = random_gradients(params, t, rng)
            twin.step(by_hand(grads, options))
            optimizer.step(grads)
            wrong = same_bytes(twin.actual(), twin.expected())
            assert not wrong, f"{storage}, step {t}: arrays {wrong}"
            if staged:
                floats = [value[: param.size] for value, param in zip(twin.values, params, strict=True)]
                averages = [value[: param.size] for value, param in zip(twin.floats.ema_params, params, strict=True)]
                assert_same_bits(optimizer.ema_params, averages, storage)
                assert not same_bytes(copies, [p.astype(copy.dtype) for p, copy in zip(floats, copies, strict=True)])
                assert not any(grad.any() for grad in grads)


@pytest.mark.parametrize("master", MASTERS, ids=str)
def test_the_smallest_float16_parameters(master: str | None, rng: np.random.Generator) -> None:
    """Below 2^-14, where 16 and 32 bits are multiples of a unit and the float32 step is finer: it is rounded with noise."""
    storage = Storage("float16", master, None)
    params = [gradients(1000, np.float16, rng, 2.0 ** rng.uniform(-26, -13, 1000)) for _ in range(2)]
    arguments = {"lr": 2.0**-20, "momentum": 0.9}
    optimizer = storage.build("SGD", params, arguments, seed=SEED)
    twin = Twin(optimizer, params, storage, arguments, SEED)
    for t in range(STEPS):
        grads = [gradients(1000, np.float32, rng, 2.0 ** rng.uniform(-12, 4, 1000)) for _ in params]
        twin.step(grads)
        optimizer.step(grads)
        wrong = same_bytes(twin.actual(), twin.expected())
        assert not wrong, f"step {t}: arrays {wrong}"


@pytest.mark.parametrize("master", MASTERS, ids=str)
@ALL_RULES
def test_parameters_of_several_dtypes(rule: str, master: str | None, rng: np.random.Generator) -> None:
    """In one optimizer, each by its own format, with one count of the noise through all."""
    arguments = arguments_with_state(rule)
    for state_dtype in STATE_DTYPES if has_state(rule, arguments) else (None,):
        params = [random_params((n,), dtype, rng)[0] for dtype in NARROW for n in LENGTHS]
        storage = Storage("several", master, state_dtype)
        optimizer = storage.build(rule, params, arguments, seed=SEED)
        twin = Twin(optimizer, params, storage, arguments, SEED)
        for t in range(2):
            grads = random_gradients(params, t, rng)
            twin.step(by_hand(grads, {}))
            optimizer.step(grads)
            wrong = same_bytes(twin.actual(), twin.expected())
            assert not wrong, f"{storage}, step {t}: arrays {wrong}"


@ALL_RULES
def test_max_norm_is_a_factor(rule: str) -> None:
    """1024 gradients of size 1 have the norm 32."""
    arguments, rng = arguments_with_state(rule), np.random.default_rng(13)
    for storage in storages(rule, arguments):
        results = []
        for factor, options in ((1.0, {"max_norm": 8.0}), (0.25, {})):
            params = random_params((1000, 24), storage.dtype, np.random.default_rng(14))
            optimizer = storage.build(rule, params, arguments, **options)
            for t in range(STEPS):
                signs = [rng.choice([-factor, factor], p.size).astype(DTYPES[NARROW[(t + i) % 3]]) for i, p in enumerate(params)]
                optimizer.step(signs)
            rng = np.random.default_rng(13)
            results.append(everything(optimizer, params))
        assert not same_bytes(*results), storage


@ALL_RULES
def test_a_skipped_step_leaves_the_formats_alone(rule: str, rng: np.random.Generator) -> None:
    arguments = arguments_with_state(rule)
    for storage in storages(rule, arguments):
        params = random_params((1000, 257), storage.dtype, rng)
        optimizer = storage.build(rule, params, arguments, skip_nonfinite=True, zero_grad=True)
        optimizer.step(random_gradients(params, 0, rng))
        before = digest(*everything(optimizer, params))
        for t, special in enumerate((np.nan, np.inf, -np.inf)):
            grads = random_gradients(params, t, rng)
            grads[1][256] = special
            optimizer.step(grads)
            assert digest(*everything(optimizer, params)) == before
            assert not any(grad.any() for grad in grads)
        assert (optimizer.steps, optimizer.skipped_steps) == (1, 3)


def steps_with_widened(rule: str, arguments: Arguments, storage: Storage, name: str, wide: Any, **options: Any) -> None:
    """Gradients of a dtype and the same in a wider one."""
    results = []
    for dtype in (DTYPES[name], wide):
        rng = np.random.default_rng(15)
        params = random_params(LENGTHS, storage.dtype, rng)
        optimizer = storage.build(rule, params, arguments, **options)
        for _ in range(STEPS):
            optimizer.step([gradients(p.shape, DTYPES[name], rng).astype(dtype) for p in params])
        results.append([*everything(optimizer, params), np.array(optimizer.grad_norm or 0.0)])
    assert not same_bytes(*results), (storage, name)


@pytest.mark.parametrize(
    "options", [{}, {"max_norm": 0.7, "clip_value": 1.5, "grad_scale": 0.3, "ema_decay": 0.9}], ids=["", "staged"]
)
@ALL_CASES
def test_gradients_are_widened_exactly(case: tuple[str, Arguments], options: dict[str, Any]) -> None:
    for name in NARROW:
        steps_with_widened(*case, Storage("float64", None, None), name, np.float64, **options)
    for name in ("bfloat16", "float16"):
        for storage in storages(*case):
            if storage.dtype == "float32" or storage.master == "24bit":
                steps_with_widened(*case, storage, name, np.float32, **options)


@ALL_STATES
@ALL_RULES
def test_a_32bit_master_of_bfloat16_is_a_float32_copy(rule: str, state_dtype: str | None) -> None:
    """The visible parameters differ only where the master is halfway between two."""
    arguments = arguments_with_state(rule)
    found = []
    for master in ("32bit", "float32"):
        rng = np.random.default_rng(16)
        params = random_params((257, 4000), "bfloat16", rng)
        optimizer = Storage("bfloat16", master, state_dtype).build(rule, params, arguments, seed=SEED)
        for t in range(50):
            optimizer.step(random_gradients(random_params((257, 4000), "float32", np.random.default_rng(t)), t, rng))
        state = [np.asarray(entry[slot]) for entry in optimizer.state for slot in slots_of(optimizer)]
        found.append((params, [held(optimizer, i, p) for i, p in enumerate(params)], state))
    (params, masters, state), (others, copies, copies_state) = found
    assert_same_bits(masters, copies)
    assert_same_bits(state, copies_state)
    for param, other, master in zip(params, others, masters, strict=True):
        different = param.view(np.uint16) != other.view(np.uint16)
        assert np.all(master.view(np.uint32)[different] & 0xFFFF == 0x8000)


LARGE = 70_000


def run_of(rule: str, storage: Storage, make: Callable[[Any, list[Array]], None]) -> str:
    """A hash of all that two steps leave, each of which is made by `make`."""
    rng = np.random.default_rng(17)
    params = random_params((LARGE, 300), storage.dtype, rng)
    optimizer = storage.build(rule, params, arguments_with_state(rule), seed=SEED)
    for t in range(2):
        make(optimizer, random_gradients(params, t, rng))
    return digest(*everything(optimizer, params))


@ALL_RULES
def test_bits_are_those_of_every_isa_and_number_of_threads(rule: str) -> None:
    for storage in storages(rule, arguments_with_state(rule)):
        seen = set()
        for isa, threads in [(isa, 2) for isa in ISAS] + [(ISAS[0], 1)]:
            assert _core.set_isa(isa)
            fastopt.set_num_threads(threads)
            seen.add(run_of(rule, storage, lambda optimizer, grads: optimizer.step(grads)))
            assert _core.isa_last_run() == isa
        assert len(seen) == 1, storage


@ALL_RULES
def test_bits_of_hostile_values(rule: str) -> None:
    """Denormals, Inf, NaN, huge: under every instruction set, where a NaN equals any NaN."""
    arguments = arguments_with_state(rule)
    for storage in storages(rule, arguments):
        found = []
        for isa in ISAS:
            assert _core.set_isa(isa)
            rng = np.random.default_rng(18)
            with np.errstate(all="ignore"):
                params = [hostile(n, np.float32, rng).astype(DTYPES[storage.dtype]) for n in (1000, 4099)]
                optimizer = storage.build(rule, params, arguments)
                for t in range(STEPS):
                    optimizer.step([hostile(p.size, np.float32, rng).astype(DTYPES[NARROW[t % 3]]) for p in params])
                state = [np.asarray(entry[slot]) for entry in optimizer.state for slot in slots_of(optimizer)]
                found.append([*state, *(held(optimizer, i, p) for i, p in enumerate(params))])
                found[-1] += [p.astype(np.float32) for p in params]
        for other in found[1:]:
            assert_same_bits(other, found[0], storage)


FLAT = [(rule, arguments_with_state(rule)) for rule in RULES]
FLAT += [("Adagrad", {"initial_accumulator_value": 0.1}), ("Adagrad", {"initial_accumulator_value": 0.1, "eps_in_root": True})]


@pytest.mark.parametrize(("rule", "arguments"), FLAT, ids=str)
def test_a_flat_buffer_has_the_bits_of_its_tensors(rule: str, arguments: Arguments, rng: np.random.Generator) -> None:
    for storage in storages(rule, arguments):
        params = random_params(LENGTHS, storage.dtype, rng)
        flat = fastopt.flatten(params)
        whole = storage.build(rule, flat, arguments, seed=SEED, weight_decay=0.01)
        separate = storage.build(rule, params, arguments, seed=SEED, weight_decay=0.01)
        for t in range(STEPS):
            grads = [gradients(p.shape, DTYPES[NARROW[t % 3]], rng) for p in params]
            whole.step(fastopt.flatten(grads))
            separate.step(grads)
        assert not same_bytes(flat.views, params), storage
        for name in [*slots_of(separate), *(["master"] if "master" in separate.state[0] else [])]:
            views = flat.split(np.asarray(whole.state[0][name]))
            assert_same_bits(views, [np.asarray(entry[name]) for entry in separate.state], (storage, name))


@ALL_RULES
def test_unaligned_parameters(rule: str, rng: np.random.Generator) -> None:
    arguments = arguments_with_state(rule)
    for storage in storages(rule, arguments):
        [values], bits = random_params((1000,), storage.dtype, rng), set()
        grads = [gradients(1000, DTYPES[name], rng) for name in NARROW]
        for offset in (0, 1, 3, 7):
            param = np.zeros(1100, values.dtype)[offset : offset + 1000]
            param[:] = values
            optimizer = storage.build(rule, [param], arguments)
            for grad in grads:
                moved = np.zeros(1100, grad.dtype)[offset : offset + 1000]
                moved[:] = grad
                optimizer.step([moved])
            bits.add(digest(*everything(optimizer, [param])))
        assert len(bits) == 1, storage


def in_parts(cuts: list[int]) -> Callable[[Any, list[Array]], None]:
    """Makes a step whose first tensor comes in parts, the last one first."""

    def step(optimizer: Any, grads: list[Array]) -> None:
        for begin, end in reversed(list(zip([0, *cuts], [*cuts, LARGE], strict=True))):
            optimizer.step_part(0, grads[0][begin:end], begin, end)
        optimizer.step_part(1, grads[1])

    return step


@ALL_RULES
def test_parts_have_the_bits_of_the_step(rule: str, rng: np.random.Generator) -> None:
    arguments = arguments_with_state(rule)
    for storage in storages(rule, arguments):
        whole = run_of(rule, storage, lambda optimizer, grads: optimizer.step(grads))
        assert run_of(rule, storage, in_parts([256, 1024, 69_888])) == whole, storage
        if storage.state_dtype != "8bit":
            assert run_of(rule, storage, in_parts([1, 255, 1000, 33_333])) == whole, storage
            continue
        params = random_params((1000,), storage.dtype, rng)
        optimizer = storage.build(rule, params, arguments)
        before = digest(*everything(optimizer, params))
        for begin, end in ((0, 255), (1, 256), (256, 999), (1, 1000)):
            with pytest.raises(ValueError, match="begin, end"):
                optimizer.step_part(0, np.ones(1000, np.float32), begin, end)
        assert digest(*everything(optimizer, params)) == before


@ALL_RULES
def test_the_seed_is_all_that_tells_two_runs_apart(rule: str) -> None:
    """And it does so wherever a rounding is stochastic."""
    arguments = arguments_with_state(rule)
    stochastic = [Storage("float32", None, "bfloat16"), Storage("float32", None, "8bit")]
    stochastic += [Storage(dtype, master, None) for dtype in ("bfloat16", "float16") for master in ("24bit", "stochastic")]
    for storage in stochastic:
        found = []
        for seed in (0, 0, 1, 2**32):
            rng = np.random.default_rng(19)
            params = random_params((1000,), storage.dtype, rng)
            optimizer = storage.build(rule, params, arguments, seed=seed)
            optimizer.step(random_gradients(params, 0, rng))
            found.append(digest(*everything(optimizer, params)))
        assert found[0] == found[1]
        assert len(set(found)) == 3
