"""A step sees whether the memory behind its plan has moved, or is laid out otherwise, and refuses by name before it writes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

import fastopt

N = 64


def built(p: Any, **arguments: Any) -> fastopt.AdamW:
    return fastopt.AdamW(p, lr=0.1, **arguments)


def set_attribute(name: str, value: Any) -> Callable[[Any], None]:
    return lambda array: setattr(array, name, value)


def read_only(array: Any) -> None:
    array.flags.writeable = False


MOVES: dict[str, tuple[Callable[[Any], None], str]] = {
    "dtype": (set_attribute("dtype", np.float64), "got dtype float64, expected float32 as when"),
    "integers": (set_attribute("dtype", np.int32), "got dtype int32, expected float32 as when"),
    "byte order": (set_attribute("dtype", np.dtype(np.float32).newbyteorder()), "got dtype [<>]f4, expected float32 as when"),
    "shape": (set_attribute("shape", (8, 8)), r"got shape \(8, 8\), expected \(64,\) as when"),
    "strides": (set_attribute("strides", (0,)), r"got strides \(0,\), expected \(4,\) as when"),
    "grown": (lambda array: array.resize(1 << 22, refcheck=False), r"got shape \(4194304,\), expected \(64,\) as when"),
    "shrunk": (lambda array: array.resize(1, refcheck=False), r"got shape \(1,\), expected \(64,\) as when"),
    "read-only": (read_only, "got a read-only array, expected a writable one"),
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # NumPy's, of setting dtype, shape and strides
@pytest.mark.parametrize("move", MOVES)
@pytest.mark.parametrize("what", ["params", "copy_to"])
def test_a_parameter_or_copy_that_changed_is_refused_by_name(move: str, what: str) -> None:
    change, words = MOVES[move]
    p, copy, g = np.ones(N, np.float32), np.zeros(N, np.float32), np.ones(N, np.float32)
    opt = built(p, copy_to=copy)
    opt.step(g)
    change(p if what == "params" else copy)
    before = opt.state[0]["exp_avg"].copy()
    for step in (lambda: opt.step(g), lambda: opt.step([g]), lambda: opt.step_part(0, g), lambda: opt.step_part(0, g[:4], 0, 4)):
        with pytest.raises((TypeError, ValueError), match=f"^{what}: {words}"):
            step()
    assert opt.steps == 1
    np.testing.assert_array_equal(opt.state[0]["exp_avg"], before)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("move", [name for name in MOVES if name != "read-only"])
def test_a_bound_gradient_that_changed_is_refused_by_name(move: str) -> None:
    change, words = MOVES[move]
    p, g = np.ones(N, np.float32), np.ones(N, np.float32)
    opt = built(p, grads=g)
    opt.step()
    before = p.copy()
    change(g)
    with pytest.raises((TypeError, ValueError), match=f"^grads: {words}"):
        opt.step()
    np.testing.assert_array_equal(p, before)
    assert opt.steps == 1
    opt.step(np.ones(N, np.float32))  # another gradient will do


def test_a_view_whose_base_was_resized_is_refused() -> None:
    for name in ("params", "copy_to"):
        bases = {each: [np.ones(2 * N, np.float32) for _ in range(2)] for each in ("params", "copy_to")}
        opt = built([base[:N] for base in bases["params"]], copy_to=[base[:N] for base in bases["copy_to"]])
        opt.step([np.ones(N, np.float32)] * 2)
        bases[name][1].resize(1 << 22, refcheck=False)
        with pytest.raises(ValueError, match=rf"^{name}\[1\]: got a view of an array that has been resized"):
            opt.step([np.ones(N, np.float32)] * 2)
        assert opt.steps == 1


def test_a_step_goes_on_when_the_change_is_taken_back() -> None:
    p, g = np.ones(N, np.float32), np.ones(N, np.float32)
    opt = built(p)
    p.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        opt.step(g)
    p.flags.writeable = True
    opt.step(g)
    assert opt.steps == 1


def test_what_names_the_array_is_the_callers_name() -> None:
    w, b = np.ones(N, np.float32), np.ones(3, np.float32)
    opt = built({"w": w, "b": b})
    b.resize(7, refcheck=False)
    with pytest.raises(ValueError, match=r"^params\['b'\]: got shape \(7,\)"):
        opt.step({"w": np.ones(N, np.float32), "b": np.ones(3, np.float32)})


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_state_that_is_shown_is_a_view_of_its_own() -> None:
    p, twin, g = np.ones(N, np.float32), np.ones(N, np.float32), np.full(N, 0.5, np.float32)
    opt, other = built(p, ema_decay=0.9), built(twin, ema_decay=0.9)
    for shown in (opt.state[0]["exp_avg"], opt.ema_params):
        shown.dtype = np.float64
        shown.flags.writeable = False
    for _ in range(3):
        opt.step(g)
        other.step(g)
    assert opt.state_dict()["state"][0]["exp_avg"].dtype == np.float32
    np.testing.assert_array_equal(p, twin)


def swap(tensor: Any) -> None:
    tensor.data = torch.zeros_like(tensor)


TORCH_MOVES: dict[str, Callable[[Any], None]] = {
    "data swapped": swap,
    "resized": lambda tensor: tensor.resize_(1 << 22),
    "freed": lambda tensor: tensor.untyped_storage().resize_(0),
    "set to another": lambda tensor: tensor.set_(torch.zeros(N, dtype=tensor.dtype)),
    "another layout": lambda tensor: tensor.as_strided_((N // 2,), (2,)),
}


@pytest.mark.parametrize("move", TORCH_MOVES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_a_tensor_of_torch_whose_memory_moved_is_refused_by_name(move: str, dtype: torch.dtype) -> None:
    tensor = torch.ones(N, dtype=dtype)
    opt = built(tensor)
    g = np.ones(N, np.float32)
    opt.step(g)
    TORCH_MOVES[move](tensor)
    with pytest.raises((TypeError, ValueError), match=r"^params: got"):
        opt.step(g)
    assert opt.steps == 1


@pytest.mark.parametrize("move", TORCH_MOVES)
def test_a_bound_gradient_of_torch_whose_memory_moved_is_refused_by_name(move: str) -> None:
    p, gradient = np.ones(N, np.float32), torch.ones(N)
    opt = built(p, grads=gradient)
    opt.step()
    before = p.copy()
    TORCH_MOVES[move](gradient)
    with pytest.raises((TypeError, ValueError), match=r"^grads: got"):
        opt.step()
    np.testing.assert_array_equal(p, before)


def freed(dtype: torch.dtype = torch.float32) -> torch.Tensor:
    tensor = torch.ones(N, dtype=dtype)
    tensor.untyped_storage().resize_(0)
    return tensor


def freed_view() -> torch.Tensor:
    tensor = torch.ones(2 * N)[N:]
    tensor.untyped_storage().resize_(0)
    return tensor


def fake() -> torch.Tensor:
    with FakeTensorMode():
        return torch.ones(N)


WITHOUT_MEMORY: dict[str, tuple[Callable[[], Any], str]] = {
    "freed": (freed, "got a tensor whose storage was freed or cut"),
    "freed view": (freed_view, "got a tensor whose storage was freed or cut"),
    "fake": (fake, "got a FakeTensor, which has no memory of its own"),
    "efficient zeros": (lambda: torch._efficientzerotensor(N), "got a tensor that stands for zeros and has no memory"),
    "freed bfloat16": (lambda: freed(torch.bfloat16), "got a tensor whose storage was freed"),
}


@pytest.mark.parametrize("kind", WITHOUT_MEMORY)
def test_a_gradient_without_memory_is_refused_by_name(kind: str) -> None:
    make, words = WITHOUT_MEMORY[kind]
    p = np.ones(N, np.float32)
    opt = built(p)
    for step in (opt.step, lambda g: opt.step([g]), lambda g: opt.step_part(0, g)):
        with pytest.raises(TypeError, match=words):
            step(make())
    assert (p == 1).all()
    assert opt.steps == 0
    with pytest.raises(TypeError, match=words):
        fastopt.global_norm(make())


def test_other_objects_of_one_dtype_are_the_same_dtype() -> None:
    p = np.ones(N, ml_dtypes.bfloat16)
    opt = built(p)
    p.dtype = np.dtype(ml_dtypes.bfloat16)
    opt.step(np.ones(N, np.float32))
    assert opt.steps == 1
