"""Gradients of another kind: the error ends in a call that, pasted, makes the gradient that the step takes."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import jax.numpy
import ml_dtypes
import numpy as np
import pandas
import pytest
import scipy.sparse
import torch

import fastopt
from fastopt._arrays.device import DeviceArray
from fastopt._arrays.gradient_cures import expression
from tests.support.scenes import CudaArray

SHAPE = (2, 3)
VALUES = np.array([[1, 2, 3], [4, 5, 6]], np.float64)
"""The gradient that every case stands for."""


def strided() -> Any:
    every = np.zeros((2, 6), np.float32)
    every[:, ::2] = VALUES
    return every[:, ::2]


def misaligned() -> Any:
    array = np.zeros(VALUES.size * 4 + 1, np.uint8)[1:].view(np.float32).reshape(SHAPE)
    array[...] = VALUES
    return array


CASES: dict[str, tuple[Callable[[], Any], str]] = {
    "Fortran order": (lambda: np.asfortranarray(VALUES.astype(np.float32)), "np.ascontiguousarray(grads)"),
    "strided": (strided, "np.ascontiguousarray(grads)"),
    "negative strides": (lambda: VALUES[::-1].astype(np.float32)[::-1], "np.ascontiguousarray(grads)"),
    "wider": (VALUES.copy, "grads.astype(np.float32)"),
    "wider, in Fortran order": (lambda: np.asfortranarray(VALUES), "np.ascontiguousarray(grads, np.float32)"),
    "longdouble": (lambda: VALUES.astype(np.longdouble), "grads.astype(np.float32)"),
    "whole numbers": (lambda: VALUES.astype(np.int64), "grads.astype(np.float32)"),
    "objects": (lambda: VALUES.astype(object), "grads.astype(np.float32)"),
    "big-endian": (lambda: VALUES.astype(">f4"), "grads.astype(np.float32)"),
    "one dimension more": (lambda: VALUES.astype(np.float32)[None], "grads.reshape((2, 3))"),
    "keepdims": (lambda: VALUES.astype(np.float32)[:, None], "grads.reshape((2, 3))"),
    "flat": (lambda: VALUES.astype(np.float32).reshape(-1), "grads.reshape((2, 3))"),
    "flat, wider": (lambda: VALUES.reshape(-1), "grads.reshape((2, 3)).astype(np.float32)"),
    "transposed": (lambda: np.ascontiguousarray(VALUES.T, np.float32), "np.ascontiguousarray(grads.T)"),
    "transposed, wider": (lambda: VALUES.T, "np.ascontiguousarray(grads.T, np.float32)"),
    "not summed over the batch": (lambda: np.stack([VALUES, 0 * VALUES]).astype(np.float32), "grads.sum(0)"),
    "misaligned": (misaligned, "grads.copy()"),
    "lists": (VALUES.tolist, "np.array(grads, np.float32)"),
    "masked": (lambda: np.ma.MaskedArray(VALUES.astype(np.float32)), "grads.filled(0)"),
    "a frame": (lambda: pandas.DataFrame(VALUES.astype(np.float32)), "np.array(grads, np.float32, order='C')"),
    "a sparse matrix": (lambda: scipy.sparse.csr_matrix(VALUES), "grads.toarray().astype(np.float32)"),
    "JAX, flat": (
        lambda: jax.numpy.asarray(VALUES.reshape(-1), np.float32),
        "np.array(grads, np.float32, order='C').reshape((2, 3))",
    ),
    "torch, transposed memory": (lambda: torch.tensor(VALUES.T.copy()).float().T, "grads.contiguous()"),
    "torch, wider": (lambda: torch.tensor(VALUES), "grads.float()"),
    "torch, transposed": (lambda: torch.tensor(VALUES.T.copy()).float(), "grads.T.contiguous()"),
    "torch, keepdims": (lambda: torch.tensor(VALUES[None]).float(), "grads.reshape((2, 3))"),
    "torch, with autograd": (lambda: torch.tensor(VALUES).float().requires_grad_(), "grads.detach()"),
    "torch, sparse": (lambda: torch.tensor(VALUES).float().to_sparse(), "grads.to_dense()"),
    "torch, with autograd, wider": (lambda: torch.tensor(VALUES).requires_grad_(), "grads.detach().float()"),
    "torch, bfloat16 with autograd": (
        lambda: torch.tensor(VALUES).bfloat16().requires_grad_(),
        "grads.detach()",
    ),
}


def cure_of(call: Callable[[], Any]) -> str:
    with pytest.raises((TypeError, ValueError)) as caught:
        call()
    found = re.search(r"; pass (.*)$", str(caught.value))
    assert found, caught.value
    return found.group(1)


def is_right(gradient: Any) -> None:
    """A step of SGD with rate 1 from 0 leaves minus the gradient."""
    param = np.zeros(SHAPE, np.float32)
    fastopt.SGD(param, lr=1.0).step(gradient)
    np.testing.assert_array_equal(param, -VALUES)


@pytest.mark.parametrize("case", CASES)
def test_the_cure_steps(case: str) -> None:
    make, expected = CASES[case]
    grads = make()
    param = np.zeros(SHAPE, np.float32)
    cure = cure_of(lambda: fastopt.SGD(param, lr=1.0).step(grads))
    assert cure == expected
    assert not param.any()
    is_right(eval(cure, {"np": np, "grads": grads}))


@pytest.mark.parametrize("case", CASES)
def test_in_lists_and_dicts_the_cure_names_the_entry(case: str) -> None:
    make, expected = CASES[case]
    params = {"w": np.zeros(SHAPE, np.float32), "b": np.zeros(2, np.float32)}
    one = [make(), None]
    cure = cure_of(lambda: fastopt.SGD(list(params.values())).step(one))
    assert cure == expected.replace("grads", "grads[0]")
    is_right(eval(cure, {"np": np, "grads": one}))
    named = {"b": None, "w": make()}
    cure = cure_of(lambda: fastopt.SGD(params).step(named))
    assert cure == expected.replace("grads", "grads['w']")
    is_right(eval(cure, {"np": np, "grads": named}))


@pytest.mark.parametrize("case", CASES)
def test_functions_and_parts_have_the_same_cures(case: str) -> None:
    make, _ = CASES[case]
    grad = make()
    param = np.zeros(SHAPE, np.float32)
    cure = cure_of(lambda: fastopt.functional.sgd(param, grad, step=1, lr=1.0))
    fastopt.functional.sgd(param, eval(cure, {"np": np, "grad": grad}), step=1, lr=1.0)
    np.testing.assert_array_equal(param, -VALUES)
    param = np.zeros(SHAPE, np.float32)
    opt = fastopt.SGD(param, lr=1.0)
    if case not in ("flat", "JAX, flat"):  # a part may be flat
        cure = cure_of(lambda: opt.step_part(0, grad))
        grad = eval(cure, {"np": np, "grad": grad})
    opt.step_part(0, grad)
    np.testing.assert_array_equal(param, -VALUES)


@pytest.mark.parametrize("dtype", [np.float64, np.float16, ml_dtypes.bfloat16])
def test_the_dtype_is_that_of_the_arithmetic(dtype: Any) -> None:
    param = np.zeros(SHAPE, dtype)
    grads = VALUES.astype(np.int32)
    cure = cure_of(lambda: fastopt.SGD(param, lr=1.0).step(grads))
    assert cure == f"grads.astype(np.{'float64' if dtype is np.float64 else 'float32'})"
    fastopt.SGD(param, lr=1.0).step(eval(cure, {"np": np, "grads": grads}))
    np.testing.assert_array_equal(param.astype(np.float64), -VALUES)


@pytest.mark.parametrize(
    ("shape", "grads", "cure"),
    [
        ((), 2.0, "np.array(grads, np.float32)"),
        ((), np.float64(2.0), "np.array(grads, np.float32)"),
        ((1,), 2.0, "np.array(grads, np.float32).reshape((1,))"),
        ((3,), [1.0, 2.0, 3.0], "np.array(grads, np.float32)"),
        ((3,), np.ones((8, 3), np.float32), "grads.sum(0)"),
        ((3,), np.ones((8, 4, 3)), "grads.sum((0, 1)).astype(np.float32)"),
        ((1, 3), np.ones((3, 1), np.float32), "grads.reshape((1, 3))"),
    ],
)
def test_small_shapes(shape: tuple[int, ...], grads: Any, cure: str) -> None:
    param = np.zeros(shape, np.float32)
    assert cure_of(lambda: fastopt.SGD(param).step(grads)) == cure
    fastopt.SGD(param, lr=1.0).step(eval(cure, {"np": np, "grads": grads}))
    assert (param < 0).all()


def test_counts() -> None:
    params = [np.zeros(2, np.float32), np.zeros(3, np.float32)]
    opt = fastopt.SGD(params)
    one = np.ones(2, np.float32)
    for grads, words in (
        ([one], "expected 2, one for each parameter; pass None to leave the parameter alone"),
        ([one] * 3, "expected 2, one for each parameter; leave out those that no parameter has"),
        (iter([one, None]), "expected an array, a list or a dict of arrays; write list(grads)"),
        ({"w": one, "b": one}, "since the parameters have no names; pass list(grads.values())"),
        (one, "expected a list of 2, one array for each parameter"),
    ):
        with pytest.raises((TypeError, ValueError)) as caught:
            opt.step(grads)
        assert str(caught.value).endswith(words)


def test_names() -> None:
    opt = fastopt.SGD({"weights": np.zeros(2), "bias": np.zeros(1)})
    with pytest.raises(ValueError, match=r"got the name 'weigths', which no parameter has; did you mean weights\?$"):
        opt.step({"weigths": np.ones(2), "bias": np.ones(1)})
    with pytest.raises(ValueError, match=r"got the name 'biass', which no parameter has; did you mean bias\?$"):
        opt.step_part("biass", np.ones(1))


def test_nests() -> None:
    one = np.ones(2)
    opt = fastopt.SGD({"a.w": np.zeros(2), "b.w": np.zeros(2)})
    grads: Any = {"a": {"w": one}, "b": {"w": one}}
    with pytest.raises(ValueError, match="got the name 'a', which no parameter has") as caught:
        opt.step(grads)
    known = {"grads": grads}
    exec(str(caught.value).rpartition("; ")[2], known)
    opt.step(known["grads"])
    opt, grads = fastopt.SGD([np.zeros(2)] + [np.zeros(2)]), [[one, one]]
    with pytest.raises(ValueError, match="got 1, expected 2") as caught:
        opt.step(grads)
    known = {"grads": grads}
    exec(str(caught.value).rpartition("; ")[2], known)
    opt.step(known["grads"])
    with pytest.raises(ValueError, match=r"; pass jax\.tree\.leaves\(grads\)$"):
        opt.step([[jax.numpy.ones(2), one]])


def test_no_cure_where_none_is_sure_to_be_right() -> None:
    param = np.zeros(SHAPE, np.float32)
    for grads in (np.ones((2, 4), np.float32), np.ones(5), np.ones(SHAPE, complex), np.ones(SHAPE, "U1"), [[1.0], [2.0, 3.0]]):
        with pytest.raises((TypeError, ValueError)) as caught:
            fastopt.SGD(param).step(grads)
        assert "; pass" not in str(caught.value)


def test_a_bound_gradient_is_written_into() -> None:
    param, grads = np.zeros(SHAPE, np.float32), np.asfortranarray(VALUES)
    with pytest.raises(TypeError, match=r"; bind np\.ascontiguousarray\(grads, np\.float32\) and write each gradient into it$"):
        fastopt.SGD(param, grads=grads)


def test_the_zeros_of_zero_grad_go_into_the_copy() -> None:
    param = np.zeros(SHAPE, np.float32)
    with pytest.raises(TypeError, match=r"; pass grads\.astype\(np\.float32\), a copy that zero_grad then fills with zeros$"):
        fastopt.SGD(param, zero_grad=True).step(VALUES)


@pytest.mark.parametrize("call", [fastopt.global_norm, fastopt.all_finite])
def test_functions_of_gradients(call: Callable[[Any], Any]) -> None:
    for grads in (np.asfortranarray(VALUES), VALUES.astype(int), torch.tensor(VALUES).requires_grad_()):
        cure = cure_of(lambda grads=grads: call([grads, None]))
        assert call(eval(cure, {"np": np, "grads": [grads, None]})) == call(VALUES)
    with pytest.raises(TypeError, match=r"; pass \[p.grad for p in model.parameters\(\)\]$"):
        call(torch.nn.Linear(2, 3).parameters())


class Cupy(CudaArray):
    """What the cures look at in an array of CuPy."""

    __module__ = "cupy"


def test_an_array_on_a_gpu_for_a_parameter_on_the_cpu() -> None:
    assert expression(Cupy(), "grads", np.zeros(SHAPE, np.float32)) == "cp.asnumpy(grads)"


def test_flatten() -> None:
    model = torch.nn.Linear(2, 3)
    for arrays in (model.parameters(), list(model.parameters())):
        cure = cure_of(lambda arrays=arrays: fastopt.flatten(arrays))
        known = {"arrays": arrays, "model": model}
        made = eval(cure, known)
        assert len(fastopt.flatten(made if isinstance(made, list) else [made]).shapes) in (1, 2)


def test_a_closure() -> None:
    with pytest.raises(TypeError, match=r"; give the gradients; the steps of fastopt\.torch's classes take a closure$"):
        fastopt.SGD(np.ones(2)).step(lambda: 1.0)


class CupyArray(np.ndarray[Any, Any]):
    """An array that says that it is CuPy's."""

    __module__ = "cupy"
    __cuda_array_interface__ = property(lambda self: {"shape": self.shape})


@pytest.mark.parametrize(
    ("array", "cure"),
    [
        (VALUES, "grads.astype(cp.float32)"),
        (np.asfortranarray(VALUES), "cp.ascontiguousarray(grads, cp.float32)"),
        (VALUES.astype(np.float32).T, "cp.ascontiguousarray(grads.T)"),
        (VALUES.astype(np.float32)[None], "grads.reshape((2, 3))"),
    ],
)
def test_cupys_arrays_have_its_own_words(array: Any, cure: str) -> None:
    param: Any = DeviceArray(4096, SHAPE, np.dtype(np.float32), 0, None)
    grads = array.view(CupyArray)
    assert expression(grads, "grads", param) == cure
    is_right(eval(cure, {"cp": np, "grads": array}))


def test_numpys_arrays_go_to_the_gpu() -> None:
    param: Any = DeviceArray(4096, SHAPE, np.dtype(np.float32), 0, None)
    assert expression(VALUES, "grads", param) == "cp.asarray(grads)"
