"""What the storage formats promise, checked without the reference's bits: no bias, no zero, no loss to a neighbour."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import fastopt
from fastopt import _core
from tests.support import reference_formats as reference
from tests.support.arrays import Array
from tests.support.comparing import assert_same_bits
from tests.support.encoding import ALL_FORMATS, ALL_NOISES, HALF_TO_INF, NOISES, Noise, allowed, encode, mantissas

pytestmark = pytest.mark.kernel

STOCHASTIC = pytest.mark.parametrize(
    "name", [name for name in reference.FORMATS if not name.endswith(("float32", "bfloat16 32bit"))]
)
NON_NEGATIVE = pytest.mark.parametrize("name", ["bfloat16 non-negative", "8bit non-negative"])
EIGHT_BITS = pytest.mark.parametrize("name", ["8bit", "8bit non-negative"])
MASTERS = pytest.mark.parametrize("name", [name for name in reference.FORMATS if name.endswith(("24bit", "32bit", " float32"))])


def round_trip(name: str, values: Array, noise: Noise = None) -> Array:
    return np.asarray(_core.decode(name, *encode(name, values, noise)))


def between(name: str, rng: np.random.Generator) -> Array:
    """Two blocks between neighbours of the format, where its noise has a bit for each that the values have below them."""
    sign = 1.0 if name.endswith("non-negative") else rng.choice([-1.0, 1.0], 256)
    if name == "float16 32bit":
        # 5 bits of noise below units of 2^-40: it rounds only where float16 is denormal.
        rows = [np.ldexp(rng.integers(1, 1 << b, 256), -45) for b in (20, 24)]
    elif name == "float16 24bit":
        rows = [2.0 ** rng.uniform(-14, 15, 256), np.ldexp(rng.integers(1, 1 << 24, 256), -45)]
    elif name == "float16":
        rows = [2.0 ** rng.uniform(-14, 15, 256), np.ldexp(rng.integers(1, 1 << 23, 256), -37)]
    else:
        # In 8 bits the second has shift 21.
        rows = [rng.uniform(0.5, 2, 256), 2.0 ** rng.uniform(-30 if name == "8bit" else -60, 0, 256)]
    return np.concatenate([row * sign for row in rows]).astype(np.float32)


def neighbours(name: str, values: Array) -> tuple[Array, Array, Array]:
    """The values that the format has below and above each, and the chance of the one above."""
    ends = [np.full(len(values), w, np.uint32) for w in (0, 0xFFFFFFFF)]
    a, b = (reference.decode(name, *reference.encode(name, values, end)).astype(np.float64) for end in ends)
    low, high = np.minimum(a, b), np.maximum(a, b)
    assert np.all((low <= values) & (values <= high))
    assert (low < high).mean() > 0.9
    return low, high, np.where(high > low, (values - low) / np.where(high > low, high - low, 1), 0)


def bernstein(variance: Any) -> Any:
    """What a sum of independent terms within 1 of their expectations, of this variance in all, exceeds with a chance of 1e-10."""
    t = math.log(2 / 1e-10)
    return np.sqrt(2 * t * variance) + 2 * t / 3


@pytest.mark.parametrize("step", [1, 1000])
@STOCHASTIC
def test_no_bias_over_elements(name: str, step: int, rng: np.random.Generator) -> None:
    """The share of roundings up, of blocks repeated through the tensor, by Bernstein's bound."""
    values, repeats = between(name, rng), 2048
    low, high, chance = neighbours(name, values)
    for stream in range(5):
        rounded = round_trip(name, np.tile(values, repeats), (stream, step, stream, 2**32 - 1000)).reshape(repeats, -1)
        assert np.all((rounded == low) | (rounded == high))
        up = ((rounded == high) & (high > low)).sum(axis=0)
        assert np.all(np.abs(up - repeats * chance) <= bernstein(repeats * chance * (1 - chance)))
        # All elements at once, for which the bound is 22 times as tight.
        mean = (up - repeats * chance).sum()
        assert abs(mean) <= bernstein(repeats * (chance * (1 - chance)).sum())


