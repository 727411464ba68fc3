"""max_norm with norm_eps against torch.nn.utils.clip_grad_norm_, also where the norm is not finite."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import fastopt
from fastopt import _core
from fastopt.rules import RULES
from tests.support.arrays import Array, gradients
from tests.support.cases import DTYPES, ISAS
from tests.support.comparing import assert_close, assert_same_bits, same_bits

EPS = 1e-6
"""torch's, which is no argument of clip_grad_norm_."""
SHAPES = ((7, 5), (300,), (), (0,), (2, 3, 4))


def clipped(grads: list[Array], max_norm: float, norm_eps: float = EPS, **options: Any) -> list[Array]:
    """What the rule gets of `grads`: a step of SGD from -0 with lr=1 is minus its gradient, zeros with their sign."""
    params = [np.full_like(grad, -0.0) for grad in grads]
    fastopt.SGD(params, lr=1.0, max_norm=max_norm, norm_eps=norm_eps).step([grad.copy() for grad in grads], **options)
    return [np.asarray(-param) for param in params]


def by_torch(grads: list[Array], max_norm: float) -> list[Array]:
    tensors = [torch.nn.Parameter(torch.zeros(grad.shape, dtype=torch.from_numpy(grad).dtype)) for grad in grads]
    for tensor, grad in zip(tensors, grads, strict=True):
        tensor.grad = torch.from_numpy(grad.copy())
    torch.nn.utils.clip_grad_norm_(tensors, max_norm)
    return [tensor.grad.numpy() for tensor in tensors]


def limits(norm: float) -> dict[str, float]:
    """Limits for gradients of that norm: far below and above the norm, at it, and beside the place where the factor becomes 1."""
    beside = {f"{sign}{gap}": norm + float(f"{sign}{gap}") for gap in ("1e-7", "5e-7", "1e-6", "2e-6") for sign in "+-"}
    return {"norm": norm, "tenth": norm / 10, "tenfold": 10 * norm, "tiny": 1e-12 * norm, **beside}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scale", [1.0, 1e-9, 1e6])
def test_one_step_against_torch(scale: float, dtype: Any, rng: np.random.Generator) -> None:
    """In float32 torch's norm has that precision too."""
    grads = [gradients(shape, dtype, rng, scale) for shape in SHAPES]
    for name, max_norm in limits(float(fastopt.global_norm(grads))).items():
        if max_norm <= 0:
            continue
        for found, expected in zip(clipped(grads, max_norm), by_torch(grads, max_norm), strict=True):
            if dtype is np.float64:
                np.testing.assert_allclose(found, expected, rtol=1e-12, atol=0, err_msg=name)
            else:
                assert_close(found, expected, np.abs(expected), 4.0, name)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_factor_to_the_bit(dtype: Any) -> None:
    """The norm of 3 and 4 is 5; the factor is float64's, rounded to the tensors' dtype."""
    grads = [np.array([3.0], dtype), np.array([[-4.0]], dtype)]
    for norm_eps in (5e-324, 1e-300, 1e-6, 0.5, 5.0, 1e300):
        for max_norm in (1e-300, 1e-6, 1.0, 4.9999995, 5.0, 5.0 + norm_eps, np.nextafter(5.0 + norm_eps, 0.0), 6.0, 1e300):
            with np.errstate(over="ignore"):
                if not 0 < dtype(max_norm) < np.inf:  # which is refused
                    continue
                factor = dtype(min(max_norm / (5.0 + norm_eps), 1.0))
            assert_same_bits(clipped(grads, max_norm, norm_eps), [grad * factor for grad in grads], (max_norm, norm_eps))


@pytest.mark.parametrize("max_norm", [1e-300, 1.0, 1e300])
def test_gradients_of_zeros(max_norm: float) -> None:
    for norm_eps in (5e-324, 1e-6, 1e300):
        assert_same_bits(clipped([np.zeros(300), -np.zeros(3)], max_norm, norm_eps), [np.zeros(300), -np.zeros(3)], norm_eps)


