"""The storage formats' bits are those of `reference_formats`, under every instruction set, length and place.

Where the value is NaN, any NaN will do, also as its float32 copy; its correction must still be the reference's.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from fastopt import _core
from tests.support import reference_formats as reference
from tests.support.arrays import Array, hostile
from tests.support.cases import ISAS
from tests.support.comparing import assert_same_bits
from tests.support.encoding import ALL_FORMATS, ALL_NOISES, NOISES, Noise, allowed, empty, encode, mantissas

LENGTHS = (0, 1, 255, 256, 257, 1000, 4099)
ROUNDED = pytest.mark.parametrize("name", [name for name in reference.FORMATS if not name.endswith("float32")])
EVERY_16_BITS = np.arange(1 << 16, dtype=np.uint16)


def words(n: int, noise: Noise) -> Array | None:
    return None if noise is None else reference.noise_words(n, *noise)


def assert_encoded(name: str, values: Array, actual: Any, expected: Any, where: Any = "") -> None:
    """The same bytes of data and extra; where a value is NaN, data that mean NaN."""
    nan = np.isnan(values)
    data, extra = actual
    bad = np.flatnonzero((data != expected[0]) & ~nan)
    assert bad.size == 0, (
        f"{name} {where}: {bad.size} of {len(values)} differ, first at {bad[:3]}: of {values[bad[:3]]} "
        f"({[hex(b) for b in values.view(np.uint32)[bad[:3]]]}) came {data[bad[:3]]}, expected {expected[0][bad[:3]]}"
    )
    if extra is not None:
        copies = extra.dtype == np.uint32 and name.endswith("float32")
        bad = np.flatnonzero((extra != expected[1]) & ~(nan if copies else False))
        assert bad.size == 0, f"{name} {where}: extra at {bad[:3]}: came {extra[bad[:3]]}, expected {expected[1][bad[:3]]}"
    assert np.isnan(reference.decode(name, data, extra)[nan]).all()


def check(name: str, values: Array, noise: Noise, w: Array | None = None) -> None:
    """Encodes and decodes under every instruction set and compares with the reference."""
    values = allowed(name, values)
    expected = reference.encode(name, values, words(len(values), noise) if w is None else w)
    decoded = reference.decode(name, *expected)
    for isa in ISAS:
        assert _core.set_isa(isa)
        assert_encoded(name, values, encode(name, values, noise), expected, (isa, noise))
        assert_same_bits([_core.decode(name, *expected)], [decoded], (name, isa))


def test_names_and_sizes() -> None:
    def size(dtype: Any) -> int:
        return 0 if dtype is None else np.dtype(dtype).itemsize

    expected = [(name, size(data), size(extra), span) for name, (data, extra, span) in reference.FORMATS.items()]
    assert _core.formats() == expected


@pytest.mark.parametrize("isa", ISAS)
def test_decode_of_every_16_bits(isa: str) -> None:
    assert _core.set_isa(isa)
    with np.errstate(invalid="ignore"):
        bfloat16 = EVERY_16_BITS.view(ml_dtypes.bfloat16).astype(np.float32)
        float16 = EVERY_16_BITS.view(np.float16).astype(np.float32)
    assert_same_bits([_core.decode("bfloat16", EVERY_16_BITS, None)], [bfloat16])
    assert_same_bits([_core.decode("bfloat16 non-negative", EVERY_16_BITS, None)], [bfloat16])
    assert_same_bits([_core.decode("float16", EVERY_16_BITS, None)], [float16])


@pytest.mark.parametrize("name", ["8bit", "8bit non-negative"])
@pytest.mark.parametrize("isa", ISAS)
def test_decode_of_every_code(isa: str, name: str) -> None:
    """Under words that a block can have: all shifts, bases from 0 to FLT_MAX's, with Inf and NaN and without."""
    assert _core.set_isa(isa)
    full = 255 if name.endswith("non-negative") else 127
    block_words, expected = [], []
    for shift in range(16, 22):
        for special in (False, True):
            top = full - 2 * special
            for base in (0, 1, 2, 127, 0x38800000 >> shift, 0x3F800000 >> shift, (0x7F7FFFFF >> shift) - top):
                block_words.append((shift - 16) | special << 3 | base << 8)
                magnitudes = [0] + [c + base << shift for c in range(1, top + 1)] + [0x7F800000, 0x7FC00000] * special
                signs = (0,) if full == 255 else (0, 0x80000000)
                expected += [m | sign for sign in signs for m in magnitudes]
    data = np.tile(np.arange(256, dtype=np.uint8), len(block_words))
    extra = np.array(block_words, np.uint32)
    bits = np.array(expected, np.uint32)
    assert_same_bits([_core.decode(name, data, extra)], [bits.view(np.float32)])
    assert_same_bits([reference.decode(name, data, extra)], [bits.view(np.float32)])