@pytest.mark.parametrize("stream", range(5))
@STOCHASTIC
def test_no_bias_over_steps(name: str, stream: int, rng: np.random.Generator) -> None:
    """The share of roundings up of each element over the steps, by the same bound; and no step's roundings tell the next one's."""
    steps, first = 1500, 2**31 - 700
    values = between(name, rng)
    low, high, chance = neighbours(name, values)
    rounded = [round_trip(name, values, (42, step, stream, 12345)) == high for step in range(first, first + steps)]
    up = np.array(rounded) & (high > low)
    assert np.all(np.abs(up.sum(axis=0) - steps * chance) <= bernstein(steps * chance * (1 - chance)))
    # Products of what two steps are above their expectation: their mean is 0, their variance (chance * (1 - chance))**2.
    above = up - chance
    for apart in (1, 2, 3, 5, 8, 13):
        products = above[apart:] * above[:-apart]
        assert abs(products.sum()) <= bernstein(len(products) * ((chance * (1 - chance)) ** 2).sum())


@ALL_NOISES
@NON_NEGATIVE
def test_what_is_not_zero_does_not_become_zero(name: str, noise: Noise, rng: np.random.Generator) -> None:
    """Nor zero something else, in blocks that span up to all of float32."""
    for octaves in (0, 1, 10, 60, 64, 65, 100, 270):
        start = rng.uniform(-149, 127 - octaves) if octaves <= 200 else -149
        values = (2.0 ** np.minimum(start + rng.uniform(0, octaves, 4000), 127.9)).astype(np.float32)
        values[rng.random(4000) < 0.1] = 0
        values[rng.random(4000) < 0.02] = np.float32(1e-45)
        rounded = round_trip(name, values, noise)
        assert np.array_equal(rounded > 0, values > 0)
        assert np.array_equal(rounded == 0, values == 0)


@ALL_NOISES
@EIGHT_BITS
def test_eight_decades_of_gradients_survive(name: str, noise: Noise, rng: np.random.Generator) -> None:
    """And 16 of their squares: with shift 21 a float32 keeps 2 bits of mantissa, so that codes are a quarter of a power of two
    apart and every element comes back within 1/4 of itself, to nearest within 1/8; also beside Inf and NaN."""
    decades = 8 if name == "8bit" else 16
    for scale in (1e6, 1.0, 1e-3, 1e-20):
        values = allowed(name, 10.0 ** -rng.uniform(0, decades, 2048) * scale * rng.choice([-1, 1], 2048))
        values[0::256], values[5::256] = scale, scale * 10.0**-decades
        values[1024::256] = np.inf
        values[1025::256] = np.nan
        rounded = round_trip(name, values, noise)
        assert np.isposinf(rounded[1024::256]).all()
        assert np.isnan(rounded[1025::256]).all()
        finite = np.isfinite(values)
        ratio = rounded[finite].astype(np.float64) / values[finite]
        assert np.all(np.abs(ratio - 1) < 1 / 4)
        if noise is None:
            assert np.all(np.abs(ratio - 1) <= 1 / 8)


@ALL_NOISES
@EIGHT_BITS
def test_inf_and_nan_harm_no_neighbour(name: str, noise: Noise, rng: np.random.Generator) -> None:
    """The block's other elements decode as they did, as long as two codes fewer suffice; other blocks keep their bytes."""
    for octaves in (0.0, 0.5, 1.5, 3.0, 10.0, 25.0):
        values = allowed(name, 2.0 ** rng.uniform(0, octaves, 1024) * rng.choice([-1.0, 1.0], 1024))
        broken = values.copy()
        places = np.array([256, 300, 511, 768])
        # A bystander of the same magnitude keeps the largest and the smallest what they were.
        values[places] = values[257:258]
        broken[places] = [np.inf, np.nan, np.nan if "non-negative" in name else -np.inf, np.inf]
        (data, words), (broken_data, broken_words) = encode(name, values, noise), encode(name, broken, noise)
        assert words is not None
        assert broken_words is not None
        assert list(broken_words >> 3 & 1) == [0, 1, 0, 1]
        assert np.array_equal(words & 7, broken_words & 7)
        untouched = np.r_[0:256, 512:768]
        assert np.array_equal(data[untouched], broken_data[untouched])
        assert np.array_equal(words[::2], broken_words[::2])
        rounded, broken_rounded = _core.decode(name, data, words), _core.decode(name, broken_data, broken_words)
        others = np.delete(np.arange(1024), places)
        assert_same_bits([broken_rounded[others]], [rounded[others]])
        assert_same_bits([broken_rounded[places]], [broken[places]])


