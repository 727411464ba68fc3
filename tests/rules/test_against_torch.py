"""fastopt against torch.optim: the same names, the same arguments, the same numbers.

torch's single-tensor implementation in the same dtype rounds in other places than our fused kernels (no fma,
lr/bc1 applied elsewhere), so two correct results differ by a few roundings of each step.  The tolerance is
that many units in the last place of the largest value that an element passed through.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch

import fastopt
from fastopt.rules import RULES
from tests.support.arrays import gradients
from tests.support.cases import DTYPES, label
from tests.support.comparing import History, assert_close, assert_same_bits

pytestmark = pytest.mark.kernel

STEPS = 100
ULPS = {np.float32: 15.0, np.float64: 1000.0}
"""In float64 the scalars count: torch takes 1 - beta**t by pow, fastopt by repeated squaring; 1/(1-beta2) ulps apart."""

COMMON: dict[str, tuple[Any, ...]] = {"lr": (0.02,), "weight_decay": (0.0, 0.03), "maximize": (False, True)}
ARGUMENTS: dict[str, dict[str, tuple[Any, ...]]] = {
    "SGD": COMMON | {"momentum": (0.0, 0.9), "dampening": (0.0, 0.3, 1.0), "nesterov": (False, True)},
    "Adam": COMMON
    | {
        "betas": ((0.9, 0.999), (0.5, 0.97), (0.0, 0.9)),
        "eps": (1e-8, 1e-2),
        "amsgrad": (False, True),
        "decoupled_weight_decay": (False, True),
    },
    "AdamW": COMMON | {"betas": ((0.9, 0.999), (0.7, 0.95)), "eps": (1e-8, 1e-2), "amsgrad": (False, True)},
    "Adamax": COMMON | {"betas": ((0.9, 0.999), (0.7, 0.95)), "eps": (1e-8, 1e-2)},
    "NAdam": COMMON
    | {
        "betas": ((0.9, 0.999), (0.7, 0.95)),
        "eps": (1e-8, 1e-2),
        "momentum_decay": (0.0, 4e-3, 1.0),
        "decoupled_weight_decay": (False, True),
    },
    "RAdam": COMMON
    | {
        "betas": ((0.9, 0.999), (0.7, 0.95), (0.5, 0.6)),
        "eps": (1e-8, 1e-2),
        "decoupled_weight_decay": (False, True),
    },
    "RMSprop": COMMON | {"alpha": (0.99, 0.7), "eps": (1e-8, 1e-2), "momentum": (0.0, 0.9), "centered": (False, True)},
    "Adadelta": COMMON | {"lr": (0.02, 1.0), "rho": (0.9, 0.5), "eps": (1e-6, 1e-2)},
    "Adagrad": COMMON | {"lr_decay": (0.0, 0.05), "initial_accumulator_value": (0.0, 0.3), "eps": (1e-10, 1e-3)},
}


def cases() -> list[tuple[str, dict[str, Any]]]:
    result = []
    for rule, levels in ARGUMENTS.items():
        for values in itertools.product(*levels.values()):
            arguments = dict(zip(levels, values, strict=True))
            if arguments.get("nesterov") and (arguments["momentum"] == 0 or arguments["dampening"] != 0):
                continue
            result.append((rule, arguments))
    return result


def name(case: Any) -> str:
    return f"{case[0]}-{label(case[1])}-{'-'.join(str(v) for v in case[1].values() if not isinstance(v, bool))}".replace(" ", "")


@contextmanager
def scalar_state_in_float64() -> Iterator[None]:
    """Under a default of float32 torch would keep NAdam's running product of mu in float32."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


def compare(rule: str, arguments: dict[str, Any], dtype: Any, n: int = 53, steps: int = STEPS) -> None:
    rng = np.random.default_rng(11)
    scale = 10.0 ** rng.uniform(-2, 2, n)
    ours = gradients(n, dtype, rng, scale)
    theirs = torch.nn.Parameter(torch.from_numpy(ours.copy()))
    optimizer = getattr(fastopt, rule)(ours, **arguments)
    peer = getattr(torch.optim, rule)([theirs], foreach=False, **arguments)
    history = History()
    history.see(ours.astype(np.float64), {})
    for _ in range(steps):
        grad = gradients(n, dtype, rng, scale)
        optimizer.step(grad)
        theirs.grad = torch.from_numpy(grad)
        with scalar_state_in_float64():
            peer.step()
        state = {k: v.numpy().astype(np.float64) for k, v in peer.state[theirs].items() if k != "step" and v is not None}
        history.see(theirs.detach().numpy().astype(np.float64), state)
    assert_close(ours, theirs.detach().numpy(), history.scales["params"], ULPS[dtype], "params")
    # torch.optim.SGD without momentum lists a buffer of None.
    expected = {k: v for k, v in peer.state[theirs].items() if v is not None}
    assert {"step", *expected} == set(optimizer.state[0])
    for slot, value in expected.items():
        if slot == "step":
            assert optimizer.state[0]["step"] == int(value)
        elif slot in RULES[rule].carried:
            assert optimizer.state[0][slot] == pytest.approx(float(value), rel=1e-12)
        else:
            assert_close(optimizer.state[0][slot], value.numpy(), history.scales[slot], ULPS[dtype], slot)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", cases(), ids=name)
