"""A step in parts has the bits of the step at once, for every rule and stage; what cannot be a part is refused without a trace."""

from __future__ import annotations

import contextlib
import itertools
import re
import sys
import threading
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import fastopt
from fastopt.rules import RULES
from tests.support.arrays import Array, gradients
from tests.support.cases import arguments_with_state
from tests.support.comparing import assert_same_bits
from tests.support.problems import ALL_CASES, ALL_DTYPES, PARALLEL
from tests.support.scenes import BAD_ARRAYS, N, Scene, read_only

pytestmark = pytest.mark.kernel

SHAPES: dict[str, tuple[int, ...]] = {"a": (7, 5), "b": (), "c": (300,), "d": (PARALLEL + 77,), "e": (2, 0, 3), "f": (3, 4, 5)}
STAGES: dict[str, Any] = {"grad_scale": -0.25, "clip_value": 0.3, "ema_decay": 0.9, "zero_grad": True}
ALL_RULES = pytest.mark.parametrize("rule", RULES)
OFF = {"max_norm": None, "skip_nonfinite": False}


class Twin:
    """Parameters of SHAPES with averages and copies of any kind, and their optimizer."""

    def __init__(self, rule: str, starts: dict[str, Array], arguments: dict[str, Any], **options: Any) -> None:
        self.params = {name: start.copy() for name, start in starts.items()}
        self.copies = {
            "a": np.zeros((7, 5), ml_dtypes.bfloat16),
            "b": None,
            "c": np.zeros(300, np.float16),
            "d": np.zeros(starts["d"].shape, np.float32),
            "e": None,
            "f": np.zeros((3, 4, 5)),
        }
        self.optimizer = getattr(fastopt, rule)(self.params, copy_to=self.copies, **arguments, **options)

    def arrays(self) -> list[Array]:
        state = [
            np.asarray(value, np.float64 if np.isscalar(value) else None) for e in self.optimizer.state for value in e.values()
        ]
        averages = list((self.optimizer.ema_params or {}).values())
        copies = [copy.astype(np.float32) for copy in self.copies.values() if copy is not None]
        return [*self.params.values(), *state, *averages, *copies, np.array(float(self.optimizer.steps))]


def cuts(size: int, rng: np.random.Generator) -> list[tuple[int, int]]:
    """Parts that cover `size` elements, at random."""
    inner = rng.choice(np.arange(1, size), min(size - 1, int(rng.integers(4))), replace=False) if size > 1 else []
    ends = [0, *sorted(map(int, inner)), size]
    return list(itertools.pairwise(ends))


def step_in_parts(optimizer: Any, grads: dict[str, Array | None], rng: np.random.Generator, **options: Any) -> None:
    """In any order; the gradient of a part is the whole tensor's, or the part's alone."""
    parts = [(name, *cut) for name, grad in grads.items() if grad is not None for cut in cuts(grad.size, rng)]
    for i in rng.permutation(len(parts)):
        name, begin, end = parts[i]
        grad = grads[name]
        assert grad is not None
        tensor = name if rng.integers(2) else list(grads).index(name)
        if rng.integers(2):
            optimizer.step_part(tensor, grad, begin, end, **options)
        else:
            optimizer.step_part(tensor, grad.reshape(-1)[begin:end], begin, end, **options)
    if any(grad is None for grad in grads.values()):
        optimizer.end_step()


@ALL_CASES
@ALL_DTYPES
@pytest.mark.parametrize("stages", [{}, STAGES], ids=["bare", "stages"])
def test_a_step_in_parts_has_the_bits_of_the_step(case: tuple[str, dict[str, Any]], dtype: Any, stages: dict[str, Any]) -> None:
    rule, arguments = case
    rng = np.random.default_rng(11)
    starts = {name: gradients(shape, dtype, rng) for name, shape in SHAPES.items()}
    whole, parts = (Twin(rule, starts, arguments, **stages) for _ in range(2))
    for twin in (whole, parts):
        twin.optimizer.lr = lambda completed: 0.1 / (1 + completed)
    for t in range(4):
        grads: dict[str, Array | None] = {name: gradients(shape, dtype, rng) for name, shape in SHAPES.items()}
        if t == 1:
            grads["a"] = grads["d"] = None
        own = {name: None if grad is None else grad.copy() for name, grad in grads.items()}
        whole.optimizer.step(grads)
        step_in_parts(parts.optimizer, own, rng)
        assert_same_bits(parts.arrays(), whole.arrays(), t)
        for name, grad in grads.items():
            assert grad is None or np.array_equal(grad, own[name])
    assert parts.optimizer.steps == 4
    assert [entry["step"] for entry in parts.optimizer.state] == [3, 4, 4, 3, 4, 4]