@ALL_NOISES
@ALL_FORMATS
def test_kinds_stay_what_they_are(name: str, noise: Noise, rng: np.random.Generator) -> None:
    """NaN (also one whose payload lies in the lowest bit), Inf, and zero; noise makes no finite number Inf."""
    special = np.array([0x7F800001, 0xFF800001, 0xFFC00000, 0x7FFFFFFF, 0x7F800000, 0xFF800000, 0, 0x7F7FFFFF], np.uint32)
    values = allowed(name, special[rng.integers(0, len(special), 3000)].view(np.float32))
    rounded = round_trip(name, values, noise)
    assert np.array_equal(np.isnan(rounded), np.isnan(values))
    assert np.array_equal(rounded[np.isinf(values)], values[np.isinf(values)])
    assert np.all(rounded[values == 0] == 0)
    huge = values == np.float32(3.4028235e38)
    if name in ("float16", "float16 24bit", "float16 32bit") or (noise is None and name in ("bfloat16", "bfloat16 non-negative")):
        assert np.isinf(rounded[huge]).all()
    else:
        assert np.isfinite(rounded[huge]).all()


@MASTERS
def test_the_parameter_is_the_master_to_nearest(name: str) -> None:
    """Within half of the visible parameter's last place, for every mantissa, and the master within a unit of the value."""
    fraction = 10 if name.startswith("float16") else 7
    for exponent in (113, 127, 141) if name.startswith("float16") else (1, 127, 253):
        bits = mantissas() | np.uint32(exponent << 23)
        values = bits[bits < HALF_TO_INF].view(np.float32) if name.startswith("float16") else bits.view(np.float32)
        last_place = np.float32(2.0 ** (exponent - 127 - fraction))
        data, extra = encode(name, values, NOISES[3])
        master = _core.decode(name, data, extra)
        visible = _core.decode(name.split(maxsplit=1)[0], data, None)
        assert np.all(np.abs(visible - master) <= last_place / 2)
        if name.endswith("24bit"):
            assert np.all(np.abs(master - values) <= last_place / 256)
        else:
            assert_same_bits([master], [values])


@pytest.mark.parametrize("direction", [1, -1])
@MASTERS
def test_updates_below_the_smallest_unit_add_up(name: str, direction: int) -> None:
    """Each a fifth of a 24bit master's unit, over several of the parameter's last places, either way."""
    last_place = 2.0 ** (-10 if name.startswith("float16") else -7)
    units, steps, elements = 3 / 2**4, 3000, 1024  # of a 24bit master
    update = np.float32(direction * units * last_place / 2**8)
    data, extra = encode(name, np.full(elements, 1.5, np.float32))
    for step in range(1, steps + 1):
        master = _core.decode(name, data, extra) + update
        _core.encode(name, np.asarray(master), data, extra, (9, step, 4, 0))
    way = (_core.decode(name, data, extra).astype(np.float64) - 1.5) * direction / last_place * 2**8
    if not name.endswith("24bit"):
        assert np.all(way == steps * units)
    variance = steps * units * (1 - units)
    assert np.all(np.abs(way - steps * units) <= bernstein(variance))
    assert abs(way.sum() - elements * steps * units) <= bernstein(elements * variance)


@pytest.mark.parametrize("value", [np.nan, -np.nan])
def test_the_code_of_a_nan_has_no_sign(value: float) -> None:
    p, g = np.zeros(256, np.float32), np.ones(256, np.float32)
    g[3] = value
    opt = fastopt.AdamW(p, state_dtype="8bit")
    opt.step(g)
    for slot in ("exp_avg", "exp_avg_sq"):
        stored = opt.state[0][slot]
        assert np.isnan(stored[3])
        assert stored.raw["codes"].reshape(-1)[3] == (0x7F if slot == "exp_avg" else 0xFF)