def test_same_numbers(case: tuple[str, dict[str, Any]], dtype: Any) -> None:
    compare(*case, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rule", [rule for rule in RULES if hasattr(torch.optim, rule)])
def test_same_numbers_by_default(rule: str, dtype: Any) -> None:
    compare(rule, {}, dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("rule", RULES)
def test_tensors_are_updated_in_place(rule: str, dtype: torch.dtype, rng: np.random.Generator) -> None:
    shapes = [(7, 5), (3,), (), (2, 3, 4), (0,)]
    arrays = [np.asarray(gradients(s, np.float64, rng)) for s in shapes]
    grads = [np.asarray(gradients(s, np.float64, rng)) for s in shapes]
    tensors, tensor_grads = ([torch.tensor(a, dtype=dtype) for a in each] for each in (arrays, grads))
    numbers, number_grads = ([t.numpy().copy() for t in each] for each in (tensors, tensor_grads))
    pointers = [t.data_ptr() for t in tensors]
    ours, expected = getattr(fastopt, rule)(tensors, lr=0.1), getattr(fastopt, rule)(numbers, lr=0.1)
    for _ in range(3):
        ours.step(tensor_grads)
        expected.step(number_grads)
    assert [t.data_ptr() for t in tensors] == pointers
    assert_same_bits([t.numpy() for t in tensors], numbers)
    assert [s["step"] for s in ours.state] == [3] * len(shapes)
    for tensor, grad in zip(tensor_grads, number_grads, strict=True):
        assert torch.equal(tensor, torch.from_numpy(grad))


def test_one_tensor_and_bound_gradients(rng: np.random.Generator) -> None:
    param, grad = torch.zeros(4, 3), torch.full((4, 3), 2.0)
    optimizer = fastopt.SGD(param, lr=0.5, grads=grad)
    optimizer.step()
    assert torch.equal(param, torch.full((4, 3), -1.0))
    grad.fill_(4.0)
    optimizer.step()
    assert torch.equal(param, torch.full((4, 3), -3.0))


def test_views_of_tensors() -> None:
    whole = torch.zeros(6, 4)
    fastopt.SGD(whole[2:4], lr=1.0).step(torch.ones(2, 4))
    assert whole.sum() == -8
    with pytest.raises(ValueError, match=r"params.*contiguous"):
        fastopt.SGD(whole.T, lr=1.0)
    with pytest.raises(ValueError, match=r"grads.*contiguous"):
        fastopt.SGD(whole, lr=1.0).step(torch.ones(4, 6).T)


@pytest.mark.parametrize("make", [lambda t: t.requires_grad_(), torch.nn.Parameter], ids=["requires_grad", "Parameter"])
def test_a_tensor_that_requires_grad_is_refused(make: Any) -> None:
    with pytest.raises(TypeError, match=r"params: got \w+, .*requir\w* grad"):
        fastopt.SGD(make(torch.zeros(3)))
    with pytest.raises(TypeError, match=r"params\[1\]: got \w+, .*requir\w* grad"):
        fastopt.SGD([torch.zeros(3), make(torch.zeros(3))])
    param = torch.zeros(3)
    with pytest.raises(TypeError, match=r"grads: got \w+, .*requir\w* grad"):
        fastopt.SGD(param).step(make(torch.ones(3)))
    assert not param.any()


@pytest.mark.parametrize("dtype", [torch.int16, torch.uint16, torch.int32, torch.complex64])
def test_tensors_of_other_types_are_refused(dtype: torch.dtype) -> None:
    with pytest.raises(TypeError, match="params"):
        fastopt.SGD(torch.zeros(3, dtype=dtype))
    with pytest.raises(TypeError, match="grads"):
        fastopt.SGD(torch.zeros(3)).step(torch.ones(3, dtype=dtype))


def test_sparse_and_meta_tensors_are_refused() -> None:
    for bad in (torch.ones(3).to_sparse(), torch.zeros(3, device="meta")):
        with pytest.raises(TypeError, match="grads"):
            fastopt.SGD(torch.zeros(3)).step(bad)


@pytest.mark.parametrize("master", [None, "24bit"])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_small_tensors_are_updated_in_place(dtype: str, master: str | None, rng: np.random.Generator) -> None:
    kind = np.dtype(getattr(ml_dtypes, dtype, dtype))
    array, grad = rng.standard_normal(300).astype(kind), rng.standard_normal(300).astype(kind)
    bits = [torch.from_numpy(each.view(np.uint16).copy()).view(getattr(torch, dtype)) for each in (array, grad)]
    ours = fastopt.Adam(array, state_dtype="8bit", master=master)
    theirs = fastopt.Adam(bits[0], state_dtype="8bit", master=master, grads=bits[1])
    for _ in range(5):
        ours.step(grad)
        theirs.step()
    theirs.step(bits[1])
    ours.step(grad)
    assert bits[0].view(torch.uint16).numpy().tolist() == array.view(np.uint16).tolist()
    with pytest.raises(TypeError, match=r"^params: got a Tensor that requires grad"):
        fastopt.Adam(
            bits[0].clone().requires_grad_() if dtype == "bfloat16" else torch.ones(3, dtype=torch.bfloat16, requires_grad=True)
        )
