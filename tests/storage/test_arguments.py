"""Storage formats as users meet them: what is refused and in which words, `Stored`, masters, traffic, buffers, snapshots."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import fastopt
from fastopt.rules import RULES
from tests.support.arrays import Array
from tests.support.cases import arguments_with_state

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
N = 700


def filled(dtype: Any, rng: np.random.Generator) -> Array:
    return rng.standard_normal(N).astype(dtype)


@pytest.mark.parametrize(
    ("dtype", "rule", "arguments", "error", "words"),
    [
        (
            np.float64,
            "Adam",
            {"state_dtype": "8bit"},
            ValueError,
            "state_dtype: got '8bit', expected None or one of 'float64' for params",
        ),
        (
            np.float64,
            "Adam",
            {"state_dtype": "float32"},
            ValueError,
            "state_dtype: got 'float32', expected None or one of 'float64'",
        ),
        (
            np.float32,
            "Adam",
            {"state_dtype": "float64"},
            ValueError,
            "expected None or one of 'float32', 'bfloat16', '8bit' for params",
        ),
        (np.float16, "Adam", {"state_dtype": "4bit"}, ValueError, "state_dtype: got '4bit', expected one of None, 'float32'"),
        (np.float32, "Adam", {"state_dtype": np.float32}, TypeError, "state_dtype: got <class 'numpy.float32'>, expected one of"),
        (
            np.float32,
            "SGD",
            {"state_dtype": "8bit"},
            ValueError,
            "state_dtype: got '8bit', expected None, since SGD keeps no state",
        ),
        (
            np.float32,
            "Adam",
            {"master": "24bit"},
            ValueError,
            "master: got '24bit', expected None for params of float32; bfloat16 and",
        ),
        (
            np.float64,
            "Adam",
            {"master": "stochastic"},
            ValueError,
            "master: got 'stochastic', expected None for params of float64",
        ),
        (np.float16, "Adam", {"master": "16bit"}, ValueError, "master: got '16bit', expected one of None, '24bit', '32bit'"),
        (np.float16, "Adam", {"seed": -1}, ValueError, "seed: got -1, expected a whole number in"),
        (np.float16, "Adam", {"seed": 2**64}, ValueError, "seed: got a whole number beyond 64 bits"),
        (np.float16, "Adam", {"seed": 0.5}, TypeError, "seed: got float 0.5, expected a whole number"),
        (np.float16, "Adam", {"seed": True}, TypeError, "seed: got bool True, expected a whole number"),
    ],
)
def test_what_cannot_be(dtype: Any, rule: str, arguments: dict[str, Any], error: Any, words: str) -> None:
    with pytest.raises(error, match=re.escape(words)):
        getattr(fastopt, rule)(np.ones(N, dtype), **arguments)


def test_gradients_that_would_lose_something() -> None:
    param = np.ones(N, np.float16)
    optimizer = fastopt.Adam(param, state_dtype="8bit", master="24bit")
    with pytest.raises(
        TypeError, match=r"^grads: got dtype float64, expected float32, bfloat16 or float16, since params is float16"
    ):
        optimizer.step(np.ones(N))
    assert (param == 1).all()
    assert optimizer.steps == 0


def test_parts_that_cut_a_block() -> None:
    param = np.ones(N, np.float32)
    optimizer = fastopt.Adam(param, state_dtype="8bit")
    for begin, end in ((0, 300), (100, N), (1, 256)):
        with pytest.raises(ValueError, match=rf"^begin, end: got {begin}, {end}, expected multiples of 256 or the end"):
            optimizer.step_part(0, np.ones(N, np.float32), begin, end)
    assert (param == 1).all()
    optimizer.step_part(0, np.ones(N, np.float32), 256)
    optimizer.step_part(0, np.ones(256, np.float32), 0, 256)
    assert optimizer.steps == 1
    assert (param == param[0]).all()


@pytest.mark.parametrize("state_dtype", ["bfloat16", "8bit"])
@pytest.mark.parametrize("rule", RULES)
def test_every_rule_that_keeps_state(rule: str, state_dtype: str, rng: np.random.Generator) -> None:
    param = filled(np.float32, rng)
    optimizer = getattr(fastopt, rule)(param, state_dtype=state_dtype, **arguments_with_state(rule))
    optimizer.step(filled(np.float32, rng))
    for slot in optimizer.rule.variant(optimizer.groups[0].hyperparameters()).slots:
        stored = optimizer.state[0][slot]
        assert stored.format.split()[0] == state_dtype
        assert (np.asarray(stored) != 0).any()
    assert f"state_dtype='{state_dtype}'" in repr(optimizer)


@pytest.mark.parametrize("state_dtype", ["bfloat16", "8bit"])
def test_stored_state(state_dtype: str) -> None:
    optimizer = fastopt.Adam(np.ones((70, 10), np.float32), state_dtype=state_dtype)
    first, second = (optimizer.state[0][slot] for slot in ("exp_avg", "exp_avg_sq"))
    assert (first.shape, first.ndim, first.size, len(first)) == ((70, 10), 2, 700, 70)
    assert first.nbytes == sum(array.nbytes for array in first.raw.values()) == (1400 if state_dtype == "bfloat16" else 3 * 260)
    exact = np.arange(700, dtype=np.float32).reshape(70, 10) % 8 - 4
    first[...] = exact
    assert (np.asarray(first) == exact).all()
    assert first.astype(np.float64).dtype == np.float64
    first[3] = 0.5
    assert (first[3] == 0.5).all()
    assert (first[4] == exact[4]).all()
    second[...] = 2.0
    before = optimizer.state[0]["exp_avg_sq"].raw
    with pytest.raises(ValueError, match=r"^value: got -4.0, expected no value below 0"):
        second[...] = exact
    assert (np.asarray(second) == 2).all()
    assert before is second.raw
    with pytest.raises(ValueError, match=r"^copy: got False"):
        np.asarray(first, copy=False)
    assert second.dtype == np.float32
    assert ((second + 1) * np.sqrt(second) == np.float32(3) * np.sqrt(np.float32(2))).all()
    with pytest.raises(TypeError, match=r"^multiply: got a Stored to write to"):
        second *= 2
    optimizer.lr = 0.0
    optimizer.step(np.zeros((70, 10), np.float32))
    assert np.allclose(np.asarray(second), 2 * 0.999, rtol=2.0**-6), "what was set acts on the next step"


def test_a_first_value_of_state() -> None:
    for state_dtype, gap in (("bfloat16", 2.0**-8), ("8bit", 2.0**-8)):
        optimizer = fastopt.Adagrad(np.ones(N, np.float32), initial_accumulator_value=0.1, state_dtype=state_dtype)
        assert np.abs(np.asarray(optimizer.state[0]["sum"]) / 0.1 - 1).max() <= gap


@pytest.mark.parametrize("dtype", [BFLOAT16, np.dtype(np.float16)], ids=str)
@pytest.mark.parametrize("master", ["24bit", "32bit", "float32"])
def test_writing_to_a_parameter_that_has_a_master(dtype: Any, master: str, rng: np.random.Generator) -> None:
    param, grad = filled(dtype, rng), filled(dtype, rng)
    optimizer = fastopt.SGD(param, lr=1e-3, master=master)
    for _ in range(3):
        optimizer.step(grad)
    value = np.asarray(optimizer.state[0]["master"])
    unit = np.spacing(np.abs(param).astype(dtype)).astype(np.float64)
    assert (np.abs(value.astype(np.float64) - param.astype(np.float64)) <= unit / 2).all(), "to nearest"
    param[...] = 2.0
    before = np.asarray(optimizer.state[0]["master"]).copy()
    optimizer.step(np.zeros(N, dtype))
    if master == "float32":
        assert (np.asarray(optimizer.state[0]["master"]) == before).all(), "what was written is overwritten"
        assert (param != 2).any()
    else:
        assert np.abs(np.asarray(optimizer.state[0]["master"]) - 2).max() <= float(ml_dtypes.finfo(dtype).eps)
    param[...] = 2.0
    optimizer.reset_masters()
    optimizer.step(np.zeros(N, dtype))
    assert (np.asarray(optimizer.state[0]["master"]) == 2).all()
    assert (param == 2).all()


def test_parameters_set_to_zero_stay_sane(rng: np.random.Generator) -> None:
    for dtype in (BFLOAT16, np.dtype(np.float16)):
        for master in ("24bit", "32bit"):
            param = filled(dtype, rng)
            optimizer = fastopt.SGD(param, lr=1e-3, master=master)
            optimizer.step(filled(dtype, rng))
            param[...] = 0
            optimizer.step(np.zeros(N, dtype))
            assert (np.abs(param.astype(np.float32)) <= float(ml_dtypes.finfo(dtype).smallest_subnormal)).all()


def test_masters_among_other_parameters() -> None:
    params = {"a": np.ones(N, BFLOAT16), "b": np.ones(3, np.float32)}
    optimizer = fastopt.AdamW(params, master="32bit", state_dtype="8bit")
    optimizer.step({"a": np.ones(N, BFLOAT16), "b": np.ones(3, np.float32)})
    assert "master" in optimizer.state["a"]
    assert "master" not in optimizer.state["b"]


@pytest.mark.parametrize(
    ("dtype", "grad", "arguments", "kept"),
    [
        (np.float32, np.float32, {}, {"params": (4, 4), "grads": (4, 0), "exp_avg": (4, 4), "exp_avg_sq": (4, 4)}),
        (
            np.float32,
            BFLOAT16,
            {"state_dtype": "bfloat16"},
            {"params": (4, 4), "grads": (2, 0), "exp_avg": (2, 2), "exp_avg_sq": (2, 2)},
        ),
        (
            BFLOAT16,
            BFLOAT16,
            {"state_dtype": "8bit", "master": "24bit"},
            {"params": (2, 2), "grads": (2, 0), "exp_avg": (1 + 1 / 64,) * 2, "exp_avg_sq": (1 + 1 / 64,) * 2, "master": (1, 1)},
        ),
        (
            np.float16,
            np.float32,
            {"master": "float32", "max_norm": 1.0},
            {"params": (0, 2), "grads": (8, 0), "exp_avg": (4, 4), "exp_avg_sq": (4, 4), "master": (4, 4)},
        ),
    ],
)
def test_traffic(dtype: Any, grad: Any, arguments: dict[str, Any], kept: dict[str, tuple[float, float]]) -> None:
    n = 256 * 5
    optimizer = fastopt.AdamW(np.zeros(n, dtype), grads=np.zeros(n, grad), **arguments)
    expected = {name: {"read": int(read * n), "write": int(write * n)} for name, (read, write) in kept.items()}
    expected["total"] = {way: sum(row[way] for row in expected.values()) for way in ("read", "write")}
    assert optimizer.traffic() == expected


@pytest.mark.parametrize("dtype", [BFLOAT16, np.dtype(np.float16)], ids=str)
def test_flat_buffers(dtype: Any, rng: np.random.Generator) -> None:
    arrays = {"a": filled(dtype, rng).reshape(70, 10), "b": filled(dtype, rng)[::2]}
    flat = fastopt.flatten(arrays)
    assert flat.data.dtype == flat.dtype == dtype
    assert all((flat.views[name] == array).all() for name, array in arrays.items())
    grads = flat.zeros_like()
    grads.copy_from(arrays)
    optimizer = fastopt.Adam(flat, master="24bit", state_dtype="bfloat16")
    optimizer.step(grads)
    optimizer.step(grads.data)
    assert (flat.views["a"] != arrays["a"]).any()
    with pytest.raises(TypeError, match=r"^arrays\['b'\]: got dtype float32, expected"):
        grads.copy_from({"a": arrays["a"], "b": arrays["b"].astype(np.float32)})
    with pytest.raises(TypeError, match=rf"^arrays\[1\]: got dtype float32, expected {dtype}"):
        fastopt.flatten([arrays["a"], np.ones(3, np.float32)])


@pytest.mark.parametrize("dtype", [BFLOAT16, np.dtype(np.float16)], ids=str)
def test_gradients_outside_a_step(dtype: Any, rng: np.random.Generator) -> None:
    grad = filled(dtype, rng)
    wide = grad.astype(np.float32)
    assert fastopt.global_norm([grad, np.ones(3)]) == fastopt.global_norm([wide, np.ones(3)])
    assert fastopt.all_finite(grad)
    for clip, limit in ((fastopt.clip_grad_norm, 0.7), (fastopt.clip_grad_value, 0.3)):
        small, large = grad.copy(), wide.copy()
        clip(small, limit)
        clip(large, limit)
        assert small.tobytes() == large.astype(dtype).tobytes(), "float32's, rounded to nearest"
    grad[5] = np.inf
    assert not fastopt.all_finite(grad)


@pytest.mark.parametrize("dtype", [BFLOAT16, np.dtype(np.float16)], ids=str)
def test_the_bare_kernel(dtype: Any, rng: np.random.Generator) -> None:
    param, grad = filled(dtype, rng), filled(dtype, rng)
    other, state = param.copy(), [np.zeros(N, np.float32) for _ in range(2)]
    optimizer = fastopt.Adam(param)
    for step in (1, 2):
        optimizer.step(grad)
        fastopt.functional.adam(other, grad, *state, step=step)
    assert param.tobytes() == other.tobytes()
    with pytest.raises(TypeError, match=r"^exp_avg: got dtype .*16, expected float32, since param is"):
        fastopt.functional.adam(other, grad, param, state[1], step=3)


@pytest.mark.parametrize(
    ("dtype", "arguments"),
    [
        (BFLOAT16, {"state_dtype": "8bit", "master": "24bit"}),
        (BFLOAT16, {"state_dtype": "bfloat16", "master": "32bit"}),
        (np.float16, {"master": "float32"}),
        (np.float16, {"state_dtype": "8bit", "master": "stochastic"}),
    ],
)
def test_checkpoints_resume_bit_for_bit(dtype: Any, arguments: dict[str, Any], rng: np.random.Generator, tmp_path: Path) -> None:
    shapes, path = ((70, 10), (3,), (0,), ()), tmp_path / "a.safetensors"

    def random() -> list[Array]:
        return [rng.standard_normal(shape).astype(np.float32).astype(dtype).reshape(shape) for shape in shapes]

    params, grads = random(), [random() for _ in range(5)]
    ours = fastopt.AdamW(params, seed=2**63 + 7, ema_decay=0.9, **arguments)
    for grad in grads[:2]:
        ours.step(grad)
    ours.save(path)
    copies = [param.copy() for param in params]
    theirs = fastopt.AdamW(copies, seed=1, ema_decay=0.5, **arguments)
    theirs.load(path)
    for grad in grads[2:]:
        ours.step(grad)
        theirs.step(grad)
    assert [param.tobytes() for param in params] == [copy.tobytes() for copy in copies]
    other = {key: value for key, value in arguments.items() if key != "state_dtype"} | {"state_dtype": "float32"}
    if "state_dtype" in arguments:
        with pytest.raises(
            ValueError, match=r"state_dict\['state_dtype'\]: got '.*', expected 'float32' as the optimizer was built"
        ):
            fastopt.AdamW(copies, ema_decay=0.9, **other).load(path)


def test_snapshots_of_other_sizes() -> None:
    optimizer = fastopt.Adam(np.ones(N, np.float32), state_dtype="8bit")
    snapshot = optimizer.state_dict()
    entry = snapshot["state"][0]
    for bad, error in (
        (entry["exp_avg"]["codes"], ValueError),
        ({"codes": entry["exp_avg"]["codes"]}, ValueError),
        ({**entry["exp_avg"], "codes": entry["exp_avg"]["codes"][:-1]}, ValueError),
        ({**entry["exp_avg"], "codes": entry["exp_avg"]["codes"].astype(np.int16)}, TypeError),
        (np.zeros(N, np.float32), ValueError),
    ):
        with pytest.raises(error, match=r"^state_dict\['state'\]\[0\]\['exp_avg'\]"):
            optimizer.load_state_dict({**snapshot, "state": [{**entry, "exp_avg": bad}]})
    with pytest.raises(TypeError, match=r"^state_dict\['master'\]: got int 8, expected None"):
        optimizer.load_state_dict({**snapshot, "master": 8})


def test_foreign_byte_order() -> None:
    swapped = np.full(N, 0.5, np.float32).astype(BFLOAT16.newbyteorder())
    structure = np.full(N, 0.5, BFLOAT16).view(np.uint16).byteswap().view([("bfloat16", np.dtype(np.uint16).newbyteorder())])
    param = np.ones(N, np.float32)
    optimizer = fastopt.SGD(param, lr=1.0)
    with pytest.raises(ValueError, match=r"^grads: got foreign byte order"):
        optimizer.step(swapped)
    with pytest.raises(TypeError, match=r"^grads: got dtype"):
        optimizer.step(structure)
    with pytest.raises(ValueError, match=r"^params: got foreign byte order"):
        fastopt.SGD(swapped.copy())
    with pytest.raises(ValueError, match=r"^grads: got foreign byte order"):
        fastopt.global_norm(swapped)
    assert (param == 1).all()
    assert (fastopt.flatten([swapped]).views[0] == 0.5).all(), "which copies, and reads it right"


def test_the_floor_of_a_centered_variance(rng: np.random.Generator) -> None:
    for params in (np.zeros(N, np.float32), [{"params": np.zeros(N, np.float32), "variance_floor": None}]):
        optimizer = fastopt.RMSprop(params, centered=True, state_dtype="8bit", lr=1e-3)
        assert optimizer.groups[0]["variance_floor"] == 0.25
        optimizer.groups[0]["variance_floor"] = 0.5
        optimizer.groups[0]["variance_floor"] = None
        assert optimizer.groups[0]["variance_floor"] == 0.25
        with pytest.raises(
            ValueError, match=r"^variance_floor: got 0.1, expected None or 0.25 and above with state_dtype='8bit'"
        ):
            optimizer.groups[0]["variance_floor"] = 0.1
        for _ in range(300):
            optimizer.step((1 + 0.01 * rng.standard_normal(N)).astype(np.float32))
        assert np.abs(optimizer.groups[0]["params"][0]).max() < 1
    with pytest.raises(ValueError, match=r"variance_floor: got 0.0, expected None or 0.0078125 and above"):
        fastopt.RMSprop(np.zeros(N, np.float32), centered=True, state_dtype="bfloat16", variance_floor=0.0)
    assert fastopt.RMSprop(np.zeros(N, np.float32), centered=True).groups[0]["variance_floor"] is None


def test_snapshots_of_the_other_16_bits(rng: np.random.Generator) -> None:
    snapshot = fastopt.AdamW(filled(BFLOAT16, rng), master="24bit").state_dict()
    with pytest.raises(ValueError, match=r"\['dtype'\]: got 'bfloat16', expected 'float16' as params has"):
        fastopt.AdamW(filled(np.float16, rng), master="24bit").load_state_dict(snapshot)
    with pytest.raises(ValueError, match=r"^state_dict\['state'\]\[0\]: got"):
        fastopt.AdamW(filled(np.float32, rng)).load_state_dict(fastopt.AdamW(filled(np.float16, rng)).state_dict())


def test_what_stored_state_refuses() -> None:
    for state_dtype in ("bfloat16", "8bit"):
        optimizer = fastopt.Adam(np.ones(N, np.float32), state_dtype=state_dtype)
        stored = optimizer.state[0]["exp_avg_sq"]
        with pytest.raises(ValueError, match=r"^value: got -1.0"):
            stored.fill(-1.0)
        assert (np.asarray(stored) == 0).all()
        with pytest.raises(TypeError):
            stored.raw["bits"] = np.zeros(N, np.uint16)
    small = fastopt.Adam(np.ones(7, np.float32), state_dtype="8bit")
    small.step_part(0, np.ones(0, np.float32), 7, 7)
    assert small.steps == 0