@pytest.mark.parametrize("name", [name for name in reference.FORMATS if name.endswith(("24bit", "32bit"))])
def test_decode_of_every_16_bits_with_corrections(name: str) -> None:
    """Every sum has a value: V may be Inf with a correction below it, which is finite, or one above it, which is NaN."""
    small = name.endswith("24bit")
    lowest, dtype = (-128, np.int8) if small else (-32768, np.int16)
    for number in (lowest, lowest + 1, -77, -1, 0, 1, 76, -lowest - 2, -lowest - 1):
        extra = np.full(EVERY_16_BITS.shape, number, dtype)
        expected = reference.decode(name, EVERY_16_BITS, extra)
        # A sum with more bits than a float32, which only somebody's writing to the parameter makes, becomes a neighbour.
        again = reference.encode(name, expected, np.zeros(len(expected), np.uint32))
        held = ((again[0] == EVERY_16_BITS) & (again[1] == extra)) | (expected == 0)
        finite = np.isfinite(expected)
        assert name == "float16 32bit" or held[finite].all()
        for isa in ISAS:
            assert _core.set_isa(isa)
            decoded = _core.decode(name, EVERY_16_BITS, extra)
            assert_same_bits([decoded[held & finite]], [expected[held & finite]], (isa, number))
            near = finite & ~held
            assert np.all(np.abs(decoded[near] - expected[near]) <= np.spacing(np.abs(expected[near])))
            assert not np.isfinite(decoded[~finite]).any()


@ALL_NOISES
@ALL_FORMATS
def test_every_16_bits_extended(name: str, noise: Noise) -> None:
    """What a 16-bit type holds stays what it is under any noise."""
    for source in ("bfloat16", "float16"):
        values = allowed(name, reference.decode(source, EVERY_16_BITS, None))
        check(name, values, noise)
        if name.startswith(source) and "bit" not in name:
            assert_same_bits([_core.decode(name, *encode(name, values, noise))], [values])


@ALL_NOISES
@ALL_FORMATS
def test_random_bits(name: str, noise: Noise, rng: np.random.Generator) -> None:
    """All of float32, then its ordinary numbers, then the exponents that float16 has and its neighbours."""
    bits = rng.integers(0, 1 << 32, 1 << 16, dtype=np.uint32)
    bits[:4096] |= np.uint32(0x7F800000)  # NaN
    bits[4096:4108] = [0x7F800000, 0xFF800000, 0x7F800001, 0xFF800001, 0x7F80FFFF, 0x7FFFFFFF, 0xFFFFFFFF, 0, 1 << 31, 1, 2, 3]
    bits[4108:4114] = [0x7F7FFFFF, 0xFF7FFFFF, 0x007FFFFF, 0x807FFFFF, 0x00800000, 0x80800000]
    sign = rng.choice([-1.0, 1.0], 1 << 15)
    half = (sign * 2.0 ** rng.uniform(-45, 17, 1 << 15)).astype(np.float32)
    for values in (bits.view(np.float32), hostile(1 << 15, np.float32, rng), half):
        check(name, values, noise)


@pytest.mark.parametrize("name", ["bfloat16", "float16"])
@pytest.mark.parametrize("isa", ISAS)
def test_to_nearest_is_that_of_the_types(isa: str, name: str, rng: np.random.Generator) -> None:
    """Rounds as ml_dtypes and NumPy: the ends, the middles and their neighbours between all patterns, and random bits."""
    assert _core.set_isa(isa)
    steps = np.arange(-2, 3)
    ends = reference.decode(name, EVERY_16_BITS, None).view(np.uint32).astype(np.int64)
    middle = ends + (1 << 15 if name == "bfloat16" else 1 << 12)
    near = np.concatenate([ends, middle])[:, None] + steps
    halves = (np.arange(0, 4097)[:, None] * 2.0**-25).astype(np.float32).view(np.uint32) + steps  # float16's denormal ones
    some = rng.integers(0, 1 << 32, 1 << 20)
    bits = np.concatenate([near.ravel(), halves.ravel(), some]).astype(np.uint32)
    values = bits.view(np.float32)
    with np.errstate(all="ignore"):
        expected = values.astype(ml_dtypes.bfloat16 if name == "bfloat16" else np.float16).view(np.uint16)
    assert_encoded(name, values, encode(name, values), (expected, None))


