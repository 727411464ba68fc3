"""Storage formats and checkpoints of optimizers over arrays on a GPU, against the same on the CPU: every bit."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastopt._storage.stored import Stored
from fastopt.rules import RULES
from tests.support.arrays import Array, gradients, hostile
from tests.support.cases import arguments_with_state
from tests.support.devices import Both, assert_same
from tests.support.formats import DTYPES, MASTERS, NARROW, random_params

LENGTHS = (1, 255, 257, 2600)
PARAMS = [("float32", None), *itertools.product(("bfloat16", "float16"), MASTERS)]
ADAMW = arguments_with_state("AdamW") | {"amsgrad": False}
SEED = 2**63 + 12345


def grad_dtype(dtype: str, master: str | None) -> str:
    """One for each way of keeping the parameters."""
    return NARROW[-PARAMS.index((dtype, master)) % 3]


def steps_of(params: list[Array], dtype: str, rng: np.random.Generator, steps: int = 2) -> Iterator[list[Array]]:
    for _ in range(steps):
        yield [gradients(p.shape, DTYPES[dtype], rng) for p in params]


@pytest.mark.parametrize("state_dtype", [None, "bfloat16", "8bit"], ids=str)
@pytest.mark.parametrize(("dtype", "master"), PARAMS, ids=str)
def test_storage(device: Any, dtype: str, master: str | None, state_dtype: str | None, rng: np.random.Generator) -> None:
    """Ordinary gradients, then some of every kind; the average and the copy of a parameter in fewer bits."""
    params = random_params(LENGTHS, dtype, rng)
    arguments = ADAMW | {"master": master, "state_dtype": state_dtype, "seed": SEED, "ema_decay": 0.9}
    both = Both(device, "AdamW", params, copy_to=[np.zeros(p.shape, np.float32) for p in params], **arguments)
    both.assert_equal("before")
    name = grad_dtype(dtype, master)
    for t, grads in enumerate(steps_of(params, name, rng)):
        both.step(grads, t)
    with np.errstate(all="ignore"):
        both.step([hostile(p.size, np.float32, rng).astype(DTYPES[name]) for p in params], "hostile")
    if master in ("24bit", "32bit", "float32"):
        assert_same(np.asarray(both.cpu.state[3]["master"]), held(both, 3), "master")
        for param, there in zip(params, both.params, strict=True):
            param[...] = 0.3
            device.write(there, param)
        both.both(lambda optimizer, _: optimizer.reset_masters())
        both.assert_equal("after reset_masters")
        both.step(next(steps_of(params, name, rng)), "after reset_masters")


def held(both: Both, index: int) -> Array:
    """The master on the device."""
    master = both.gpu.state[index]["master"]
    return np.asarray(master) if isinstance(master, np.ndarray | Stored) else both.device.host(master)


@pytest.mark.parametrize("rule", RULES)
def test_8bit_states(device: Any, rule: str, rng: np.random.Generator) -> None:
    params = random_params(LENGTHS, "float32", rng)
    both = Both(device, rule, params, **arguments_with_state(rule), state_dtype="8bit", seed=SEED)
    both.assert_equal("before")
    for grads in steps_of(params, "float32", rng):
        both.step(grads)
    both.step([hostile(p.size, np.float32, rng) for p in params], "hostile")


@pytest.mark.parametrize("state_dtype", ["bfloat16", "8bit"])
def test_values_of_a_state(device: Any, state_dtype: str, rng: np.random.Generator) -> None:
    """What `opt.state` shows can be read, set as a whole or in part, and seen in its own format."""
    params = random_params(LENGTHS, "float32", rng)
    both = Both(device, "AdamW", params, state_dtype=state_dtype, **ADAMW)
    for grads in steps_of(params, "float32", rng):
        both.step(grads)
    values = rng.standard_normal(257).astype(np.float32)

    def change(optimizer: Any, _: Any) -> None:
        optimizer.state[2]["exp_avg"][...] = values
        optimizer.state[3]["exp_avg"][100:120] = 0.25
        optimizer.state[3]["exp_avg_sq"].fill(0.5)
        optimizer.state[0]["exp_avg"][0] = -1.0

    both.both(change)
    both.assert_equal("set")
    stored = both.gpu.state[2]["exp_avg"]
    assert np.asarray(stored) == pytest.approx(values, abs=0.2)
    assert set(stored.raw) == ({"bits"} if state_dtype == "bfloat16" else {"codes", "blocks"})
    assert all(not isinstance(raw, np.ndarray) for raw in stored.raw.values())
    assert_same(stored + 1.0, both.cpu.state[2]["exp_avg"] + 1.0, "ufuncs")
    with pytest.raises(ValueError, match="expected no value below 0 in a non-negative slot"):
        both.gpu.state[1]["exp_avg_sq"][0] = -1.0
    both.step(next(steps_of(params, "float32", rng)), "after")


def test_values_of_a_master(device: Any, rng: np.random.Generator) -> None:
    params = random_params(LENGTHS, "bfloat16", rng)
    both = Both(device, "AdamW", params, master="24bit", **ADAMW)
    both.step(next(steps_of(params, grad_dtype("bfloat16", "24bit"), rng)))
    values = rng.standard_normal(255).astype(np.float32)

    def change(optimizer: Any, _: Any) -> None:
        optimizer.state[1]["master"][...] = values

    both.both(change)
    both.assert_equal("set")
    assert both.device.host(both.params[1]).tolist() == params[1].tolist()


def test_seeds(device: Any, rng: np.random.Generator) -> None:
    start = random_params(LENGTHS, "bfloat16", rng)
    grads = next(steps_of(start, grad_dtype("bfloat16", "stochastic"), rng))
    results = []
    for seed in (0, 1, SEED):
        both = Both(device, "AdamW", [p.copy() for p in start], master="stochastic", seed=seed, lr=0.01, **plain())
        both.step(grads, seed)
        results.append(device.host(both.params[3]).tobytes())
    assert len(set(results)) == 3


def plain() -> dict[str, Any]:
    return {key: value for key, value in ADAMW.items() if key != "lr"}


CHECKPOINTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "8bit": {"state_dtype": "8bit", "seed": SEED, "skip_nonfinite": True},
    "float16 with 32 bits": {"master": "32bit", "ema_decay": 0.9, "dtype": "float16"},
    "bfloat16 with a copy": {"master": "float32", "state_dtype": "bfloat16", "dtype": "bfloat16"},
}


@pytest.mark.parametrize("direction", ["from the CPU", "to the CPU", "stays"])
@pytest.mark.parametrize("way", ["state_dict", "file"])
@pytest.mark.parametrize("kind", CHECKPOINTS)
def test_checkpoints(device: Any, kind: str, way: str, direction: str, tmp_path: Path, rng: np.random.Generator) -> None:
    """An optimizer goes on elsewhere as if it had stayed."""
    arguments = {"lr": 0.02, **CHECKPOINTS[kind]}
    dtype = arguments.pop("dtype", "float32")
    grad = grad_dtype(dtype, arguments.get("master"))
    both = Both(device, "AdamW", dict(zip("abcd", random_params(LENGTHS, dtype, rng), strict=True)), **arguments)

    def grads(spoiled: bool = False) -> dict[str, Array]:
        found = dict(zip("abcd", (gradients(n, DTYPES[grad], rng) for n in LENGTHS), strict=True))
        if spoiled:
            found["c"][256] = np.inf
        return found

    both.step(grads())
    both.step(grads() | {"b": None})  # type: ignore[arg-type]
    if arguments.get("skip_nonfinite"):
        both.step(grads(spoiled=True))
    there = [device.host(param) for param in both.params]
    other = Both(device, "AdamW", dict(zip("abcd", there, strict=True)), **{**arguments, "lr": 0.5, "seed": 7})
    source, target = {
        "from the CPU": (both.cpu, other.gpu),
        "to the CPU": (both.gpu, other.cpu),
        "stays": (both.gpu, other.gpu),
    }[direction]
    partner, same = (other.cpu, both.cpu) if target is other.gpu else (other.gpu, both.gpu)
    if way == "file":
        source.save(tmp_path / "checkpoint.safetensors")
        target.load(tmp_path / "checkpoint.safetensors")
        partner.load(tmp_path / "checkpoint.safetensors")
    else:
        target.load_state_dict(source.state_dict())
        partner.load_state_dict(same.state_dict())
    other.assert_equal("loaded")
    for t in range(2):
        following = grads()
        both.step(following, t)
        other.step(following, t)
    assert (other.gpu.steps, other.gpu.skipped_steps) == (both.gpu.steps, both.gpu.skipped_steps)
    assert other.gpu.lr == 0.02
    for mine, theirs in zip(other.params, both.params, strict=True):
        assert_same(device.host(mine), device.host(theirs), "after")


@pytest.mark.parametrize("rule", ["NAdam", "SGD"])
def test_a_checkpoint_has_the_same_bits_on_both_sides(device: Any, rule: str, rng: np.random.Generator) -> None:
    params = random_params(LENGTHS, "float32", rng)
    both = Both(device, rule, params, **arguments_with_state(rule), state_dtype="8bit", ema_decay=0.5)
    both.step(next(steps_of(params, "float32", rng)))
    cpu, gpu = both.cpu.state_dict(), both.gpu.state_dict()
    assert same_nest(cpu, gpu)
    state = cpu["state"][1]
    assert both.gpu.load_state_dict({**cpu, "state": [cpu["state"][0], {**state, "step": 7}, *cpu["state"][2:]]}) is None
    assert both.gpu.state[1]["step"] == 7
    before = both.gpu.state_dict()
    with pytest.raises(ValueError, match="ema"):
        both.gpu.load_state_dict(
            {**cpu, "steps": 99, "state": [*cpu["state"][:3], {**cpu["state"][3], "ema": np.zeros(3, np.float32)}]}
        )
    assert same_nest(both.gpu.state_dict(), before)


def same_nest(a: Any, b: Any) -> bool:
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same_nest(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same_nest, a, b))
    if isinstance(a, np.ndarray):
        assert isinstance(b, np.ndarray)
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    return bool(a == b)


def test_a_state_on_the_device_is_loaded(device: Any, rng: np.random.Generator) -> None:
    """Arrays of a snapshot may themselves lie on a device."""
    params = [rng.standard_normal(300).astype(np.float32)]
    both = Both(device, "AdamW", params)
    both.step([gradients(300, np.float32, rng)])
    snapshot = both.cpu.state_dict()
    moved = {**snapshot, "state": [both.placed(snapshot["state"][0])]}
    for optimizer in (both.cpu, both.gpu):
        optimizer.load_state_dict(moved)
    both.assert_equal("loaded")
    both.step([gradients(300, np.float32, rng)])


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_a_learning_rate_on_the_device_takes_the_value_of_a_snapshot(device: Any, kind: Any, rng: np.random.Generator) -> None:
    """It stays the array that it is, which a graph may read."""
    both = Both(device, "AdamW", [rng.standard_normal(300).astype(np.float32)], lr=0.25)
    both.step([gradients(300, np.float32, rng)])
    snapshot = both.cpu.state_dict()
    rate = device.array(np.full(1, 0.5, kind))
    both.gpu.lr, both.cpu.lr = rate, 0.5
    both.step([gradients(300, np.float32, rng)])
    for optimizer in (both.cpu, both.gpu):
        optimizer.load_state_dict(snapshot)
    assert both.gpu.groups[0]["lr"] is rate
    assert device.host(rate).tolist() == [0.25]
    both.step([gradients(300, np.float32, rng)])
