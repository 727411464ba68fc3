"""Arrays of other libraries, subclasses and read-only ones; and how long arrays live."""

from __future__ import annotations

import gc
import sys
import weakref
from typing import Any

import numpy as np
import pytest
import torch

import fastopt
from fastopt.rules import RULES
from tests.support.arrays import Array, gradients
from tests.support.comparing import assert_same_bits

pytestmark = pytest.mark.kernel

ALL_RULES = pytest.mark.parametrize("rule", RULES)
CLASSES: dict[str, Any] = {name: getattr(fastopt, name) for name in RULES}


class Interface:
    """An object that gives its memory by `__array_interface__` and nothing else."""

    def __init__(self, array: Array) -> None:
        self.array = array

    @property
    def __array_interface__(self) -> dict[str, Any]:
        return self.array.__array_interface__


class Exchange:
    """The same by DLPack."""

    def __init__(self, array: Array) -> None:
        self.array = array

    def __dlpack__(self, **arguments: Any) -> Any:
        return self.array.__dlpack__(**arguments)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.array.__dlpack_device__()


@pytest.mark.parametrize("wrap", [Interface, Exchange])
@ALL_RULES
def test_arrays_of_other_libraries(rule: str, wrap: Any, rng: np.random.Generator) -> None:
    params, grads = [gradients(6, np.float32, rng) for _ in range(2)], [gradients(6, np.float32, rng) for _ in range(2)]
    expected = [a.copy() for a in params]
    optimizer, other = CLASSES[rule]([wrap(a) for a in params]), CLASSES[rule](expected)
    for _ in range(2):
        optimizer.step([wrap(g) for g in grads])
        other.step(grads)
    assert_same_bits(params, expected)
    single = CLASSES[rule](wrap(params[0]), grads=wrap(grads[0]))
    single.step()
    assert single.steps == 1


def test_read_only_gradients_and_subclasses_of_arrays() -> None:
    class Own(np.ndarray[Any, Any]):
        pass

    param = np.zeros(3).view(Own)
    grad = np.ones(3)
    grad.flags.writeable = False
    optimizer = fastopt.SGD(param, lr=1.0)
    optimizer.step(grad)
    optimizer.step(grad.view(Own))
    assert param.tolist() == [-2.0] * 3


def test_arrays_live_as_long_as_the_optimizer() -> None:
    memory = np.zeros(1000)
    watch = weakref.ref(memory)
    optimizer = fastopt.Adam(memory, grads=np.ones(1000))
    state = optimizer.state
    del memory
    gc.collect()
    optimizer.step()
    assert watch() is not None
    assert (optimizer.groups[0]["params"][0] < 0).all()
    moments = state[0]["exp_avg"]
    del optimizer, state
    gc.collect()
    assert watch() is None, "nothing else keeps it"
    assert np.allclose(moments, 0.1)


def test_a_gradient_may_be_freed_after_the_step() -> None:
    param = np.zeros(1000)
    optimizer = fastopt.SGD(param, lr=1.0)
    for _ in range(20):
        grad = np.ones(1000)
        watch = weakref.ref(grad)
        optimizer.step(grad)
        with pytest.raises(ValueError, match="grads"):
            optimizer.step([grad, grad])
        del grad
        assert watch() is None, "a step keeps no gradient, done or refused"
    assert (param == -20).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_native_byte_order_by_its_name(dtype: type) -> None:
    """NumPy keeps '<' or '>' on a dtype that was given it, though it is the native order."""
    named = np.dtype(dtype).newbyteorder("<" if sys.byteorder == "little" else ">")
    param, grad = np.ones(5, named), np.full(5, 2, named)
    fastopt.SGD(param, lr=0.5).step(grad)
    assert (param == 0).all()
    fastopt.SGD(param, lr=0.5, grads=grad).step()
    fastopt.functional.sgd(param, grad, step=1, lr=0.5)
    assert (param == -2).all()


def test_a_tensor_that_stands_for_minus_its_memory() -> None:
    param = torch.ones(3)
    with pytest.raises(TypeError, match="grads: got a Tensor that stands for minus its memory"):
        fastopt.SGD(param).step(torch._neg_view(torch.ones(3)))
    assert (param == 1).all()


def test_a_broken_array_interface() -> None:
    class Broken:
        @property
        def __array_interface__(self) -> dict[str, object]:
            raise RuntimeError("boo")

    with pytest.raises(TypeError, match="params: got Broken"):
        fastopt.SGD(Broken())