@lru_cache(maxsize=1)
def mantissa_words() -> Array:
    return reference.noise_words(1 << 23, 2**63 + 99, 1234567, 2, 2**32 - 5)


@pytest.mark.parametrize("exponent", [0, 107, 127])
@ROUNDED
def test_every_mantissa(name: str, exponent: int) -> None:
    """With noise, at exponents normal in both types, and every fifth where they are denormal in float32 and in float16."""
    if exponent == 107 and not name.startswith("float16"):
        exponent = 254
    bits = mantissas()[:: 1 if exponent == 127 else 5] | np.uint32(exponent << 23)
    if not name.endswith("non-negative"):
        bits[::3] |= np.uint32(0x80000000)
    check(name, bits.view(np.float32), (2**63 + 99, 1234567, 2, 2**32 - 5), mantissa_words()[: len(bits)])


@ROUNDED
def test_every_fifth_mantissa_to_nearest(name: str) -> None:
    check(name, (mantissas()[::5] | np.uint32(0x3E000000)).view(np.float32), None)


@pytest.mark.parametrize("exponent", [0, 1, 112, 127, 254, 255])
def test_a_pair_of_bfloat16_is_every_float32(exponent: int) -> None:
    values = (mantissas() | np.uint32(exponent << 23)).view(np.float32)
    for signed in (values, -values):
        data, extra = encode("bfloat16 32bit", signed, (5, 6, 4, 7))
        assert_same_bits([_core.decode("bfloat16 32bit", data, extra)], [signed])


@pytest.mark.parametrize("exponent", [113, 114, 127, 142])
def test_a_pair_of_float16_is_every_float32_that_is_normal_there(exponent: int) -> None:
    bits = mantissas() | np.uint32(exponent << 23)
    values = bits.view(np.float32)
    for signed in (values, -values):
        data, extra = encode("float16 32bit", signed, (5, 6, 4, 7))
        assert_same_bits([_core.decode("float16 32bit", data, extra)], [signed])


def test_a_pair_of_float16_holds_the_multiples_of_its_smallest_unit(rng: np.random.Generator) -> None:
    count = np.append(rng.integers(1, 1 << 24, 1 << 18), np.arange(1, 1 << 18))
    for signed in (count, -count):
        values = np.ldexp(signed.astype(np.float32), -40)
        data, extra = encode("float16 32bit", values, (5, 6, 4, 7))
        assert_same_bits([_core.decode("float16 32bit", data, extra)], [values])


def spans(rng: np.random.Generator) -> Iterator[Array]:
    """Blocks of magnitudes that span 0 to 80 octaves, somewhere in float32."""
    for octaves in range(81):
        start = rng.uniform(-126, 127 - octaves)
        yield 2.0 ** (start + rng.uniform(0, octaves, 256))


def edges(rng: np.random.Generator) -> Iterator[Array]:
    """Blocks that just fit a shift or just do not: the last code of all formats and its neighbours."""
    for shift in range(16, 22):
        for top in (125, 127, 253, 255):
            for codes in (top - 2, top - 1, top):
                for above, below in ((0, 0), (1, 0), (0, -1), (-1, 1)):
                    low = int(rng.integers(1, (0x7F7FFFFF >> shift) - codes - 1))
                    m = rng.integers(low << shift, (low + codes) << shift, 256)
                    m[:2] = max((low << shift) + below, 1), ((low + codes) << shift) + above
                    yield rng.permutation(m).astype(np.uint32).view(np.float32)


def with_specials(block: Array, rng: np.random.Generator) -> Array:
    count = int(rng.integers(1, 6))
    block = block.copy()
    block[rng.choice(256, count, replace=False)] = rng.choice([np.inf, -np.inf, np.nan], count)
    return block