def test_options_of_one_part(rng: np.random.Generator) -> None:
    starts = {name: gradients(shape, np.float32, rng) for name, shape in SHAPES.items()}
    whole, parts = (Twin("NAdam", starts, {}, ema_decay=0.5) for _ in range(2))
    for _ in range(3):
        grads: dict[str, Array | None] = {name: gradients(shape, np.float32, rng) for name, shape in SHAPES.items()}
        own = {name: None if grad is None else grad.copy() for name, grad in grads.items()}
        whole.optimizer.step(grads, **STAGES)
        step_in_parts(parts.optimizer, own, rng, **STAGES)
        assert not any(np.any(grad) for grad in own.values())
    assert_same_bits(parts.arrays(), whole.arrays())
    assert parts.optimizer.options["grad_scale"] == 1.0


@ALL_RULES
def test_parts_and_steps_may_take_turns(rule: str, rng: np.random.Generator) -> None:
    starts = {name: gradients(shape, np.float64, rng) for name, shape in SHAPES.items()}
    whole, parts = (Twin(rule, starts, arguments_with_state(rule), ema_decay=0.9) for _ in range(2))
    for t in range(4):
        grads: dict[str, Array | None] = {name: gradients(shape, np.float64, rng) for name, shape in SHAPES.items()}
        whole.optimizer.step(grads)
        if t % 2:
            parts.optimizer.step(grads)
        else:
            step_in_parts(parts.optimizer, grads, rng)
    assert_same_bits(parts.arrays(), whole.arrays())


def test_one_tensor_alone_and_a_flat_buffer(rng: np.random.Generator) -> None:
    for start in (gradients(1000, np.float32, rng), fastopt.flatten([gradients(n, np.float32, rng) for n in (300, 7)])):
        params = np.array(start), np.array(start)
        whole, parts = fastopt.Adam(params[0]), fastopt.Adam(params[1])
        for _ in range(3):
            grad = gradients(params[0].size, np.float32, rng)
            whole.step(grad)
            parts.step_part(0, grad, end=100)
            parts.step_part(0, grad[100:], 100)
        assert_same_bits([params[1]], [params[0]])
        assert parts.steps == 3


def test_counts_of_an_open_step() -> None:
    params = [np.zeros(4), np.zeros(2)]
    seen: list[int] = []

    def schedule(completed: int) -> float:
        seen.append(completed)
        return 1.0 + completed

    optimizer = fastopt.SGD(params, lr=schedule)
    optimizer.step([np.ones(4), np.ones(2)], max_norm=100.0)
    assert optimizer.grad_norm == pytest.approx(np.sqrt(6))
    seen.clear()
    optimizer.step_part(0, np.ones(4), 0, 3)
    assert (optimizer.steps, optimizer.lr, seen) == (1, 2.0, [1])
    assert optimizer.state[0]["step"] == 1, "a tensor's step ends with its last element"
    optimizer.step_part(1, np.ones(2))
    assert optimizer.steps == 1
    optimizer.step_part(0, np.ones(4), 3)
    assert (optimizer.steps, optimizer.lr, seen) == (2, 2.0, [1])
    assert [entry["step"] for entry in optimizer.state] == [2, 2]
    assert params[0].tolist() == [-3.0] * 4
    assert optimizer.grad_norm is None, "nothing measured it"
    optimizer.step_part(0, np.ones(4))
    assert (optimizer.lr, seen) == (3.0, [1, 2])


