"""`global_norm`, `all_finite`, `clip_grad_norm` and `clip_grad_value`: against exact arithmetic, NumPy in float64 and torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch

import fastopt
from fastopt import _core
from tests.support.arrays import Array, gradients, hostile
from tests.support.cases import DTYPES, ISAS
from tests.support.comparing import assert_same_bits, digest
from tests.support.scenes import BAD_ARRAYS, N, read_only

SIZES = (0, 1, 5, 255, 256, 257, 1000, 70_001)
LEAST = 2**1074
"""What makes a whole number of every float64."""
FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "global_norm": fastopt.global_norm,
    "all_finite": fastopt.all_finite,
    "clip_grad_norm": lambda grads: fastopt.clip_grad_norm(grads, 0.1),
    "clip_grad_value": lambda grads: fastopt.clip_grad_value(grads, 0.1),
}
CLIPS: dict[str, Callable[[Any, Any], Any]] = {"max_norm": fastopt.clip_grad_norm, "clip_value": fastopt.clip_grad_value}
ALL_DTYPES = pytest.mark.parametrize("dtype", DTYPES)
ALL_FUNCTIONS = pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS)
BOTH_CLIPS = pytest.mark.parametrize(("name", "clip"), CLIPS.items(), ids=CLIPS)


def exact_norm(arrays: Sequence[Array]) -> Fraction:
    """The norm, right to 64 binary digits below the least float64."""
    total = 0
    for array in arrays:
        for value in array.ravel().tolist():
            numerator, denominator = value.as_integer_ratio()
            total += (numerator * (LEAST // denominator)) ** 2
    return Fraction(math.isqrt(total << 128), LEAST << 64)


def assert_exact(norm: float, arrays: Sequence[Array], where: Any = "") -> None:
    error = abs(Fraction(norm) - exact_norm(arrays)) / Fraction(math.ulp(norm))
    assert error <= 2, f"{where}: {float(error):.2f} units in the last place of {norm}"


def norm64(arrays: Sequence[Array]) -> float:
    return float(np.sqrt(sum(float((array.astype(np.float64) ** 2).sum()) for array in arrays)))


def mixture(kind: str, rng: np.random.Generator) -> list[Array]:
    """Arrays of many sizes and magnitudes, of one dtype or of both."""
    dtypes = {"float32": [np.float32], "float64": [np.float64], "mixed": DTYPES}[kind]
    return [gradients(n, dtypes[i % len(dtypes)], rng, 10.0 ** rng.uniform(-3, 3, n)) for i, n in enumerate((*SIZES, 33, 30_000))]


def shifted(array: Array) -> Array:
    """A copy whose first element is the second of its vector."""
    memory = np.empty(array.size + 1, array.dtype)
    memory[1:] = array
    return memory[1:]


@ALL_DTYPES
@pytest.mark.parametrize("n", SIZES)
def test_the_norm_is_exact_to_two_units(n: int, dtype: Any, rng: np.random.Generator) -> None:
    info = np.finfo(dtype)
    scales = {
        np.float32: (float(info.smallest_subnormal) * 9, 1e-42, 1e-30, 1.0, 1e19, 1e38),
        np.float64: (float(info.smallest_subnormal) * 9, 1e-310, 1e-200, 1e-136, 1.0, 1e150, 1e200, 1e305),
    }[dtype]
    for scale in scales:
        array = gradients(n, dtype, rng, scale)
        assert_exact(fastopt.global_norm(array), [array], scale)


@pytest.mark.parametrize("kind", ["float32", "float64", "mixed"])
def test_the_norm_of_a_list_is_exact_to_two_units(kind: str, rng: np.random.Generator) -> None:
    arrays = mixture(kind, rng)
    assert_exact(fastopt.global_norm(arrays), arrays)


@pytest.mark.parametrize(
    "values",
    [
        [1e200, -1e200],
        [1e-200, 3e-200],
        [5e-324],
        [5e-324, -1e-323, 2e-310],
        [1e300, 1e-300],
        [1e300, 1.0, 1e-300, 5e-324],
        [1e-160, 1e-165],
        [np.finfo(np.float64).max],
        [-np.finfo(np.float64).max / 20] * 300,
        [0.0, -0.0],
        [1e160] * 256 + [1e-170] * 256,
        [1e-170] * 300 + [1.0],
    ],
    ids=lambda values: ",".join(map(str, values[:4])),
)
def test_the_norm_does_not_overflow(values: list[float]) -> None:
    array = np.array(values)
    apart = np.split(array, array.size)
    for isa in ISAS:
        assert _core.set_isa(isa)
        assert_exact(fastopt.global_norm(array), [array], isa)
        assert_exact(fastopt.global_norm(apart), [array], (isa, "one by one"))
        assert fastopt.all_finite(array)


@pytest.mark.parametrize("kind", ["float32", "float64", "mixed"])
def test_the_bits_are_the_same_however_they_are_found(kind: str, rng: np.random.Generator) -> None:
    arrays = mixture(kind, rng)
    norms = set()
    for isa in ISAS:
        assert _core.set_isa(isa)
        for threads in (1, 2, 3):
            fastopt.set_num_threads(threads)
            norms |= {
                fastopt.global_norm(arrays),
                fastopt.global_norm(tuple(arrays)),
                fastopt.global_norm({str(i): array for i, array in enumerate(arrays)}),
                fastopt.global_norm([arrays[i] for i in rng.permutation(len(arrays))]),
                fastopt.global_norm([shifted(array) for array in arrays]),
                fastopt.global_norm([array.reshape(1, -1) for array in arrays]),
                fastopt.global_norm([read_only(array.copy()) for array in arrays]),
            }
    assert len(norms) == 1


@ALL_DTYPES
def test_a_flat_buffer_has_the_norm_of_its_views(dtype: Any, rng: np.random.Generator) -> None:
    arrays = mixture(np.dtype(dtype).name, rng)
    flat = fastopt.flatten(arrays)
    for threads in (1, 3):
        fastopt.set_num_threads(threads)
        assert (
            fastopt.global_norm(flat)
            == fastopt.global_norm(flat.data)
            == fastopt.global_norm(flat.views)
            == fastopt.global_norm(arrays)
        )


@pytest.mark.parametrize("limit", [0.5, 1e9])
@ALL_DTYPES
def test_clipped_gradients_have_the_same_bits_however_they_are_made(limit: float, dtype: Any, rng: np.random.Generator) -> None:
    arrays = mixture(np.dtype(dtype).name, rng)
    for clip in CLIPS.values():
        expected = [array.copy() for array in arrays]
        assert _core.set_isa("scalar")
        fastopt.set_num_threads(1)
        clip(expected, limit)
        for isa in ISAS:
            assert _core.set_isa(isa)
            for threads in (1, 3):
                fastopt.set_num_threads(threads)
                separate, flat = [shifted(array) for array in arrays], fastopt.flatten(arrays)
                clip(separate, limit)
                clip(flat, limit)
                assert_same_bits(separate, expected, (isa, threads))
                assert_same_bits(flat.views, expected, (isa, threads, "flat"))


@pytest.mark.parametrize("seed", range(5))
def test_closer_to_float64_than_torch(seed: int) -> None:
    rng = np.random.default_rng(seed)
    arrays = [gradients(n, np.float32, rng) for n in (1000, 70_001)]
    exact = norm64(arrays)
    total = float(torch.nn.utils.get_total_norm([torch.from_numpy(array) for array in arrays]))
    assert abs(fastopt.global_norm(arrays) - exact) < abs(total - exact)


@ALL_DTYPES
@pytest.mark.parametrize("spoil", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("n", [1, 5, 256, 257, 1000, 70_001])
def test_inf_and_nan_are_seen_wherever_they_stand(n: int, spoil: float, dtype: Any, rng: np.random.Generator) -> None:
    grad, other = gradients(n, dtype, rng), gradients(40, dtype, rng)
    for isa in ISAS:
        assert _core.set_isa(isa)
        for at in {0, 1, n // 2, n - n % 32, n - n % 256, n - 2, n - 1} & set(range(n)):
            kept, grad[at] = grad[at], spoil
            for grads in (grad, [other, grad], [grad, None, other]):
                assert fastopt.all_finite(grads) is False, (isa, at)
                norm = fastopt.global_norm(grads)
                assert math.isnan(norm) if np.isnan(spoil) else norm == np.inf, (isa, at)
            grad[at] = kept
        assert fastopt.all_finite([grad, other]) is True


def test_nan_wins_over_inf() -> None:
    for isa in ISAS:
        assert _core.set_isa(isa)
        for values in ([np.inf, np.nan], [np.nan, -np.inf], [np.nan, 0.0], [1e300, np.nan]):
            for grads in (np.array(values), [np.array([value]) for value in values], np.array(values * 200)):
                assert math.isnan(fastopt.global_norm(grads))


def test_finite_gradients_of_any_size_are_finite() -> None:
    for dtype in DTYPES:
        info = np.finfo(dtype)
        assert fastopt.all_finite(np.array([info.max, -info.max, info.smallest_subnormal, -0.0] * 100, dtype))
    assert fastopt.global_norm(np.full(256, np.finfo(np.float64).max)) == np.inf, "no float64 is that large"


def test_none_stands_for_none(rng: np.random.Generator) -> None:
    grad = gradients(300, np.float32, rng)
    norm = fastopt.global_norm(grad)
    for grads in ([grad, None], (None, grad), {"a": None, "b": grad}):
        assert fastopt.global_norm(grads) == norm
        assert fastopt.all_finite(grads)
    for empty in ([], (), {}, [None, None], {"a": None}):
        assert fastopt.global_norm(empty) == 0.0
        assert fastopt.all_finite(empty) is True
        assert fastopt.clip_grad_norm(empty, 1.0) == 0.0
        fastopt.clip_grad_value(empty, 1.0)
    assert fastopt.clip_grad_norm({"a": grad, "b": None}, norm / 2) == norm
    assert fastopt.global_norm(grad) == pytest.approx(norm / 2, rel=1e-6)


@pytest.mark.parametrize("kind", ["float32", "float64", "mixed"])
@pytest.mark.parametrize("limit", [1e-3, 1.0, 77.0])
def test_clipping_by_the_norm(kind: str, limit: float, rng: np.random.Generator) -> None:
    arrays = mixture(kind, rng)
    before = [array.copy() for array in arrays]
    norm = fastopt.global_norm(arrays)
    assert norm > limit
    assert fastopt.clip_grad_norm(arrays, limit) == norm
    for array, original in zip(arrays, before, strict=True):
        np.testing.assert_allclose(
            array.astype(np.float64),
            original.astype(np.float64) * (limit / norm64(before)),
            rtol=4 * np.finfo(array.dtype).eps,
            atol=0,
        )
    tensors = [torch.from_numpy(array.copy()) for array in before]
    parameters = [torch.nn.Parameter(torch.zeros_like(tensor)) for tensor in tensors]
    for parameter, tensor in zip(parameters, tensors, strict=True):
        parameter.grad = tensor
    torch.nn.utils.clip_grad_norm_(parameters, limit)
    for array, tensor in zip(arrays, tensors, strict=True):
        np.testing.assert_allclose(array, tensor.numpy(), rtol=5e-6, atol=0)


def test_huge_and_tiny_gradients_are_scaled_too() -> None:
    for size in (1e200, 1e-200, 1e300):
        grad = np.full(300, size)
        limit = min(size, 1.0)
        assert fastopt.clip_grad_norm(grad, limit) == pytest.approx(size * math.sqrt(300), rel=1e-15)
        assert grad == pytest.approx(np.full(300, limit / math.sqrt(300)), rel=1e-14, abs=0)


@ALL_DTYPES
def test_gradients_within_the_limit_stay_to_the_bit(dtype: Any, rng: np.random.Generator) -> None:
    info = np.finfo(dtype)
    grads = [gradients(n, dtype, rng) for n in (300, 7)]
    grads[0][:5] = [0.0, -0.0, info.tiny / 3, -info.smallest_subnormal, info.tiny]
    before, norm = digest(*grads), fastopt.global_norm(grads)
    for limit in (norm, math.nextafter(norm, math.inf), 1e30):
        assert fastopt.clip_grad_norm(grads, limit) == norm
        assert digest(*grads) == before
    fastopt.clip_grad_value(grads, 2.0)
    assert digest(*grads) == before
    fastopt.clip_grad_norm(grads, math.nextafter(norm, 0.0) * (1 - 1e-6))
    assert digest(*grads) != before


@ALL_DTYPES
@pytest.mark.parametrize("spoil", [np.inf, -np.inf, np.nan])
def test_a_norm_that_is_not_finite_scales_nothing(spoil: float, dtype: Any, rng: np.random.Generator) -> None:
    grads = [gradients(n, dtype, rng) for n in (70_001, 7)]
    grads[1][3] = spoil
    before = digest(*grads)
    norm = fastopt.clip_grad_norm(grads, 0.1)
    assert math.isnan(norm) if np.isnan(spoil) else norm == np.inf
    assert digest(*grads) == before


@ALL_DTYPES
@pytest.mark.parametrize("limit", [0.1, 1, 1e-30, 1e30])
@pytest.mark.parametrize("n", SIZES)
def test_clipping_by_value_against_numpy_and_torch(n: int, limit: float, dtype: Any, rng: np.random.Generator) -> None:
    grad = hostile(n, dtype, rng)
    expected = np.clip(grad, dtype(-limit), dtype(limit))
    parameter = torch.nn.Parameter(torch.zeros(n, dtype=torch.from_numpy(grad).dtype))
    parameter.grad = torch.from_numpy(grad.copy())
    torch.nn.utils.clip_grad_value_([parameter], limit)
    fastopt.clip_grad_value(grad, limit)
    assert_same_bits([grad, parameter.grad.numpy()], [expected, expected])


def test_clipping_by_value_holds_inf_and_keeps_nan() -> None:
    grads = {"a": np.array([np.inf, -np.inf, np.nan, 3.0, -0.0]), "b": None}
    assert fastopt.clip_grad_value(grads, 2.0) is None
    assert grads["a"].tolist()[:2] == [2.0, -2.0]
    assert np.isnan(grads["a"][2])
    assert grads["a"].tolist()[3:] == [2.0, 0.0]
    assert np.signbit(grads["a"][4])


@ALL_FUNCTIONS
@pytest.mark.parametrize(("make", "error"), BAD_ARRAYS.values(), ids=BAD_ARRAYS)
def test_bad_arrays(make: Callable[[], Any], error: type[Exception], function: Callable[[Any], Any]) -> None:
    good = np.ones(N, np.float32)
    for grads, name in ((make(), "grads"), ([good, make()], r"grads\[1\]"), ({"a": good, "b": make()}, r"grads\['b'\]")):
        with pytest.raises(error, match=f"^{name}.*: got"):
            function(grads)
    assert good.tolist() == [1.0] * N


@ALL_FUNCTIONS
def test_what_holds_no_gradients(function: Callable[[Any], Any]) -> None:
    good = np.ones(N)
    for grads, name in (
        (None, "grads"),
        (1.0, "grads"),
        ("grads", "grads"),
        (np.float64(1), "grads"),
        ({1: good}, "grads"),
        ([[good]], r"grads\[0\]"),
        ({"a": {"b": good}}, r"grads\['a'\]"),
        ((g for g in [good]), "grads"),
    ):
        with pytest.raises(TypeError, match=f"^{name}: got"):
            function(grads)
    with pytest.raises(TypeError):
        function()  # type: ignore[call-arg]  # that is the test
    assert good.tolist() == [1.0] * N


@BOTH_CLIPS
def test_what_cannot_be_clipped_in_place(name: str, clip: Callable[[Any, Any], Any]) -> None:
    memory = np.full(10, 5.0)
    bad = {
        "a read-only array": [np.full(3, 5.0), read_only(np.full(3, 5.0))],
        "the same memory": [memory, memory],
        "memory that overlaps": [memory[:6], memory[5:]],
    }
    for words, grads in bad.items():
        before = digest(*grads)
        with pytest.raises(ValueError, match=rf"^grads\[1\]: got {words}"):
            clip(grads, 0.1)
        assert digest(*grads) == before
    assert fastopt.global_norm(bad["the same memory"]) == pytest.approx(5 * math.sqrt(20)), "what is only read may come twice"
    clip([memory[:5], memory[5:], memory[3:3]], 0.1)
    assert memory.max() <= 0.1


@BOTH_CLIPS
@pytest.mark.parametrize(
    ("limit", "error"),
    [(limit, ValueError) for limit in (0, 0.0, -0.0, -1, math.nan, math.inf, -math.inf, 10**400, Fraction(1, 10**400))]
    + [(limit, TypeError) for limit in (None, "1", b"1", True, np.True_, 1j, [1.0], np.ones(1))],
    ids=lambda value: str(value)[:20],
)
def test_bad_limits(name: str, clip: Callable[[Any, Any], Any], limit: Any, error: type[Exception]) -> None:
    grads = [np.full(3, 5.0)]
    with pytest.raises(error, match=f"^{name}: got"):
        clip(grads, limit)
    assert grads[0].tolist() == [5.0] * 3


@BOTH_CLIPS
def test_limits_of_every_kind_are_taken(name: str, clip: Callable[[Any, Any], Any]) -> None:
    for limit in (2, 2.0, np.float32(2), np.int64(2), Fraction(2)):
        grad = np.array([5.0])
        clip(grad, limit)
        assert grad.tolist() == [2.0]
    with pytest.raises(TypeError):
        clip(np.ones(1))  # type: ignore[call-arg]  # that is the test