def simple(rng: np.random.Generator) -> Iterator[Array]:
    single = np.zeros(256)
    for place, one in ((0, 1.0), (255, -3e-39), (17, 1e-45), (100, 3.4028234e38)):
        yield np.where(np.arange(256) == place, one, single)
        yield np.where(np.arange(256) == place, one, np.nan)
        yield np.where(np.arange(256) == place, one, -np.inf)
    for constant in (0.0, -0.0, 1.0, 1.0039062, 0.1, 3.4028234e38, 3.4e38, 1e-45, 1.1754944e-38, np.inf, -np.inf, np.nan):
        yield np.full(256, constant)
        yield np.where(rng.random(256) < 0.3, constant, 0.0)
    yield np.where(rng.random(256) < 0.5, np.inf, np.nan)
    yield rng.uniform(0.99, 1.0, 256) * 3.4028234e38
    yield rng.uniform(0.01, 1.0, 256) * 3.4028234e38
    yield rng.uniform(0, 1, 256) * 1.2e-38
    yield np.where(rng.random(256) < 0.5, 3.4028234e38, 1e-45)


@ALL_NOISES
@ALL_FORMATS
def test_blocks(name: str, noise: Noise, rng: np.random.Generator) -> None:
    rows = [*spans(rng), *spans(rng), *edges(rng)]
    rows += [with_specials(row, rng) for row in rows] + [np.where(rng.random(256) < 0.2, 0.0, row) for row in rows]
    signs = rng.choice([-1.0, 1.0], (len(rows), 256))
    values = np.concatenate(
        [(np.array(rows) * signs).astype(np.float32).ravel(), *(row.astype(np.float32) for row in simple(rng))]
    )
    check(name, np.append(values, values[:100]), noise)


def placed(array: Array, offset: int) -> tuple[Array, Array]:
    """A copy that starts `offset` elements behind a cache line, and the bytes around it."""
    room = np.full(array.nbytes + 512, 0xC3, np.uint8)
    start = -room.ctypes.data % 64 + 64 + offset * array.itemsize
    view = room[start : start + array.nbytes].view(array.dtype)
    view[...] = array
    return view, room


@pytest.mark.parametrize("isa", ISAS)
@ALL_FORMATS
def test_lengths_and_places(name: str, isa: str, rng: np.random.Generator) -> None:
    """Nothing is read from or written to what lies around the arrays, and what is read stays as it was."""
    assert _core.set_isa(isa)
    for i, n in enumerate((*LENGTHS, *range(2, 40))):
        values = allowed(name, hostile(n, np.float32, rng))
        noise = NOISES[i % len(NOISES)]
        expected = reference.encode(name, values, words(n, noise))
        decoded = reference.decode(name, *expected)
        for offset in (0, 1, 3) if n < 40 else (0, 1, 2, 3, 5, 7, 9, 13):
            source, around_source = placed(values, offset)
            blank = empty(name, n)
            data, around = placed(blank[0], offset + i)
            extra, around_extra = placed(blank[1], offset) if blank[1] is not None else (None, None)
            _core.encode(name, source, data, extra, noise)
            assert_encoded(name, values, (data, extra), expected, (n, offset, noise))
            data[...] = expected[0]
            if extra is not None:
                extra[...] = expected[1]
            rooms = [room for room in (around_source, around, around_extra) if room is not None]
            before = [room.copy() for room in rooms]
            assert_same_bits([_core.decode(name, data, extra)], [decoded], (name, n, offset))
            for room, old in zip(rooms, before, strict=True):
                assert np.array_equal(room, old)
            assert np.array_equal(source.view(np.uint32), values.view(np.uint32))
            for view, room in ((source, around_source), (data, around), (extra, around_extra)):
                if view is not None:
                    assert (room == 0xC3).sum() >= 256
                    view.view(np.uint8)[...] = 0xC3
                    assert (room == 0xC3).all()


def test_the_place_in_a_tensor_changes_nothing(rng: np.random.Generator) -> None:
    """Pieces of whole blocks, each with its offset, are the whole: threads cut tensors so."""
    values = hostile(5000, np.float32, rng)
    for name in reference.FORMATS:
        taken = allowed(name, values)
        whole, extra = encode(name, taken, (3, 4, 1, 10_000))
        for start in range(0, 5000, 512):
            piece, piece_extra = encode(name, taken[start : start + 512], (3, 4, 1, 10_000 + start))
            assert np.array_equal(piece, whole[start : start + 512])
            if extra is not None and piece_extra is not None:
                begin = start // 256 if name.startswith("8bit") else start
                assert np.array_equal(piece_extra, extra[begin : begin + len(piece_extra)])