def test_a_schedule_that_fails_opens_no_step() -> None:
    param = np.ones(3)
    optimizer = fastopt.SGD(param, lr=lambda completed: -1.0 if completed else 1.0)
    optimizer.step_part(0, np.ones(3))
    with pytest.raises(ValueError, match=r"^lr: got -1"):
        optimizer.step_part(0, np.ones(3), 0, 1)
    assert param.tolist() == [0.0] * 3
    optimizer.lr = 1.0
    optimizer.step(np.ones(3))
    assert param.tolist() == [-1.0] * 3
    assert optimizer.steps == 2


@ALL_RULES
def test_stages_that_need_all_gradients_are_refused_by_name(rule: str) -> None:
    for name, value in (("max_norm", 1.0), ("skip_nonfinite", True)):
        param = np.ones(3)
        optimizer = getattr(fastopt, rule)(param, **{name: value})
        with pytest.raises(ValueError, match=f"^{name}: .*needs all gradients"):
            optimizer.step_part(0, np.ones(3))
        with pytest.raises((TypeError, ValueError), match=name):
            getattr(fastopt, rule)(param).step_part(0, np.ones(3), **{name: value})
        assert param.tolist() == [1.0] * 3
        optimizer.step(np.ones(3))
        optimizer.options[name] = OFF[name]
        optimizer.step_part(0, np.ones(3), 0, 1)
        optimizer.options[name] = value
        with pytest.raises(ValueError, match=f"^{name}: "):
            optimizer.step_part(0, np.ones(3), 1)
        optimizer.options[name] = OFF[name]
        optimizer.step_part(0, np.ones(3), 1)
        assert optimizer.steps == 2


ONES = np.ones(N, np.float32)
BAD_PARTS: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "an unknown name": ({"tensor": "d"}, ValueError, "tensor: got the name 'd'"),
    "a position too high": ({"tensor": 3}, ValueError, "tensor: got 3"),
    "a position from the end": ({"tensor": -1}, ValueError, "tensor: got -1"),
    "a huge position": ({"tensor": 2**70}, ValueError, "tensor: got"),
    "a position that is no whole number": ({"tensor": 1.0}, TypeError, "tensor: got"),
    "no position": ({"tensor": None}, TypeError, "tensor: got"),
    "a position that is true": ({"tensor": True}, TypeError, "tensor: got"),
    "a list of positions": ({"tensor": [0]}, TypeError, "tensor: got"),
    "the parameter": ({"tensor": ONES}, TypeError, "tensor: got"),
    "a negative begin": ({"begin": -1}, ValueError, "begin, end: got -1"),
    "a begin past the end": ({"begin": N + 1}, ValueError, f"begin, end: got {N + 1}"),
    "an end past the end": ({"end": N + 1}, ValueError, f"begin, end: got 0, {N + 1}"),
    "a negative end": ({"end": -1}, ValueError, "begin, end: got 0, -1"),
    "a huge end": ({"end": 2**70}, ValueError, "begin, end: got"),
    "an end before the begin": ({"begin": 4, "end": 3}, ValueError, "begin, end: got 4, 3"),
    "a begin of None": ({"begin": None}, TypeError, "begin: got"),
    "a begin that is no whole number": ({"begin": 1.5}, TypeError, "begin: got"),
    "a begin of text": ({"begin": "0"}, TypeError, "begin: got"),
    "an end that is no whole number": ({"end": np.float64(2)}, TypeError, "end: got"),
    "an end that is true": ({"end": True}, TypeError, "end: got"),
    "no gradient": ({"grad": None}, TypeError, "grad: got None"),
    "a gradient too short": ({"grad": ONES[:-1]}, ValueError, "grad: got shape"),
    "a gradient that is neither": ({"grad": ONES[:3], "begin": 2}, ValueError, "grad: got shape"),
    "a gradient of another shape": ({"grad": ONES.reshape(2, 3)}, ValueError, "grad: got shape"),
    "a part's gradient of two dimensions": ({"grad": ONES[:4].reshape(2, 2), "end": 4}, ValueError, "grad: got shape"),
    "a part's gradient of another dtype": ({"grad": np.ones(4), "end": 4}, TypeError, "grad: got dtype"),
    "a part's gradient that is strided": ({"grad": np.ones(8, np.float32)[::2], "end": 4}, ValueError, "grad: got strides"),
    "a gradient of another dtype": ({"grad": np.ones(N)}, TypeError, "grad: got dtype"),
    "a read-only gradient to zero": ({"grad": read_only(ONES.copy()), "zero_grad": True}, ValueError, "grad: got a read-only"),
    "a read-only part to zero": (
        {"grad": read_only(ONES[:2].copy()), "begin": 4, "zero_grad": True},
        ValueError,
        "grad: got a read-only",
    ),
    "a bad scale": ({"grad_scale": np.nan}, ValueError, "grad_scale: got"),
    "a bad limit": ({"clip_value": 0}, ValueError, "clip_value: got 0"),
    "a bad flag": ({"zero_grad": 1}, TypeError, "zero_grad: got"),
    "an average that is not there": ({"ema_decay": 0.9}, ValueError, "ema_decay: got"),
} | {f"a gradient: {name}": ({"grad": make()}, error, "grad: got") for name, (make, error) in BAD_ARRAYS.items()}