SPECIAL: dict[str, tuple[float, ...]] = {
    "Inf": (np.inf,),
    "-Inf": (-np.inf,),
    "NaN": (np.nan,),
    "both Inf": (np.inf, -np.inf),
    "Inf and NaN": (np.inf, np.nan),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("values", SPECIAL.values(), ids=SPECIAL)
def test_norms_that_are_not_finite(values: tuple[float, ...], dtype: Any, rng: np.random.Generator) -> None:
    """Clips as torch: Inf makes finite elements 0 and itself NaN, NaN makes all NaN.  Without norm_eps nothing is clipped."""
    grads = [gradients(shape, dtype, rng) for shape in SHAPES]
    for i, value in enumerate(values):
        grads[1 - i].reshape(-1)[7 * i + 3] = value
    for isa in ISAS:
        assert _core.set_isa(isa)
        found = clipped(grads, 2.0)
        for each, expected, grad in zip(found, by_torch(grads, 2.0), grads, strict=True):
            assert np.array_equal(each, expected, equal_nan=True), isa
            np.testing.assert_array_equal(each, np.where(np.isfinite(grad) & (not np.isnan(values).any()), 0.0, np.nan))
        for each, grad in zip(clipped(grads, 2.0, 0.0), grads, strict=True):
            assert same_bits(each, grad), isa


def test_a_finite_gradient_whose_norm_is_not(rng: np.random.Generator) -> None:
    grads = [gradients(300, np.float64, rng, 8e307)]
    assert np.isinf(fastopt.global_norm(grads))
    for found, expected in zip(clipped(grads, 1.0), by_torch(grads, 1.0), strict=True):
        assert not found.any()
        assert not expected.any()


@pytest.mark.parametrize("special", [np.inf, np.nan])
def test_skip_nonfinite_comes_first(special: float) -> None:
    param, grad = np.ones(3), np.array([1.0, special, 2.0])
    optimizer = fastopt.SGD(param, lr=1.0, max_norm=1.0, norm_eps=EPS, skip_nonfinite=True)
    optimizer.step(grad)
    assert (param.tolist(), optimizer.steps, optimizer.skipped_steps) == ([1.0] * 3, 0, 1)
    assert not np.isfinite(optimizer.grad_norm)


def test_for_one_step_and_from_the_next_on() -> None:
    param, grad = np.zeros(2), np.array([3.0, 4.0])
    optimizer = fastopt.SGD(param, lr=1.0, max_norm=1.0)
    whole, half = -(grad * (1.0 / 5.0)), -(grad * (1.0 / (5.0 + 5.0)))

    def step(**options: Any) -> list[float]:
        param[...] = 0.0
        optimizer.step(grad, **options)
        return param.tolist()

    assert optimizer.options["norm_eps"] == 0.0
    assert step() == whole.tolist()
    assert step(norm_eps=5) == half.tolist()
    assert step() == whole.tolist()
    optimizer.options["norm_eps"] = 5
    assert step() == half.tolist()
    assert step(norm_eps=0.0) == whole.tolist()
    assert step(norm_eps=None) == half.tolist()
    assert step(max_norm=20.0) == (-grad).tolist()
    optimizer.options["max_norm"] = None
    assert step() == (-grad).tolist(), "it clips nothing by itself"
    assert optimizer.grad_norm is None, "and measures nothing"


def test_parts_take_none_of_it() -> None:
    optimizer = fastopt.SGD(np.zeros(3), lr=1.0, norm_eps=EPS)
    with pytest.raises(TypeError, match=r"^norm_eps: there is no such option here"):
        optimizer.step_part(0, np.ones(3), norm_eps=EPS)
    optimizer.step_part(0, np.ones(3))
    assert optimizer.steps == 1


@pytest.mark.parametrize("rule", [name for name in RULES if hasattr(torch.optim, name) and name != "NAdam"])
def test_training_against_torch(rule: str, rng: np.random.Generator) -> None:
    """Gradients around the limit, so that some steps are clipped.  (torch's NAdam has its product of mu in float32.)"""
    params = [gradients(shape, np.float64, rng) for shape in SHAPES]
    tensors = [torch.nn.Parameter(torch.from_numpy(param.copy())) for param in params]
    optimizer, peer = getattr(fastopt, rule)(params, max_norm=20.0, norm_eps=EPS), getattr(torch.optim, rule)(tensors)
    for factor in (1.0, 0.1, 10.0, 0.7, 0.8, 1.1):
        grads = [gradients(shape, np.float64, rng, factor) for shape in SHAPES]
        for tensor, grad in zip(tensors, grads, strict=True):
            tensor.grad = torch.from_numpy(grad.copy())
        torch.nn.utils.clip_grad_norm_(tensors, 20.0)
        peer.step()
        optimizer.step(grads)
    for param, tensor in zip(params, tensors, strict=True):
        np.testing.assert_allclose(param, tensor.detach().numpy(), rtol=1e-12, atol=0)