@pytest.mark.parametrize("open_", [False, True], ids=["closed", "open"])
@pytest.mark.parametrize("rule", ["SGD", "NAdam"])
@pytest.mark.parametrize(("changes", "error", "words"), BAD_PARTS.values(), ids=BAD_PARTS)
def test_bad_parts(changes: dict[str, Any], error: type[Exception], words: str, rule: str, open_: bool) -> None:
    scene, twin = Scene(rule, names=True), Scene(rule, names=True)
    part = scene.optimizer.step_part
    if open_:
        part("a", scene.grads[0], 0, 4)
    with scene.refuses(error, f"^{words}"):
        part(**{"tensor": "b", "grad": scene.grads[1], **changes})
    if open_:
        part("a", scene.grads[0], 4)
        for name, grad in zip("bc", scene.grads[1:], strict=True):
            part(name, grad)
    else:
        scene.optimizer.step(scene.grads)
    twin.optimizer.step(twin.grads)
    assert scene.digest() == twin.digest(), "it left a trace"


def test_a_part_that_was_made_is_not_made_again() -> None:
    scene = Scene("Adam")
    part, grad = scene.optimizer.step_part, scene.grads[0]
    part(0, grad, 2, 4)
    for begin, end in ((2, 4), (0, 3), (3, 6), (0, 6), (1, 5), (2, 3), (3, 4)):
        with scene.refuses(ValueError, "^begin, end: elements .* of .*have had their part"):
            part(0, grad, begin, end)
    part(0, grad, 0, 2)
    part(0, grad, 4, 6)
    with scene.refuses(ValueError, "^begin, end: elements .*have had their part"):
        part(0, grad)


@pytest.mark.parametrize("at", [0, 3, N])
def test_a_part_of_no_elements_changes_nothing(at: int) -> None:
    scene, twin = Scene("NAdam"), Scene("NAdam")
    nothing = np.ones(0, np.float32)
    for begin, end in ((0, 1), (1, 5), (5, N)):
        with contextlib.suppress(ValueError):  # it may be refused
            scene.optimizer.step_part(0, nothing, at, at)
        scene.optimizer.step_part(0, scene.grads[0], begin, end)
        twin.optimizer.step_part(0, twin.grads[0], begin, end)
    for end in (0, 2, N):
        with contextlib.suppress(ValueError):
            scene.optimizer.step_part(0, nothing, end, end)
    for each in (scene, twin):
        each.optimizer.end_step()
    assert scene.digest() == twin.digest()
    assert [entry["step"] for entry in scene.optimizer.state] == [2, 1, 1]


@pytest.mark.parametrize("end", [4, 6])
def test_gradients_that_overlap_what_a_step_writes(end: int) -> None:
    memory, average = np.ones(12, np.float32), np.ones(6, np.float32)
    copy = np.zeros(6, np.float32)
    optimizer = fastopt.Adam([memory[:6], average], ema_decay=0.9, copy_to=[copy, None])
    slot = optimizer.state[1]["exp_avg"]
    before = memory.copy()
    for grad in (memory[:6], memory[1:7], memory[5:11], average, slot, copy, optimizer.ema_params[0]):
        with pytest.raises(ValueError, match=r"^grad: got .*memory"):
            optimizer.step_part(0, grad[:end], end=end)
    assert_same_bits([memory], [before])
    optimizer.step_part(0, memory[6:])
    optimizer.step_part(1, memory[6:])
    assert optimizer.steps == 1, "two tensors may read one gradient, one after the other"


def test_what_an_open_step_refuses() -> None:
    scene = Scene("Adam", names=True)
    optimizer = scene.optimizer
    snapshot = optimizer.state_dict()
    optimizer.step_part("b", scene.grads[1], 0, 3)
    calls: dict[str, Callable[[], Any]] = {
        "step": lambda: optimizer.step(scene.grads),
        "state_dict": optimizer.state_dict,
        "load_state_dict": lambda: optimizer.load_state_dict(snapshot),
    }
    for name, call in calls.items():
        with scene.refuses(ValueError, f"^{name}: a step in parts is open"):
            call()
    with scene.refuses(ValueError, "^end_step: " + re.escape("params['b']") + " has had its part in part"):
        optimizer.end_step()
    optimizer.step_part("b", scene.grads[1], 3)
    with scene.refuses(ValueError, "^step: a step in parts is open"):
        optimizer.step(scene.grads)
    optimizer.end_step()
    assert optimizer.steps == 2
    for call in calls.values():
        call()


def test_end_step_without_a_step() -> None:
    scene = Scene("Lion")
    with scene.refuses(ValueError, "^end_step: no step in parts is open"):
        scene.optimizer.end_step()
    for i, grad in enumerate(scene.grads):
        scene.optimizer.step_part(i, grad)
    assert scene.optimizer.steps == 2
    with scene.refuses(ValueError, "^end_step: no step in parts is open"):
        scene.optimizer.end_step()


@ALL_RULES
def test_end_step_leaves_the_others_alone(rule: str) -> None:
    scene, twin = Scene(rule), Scene(rule)
    scene.optimizer.step_part(2, scene.grads[2])
    scene.optimizer.end_step()
    twin.optimizer.step([None, None, twin.grads[2]])
    assert scene.digest() == twin.digest()
    assert [entry["step"] for entry in scene.optimizer.state] == [1, 1, 2]
    assert scene.optimizer.steps == 2


def test_parts_from_several_threads_are_made_and_counted_once() -> None:
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(100):
            param = np.zeros(256)
            optimizer = fastopt.SGD(param, lr=1.0)
            refused: list[str] = []

            def work(begin: int, optimizer: fastopt.Optimizer = optimizer, refused: list[str] = refused) -> None:
                for each in (begin, begin):  # each part twice, of which one is refused
                    try:
                        optimizer.step_part(0, np.ones(64), each, each + 64)
                    except ValueError as error:
                        refused.append(str(error))

            threads = [threading.Thread(target=work, args=(64 * i,)) for i in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            # What came after the step was over has begun another.
            steps = optimizer.steps
            assert steps in (1, 2)
            assert param.sum() == -64 * (8 - len(refused))
            assert optimizer.state[0]["step"] == steps
    finally:
        sys.setswitchinterval(interval)


def test_many_tensors_and_many_parts(rng: np.random.Generator) -> None:
    """In any order; what is done is kept as few ranges."""
    params = [np.zeros(64) for _ in range(200)]
    optimizer = fastopt.SGD(params, lr=1.0)
    cuts = [(i, begin) for i in range(200) for begin in range(0, 64, 8)]
    for at in rng.permutation(len(cuts)):
        i, begin = cuts[at]
        assert optimizer.steps == 0
        optimizer.step_part(i, np.ones(8), begin, begin + 8)
    assert optimizer.steps == 1
    assert all((param == -1).all() for param in params)
