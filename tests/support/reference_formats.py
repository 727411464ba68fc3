"""The storage formats in NumPy, written from docs/formats.md alone.

Nothing here imports fastopt.  `encode` takes the noise as words, one for each element, which `noise_words` makes.  Words
that are all HALF round to nearest, except in the 16-bit formats, where `words=None` rounds to nearest even.  `encode` returns the
data and, for formats that have them, the extras beside the data: the words of the blocks, the corrections, or the float32 copies.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
Encoded = tuple[Array, Array | None]

FORMATS: dict[str, tuple[Any, Any, int]] = {
    "bfloat16": (np.uint16, None, 1),
    "bfloat16 non-negative": (np.uint16, None, 1),
    "float16": (np.uint16, None, 1),
    "float32": (np.uint32, None, 1),
    "8bit": (np.uint8, np.uint32, 256),
    "8bit non-negative": (np.uint8, np.uint32, 256),
    "bfloat16 24bit": (np.uint16, np.int8, 1),
    "bfloat16 32bit": (np.uint16, np.int16, 1),
    "bfloat16 float32": (np.uint16, np.uint32, 1),
    "float16 24bit": (np.uint16, np.int8, 1),
    "float16 32bit": (np.uint16, np.int16, 1),
    "float16 float32": (np.uint16, np.uint32, 1),
}
"""By name: the dtypes of the data and of the extras, and the number of elements for each extra.  Floats are bits."""
TURNS = {
    **{0: 0x9E3779B9, 1: 0x6A09E667, 2: 0xBB67AE85, 3: 0x94C583AD, 4: 0xD97E5ED1, 5: 0x5C45D53F},
    -1: 0xB408AD77,
}
"""The number that each step adds to the words of a stream: of six slots of state, and of the parameter."""
BLOCK = 256
HALF = 0x80000000
LARGEST, INF, QUIET_NAN = 0x7F7FFFFF, 0x7F800000, 0x7FC00000
"""Magnitudes of float32, as bits."""


def mix(x: Array) -> Array:
    x = x.astype(np.uint32)
    x ^= x >> 16
    x *= np.uint32(0x7FEB352D)
    x ^= x >> 15
    x *= np.uint32(0x846CA68B)
    x ^= x >> 16
    return x


def scrambled(x: Array) -> Array:
    x = x * np.uint32(0x9E3779B9)
    x ^= x >> 16
    x *= np.uint32(0x7FEB352D)
    x ^= x >> 15
    x *= np.uint32(0x846CA68B)
    return x


def noise_words(n: int, seed: int, step: int, stream: int, offset: int = 0) -> Array:
    """The words of `n` elements, the first of which is number `offset`."""
    index = np.arange(n, dtype=np.uint64) + np.uint64(offset)
    low, high = index.astype(np.uint32), (index >> np.uint64(32)).astype(np.uint32)
    key = np.array([0x9E3779B9], np.uint32)
    for half in (seed >> 32, seed, step >> 32, step):
        key = mix(key ^ np.uint32(half & 0xFFFFFFFF))
    words = scrambled(low + mix(high ^ key))
    words += np.uint32(step * TURNS[stream] & 0xFFFFFFFF)
    return words


def parts(values: Array) -> tuple[Array, Array]:
    """Sign bit and magnitude, both uint32."""
    bits = values.view(np.uint32)
    return bits & np.uint32(0x80000000), bits & np.uint32(0x7FFFFFFF)


def value(sign: Array, magnitude: Array) -> Array:
    return np.asarray(sign | magnitude, np.uint32).view(np.float32)


def encode_bfloat16(values: Array, words: Array | None, non_negative: bool) -> Array:
    sign, m = parts(values)
    if words is None:
        kept = (m + np.uint32(0x7FFF) + (m >> 16 & np.uint32(1))) >> 16
    else:
        kept = np.minimum(m + (words >> 16), np.maximum(m, np.uint32(LARGEST))) >> 16
    if non_negative:
        kept = np.maximum(kept, (m != 0).astype(np.uint32))
    kept = np.where(m > INF, np.uint32(QUIET_NAN >> 16), kept)
    return (sign >> 16 | kept).astype(np.uint16)


def encode_float16(values: Array, words: Array | None) -> Array:
    with np.errstate(all="ignore"):
        if words is None:
            return values.astype(np.float16).view(np.uint16)
        sign, m = parts(values)
        normal = np.minimum(((m + (words >> 19)) >> 13) - np.uint32(0x1C000), np.uint32(0x7BFF))
        small = np.where(m < 0x38800000, m, np.uint32(0)).view(np.float32) * np.float32(2.0**37)
        below = (small.astype(np.uint32) + (words >> 19)) >> 13
        kept = np.where(m >= 0x38800000, normal, below)
        kept = np.where(m >= 0x477FF000, np.uint32(0x7C00), kept)  # 65520
        kept = np.where(m > INF, np.uint32(0x7E00), kept)
        return (sign >> 16 | kept).astype(np.uint16)


def blocks(array: Array) -> Array:
    """One row for each block.  Zeros fill up the last, and change neither its largest value nor its smallest except 0."""
    padded = np.zeros(-(-len(array) // BLOCK) * BLOCK, array.dtype)
    padded[: len(array)] = array
    return padded.reshape(-1, BLOCK)


def encode_8bit(values: Array, words: Array, non_negative: bool) -> Encoded:
    sign, m = (blocks(part) for part in parts(values))
    w = blocks(words)
    finite = np.where(m < INF, m, 0).astype(np.int64)
    special = (m >= INF).any(axis=1)
    top = (255 if non_negative else 127) - 2 * special.astype(np.int64)
    mx = finite.max(axis=1)
    mn = np.where(finite == 0, mx[:, None], finite).min(axis=1)

    shift, hi = np.full(len(m), 22), mx
    for s in range(21, 15, -1):
        highest = np.minimum(mx + (1 << s) - 1, LARGEST) >> s
        fits = (highest - (mn >> s) <= top - 1) | (s == 21)
        shift, hi = np.where(fits, s, shift), np.where(fits, highest, hi)
    base = np.maximum(hi - top, 0)

    column = shift.astype(np.uint32)[:, None]
    low = base.astype(np.uint32)[:, None]
    least = low + (m != 0).astype(np.uint32) if non_negative else low
    code = np.maximum((m + (w >> (32 - column))) >> column, least) - low
    code = np.minimum(code, (hi - base).astype(np.uint32)[:, None])
    code = np.where(m >= INF, top[:, None] + np.where(m > INF, 2, 1), code)
    if not non_negative:
        code = code | sign >> 24
    word = (shift - 16) | special << 3 | base << 8
    return code.ravel()[: len(values)].astype(np.uint8), word.astype(np.uint32)


def decode_8bit(data: Array, words: Array, non_negative: bool) -> Array:
    codes = blocks(data).astype(np.int64)
    word = words.astype(np.int64)[:, None]
    shift, special, base = (word & 7) + 16, word >> 3 & 1, word >> 8
    sign = np.zeros_like(codes) if non_negative else (codes & 0x80) << 24
    code = codes if non_negative else codes & 0x7F
    top = (255 if non_negative else 127) - 2 * special
    m = np.where(code == 0, 0, (code + base) << shift)
    m = np.where(code == top + 1, INF, np.where(code == top + 2, QUIET_NAN, m))
    return value(sign, m).ravel()[: len(data)]


def encode_bfloat16_master(values: Array, words: Array, k: int) -> Encoded:
    sign, m = parts(values)
    m = np.where(m > INF, np.uint32(QUIET_NAN), m)
    master = m if k == 16 else np.minimum(m + (words >> 24), np.maximum(m, np.uint32(LARGEST))) >> 8
    visible = (master + np.uint32(1 << (k - 1))) >> k
    correction = master.view(np.int32) - (visible << k).view(np.int32)
    return (sign >> 16 | visible).astype(np.uint16), correction.astype(np.int8 if k == 8 else np.int16)


def decode_bfloat16_master(data: Array, correction: Array, k: int) -> Array:
    visible = data.astype(np.int32) & 0x7FFF
    master = np.maximum((visible << k) + correction, 0) << (16 - k)
    return value((data.astype(np.uint32) & np.uint32(0x8000)) << 16, master)


def encode_float16_master(values: Array, words: Array, k: int) -> Encoded:
    """float16 with `k` more bits is an integer that grows with the magnitude, as the bits of float32 do."""
    sign, m = parts(values)
    normal = m - np.uint32(0x38000000)  # 112 in the exponent
    normal = (normal + (words >> 27)) >> 5 if k == 8 else normal << 3
    noise_bits = 21 - k  # 13 or 5: bits below the unit of a number below 2^-14 that fit 32 bits
    small = np.where(m < 0x38800000, m, np.uint32(0)).view(np.float32) * np.float32(2.0 ** (24 + k + noise_bits))
    below = (small.astype(np.uint32) + (words >> (32 - noise_bits))) >> noise_bits
    inf = np.uint32(0x7C00 << k)
    master = np.where(m >= 0x38800000, np.minimum(normal, inf - np.uint32(1)), below)
    master = np.where(m >= 0x47800000, inf, master)  # 65536
    master = np.where(m > INF, np.uint32(0x7E00 << k), master)
    visible = (master + np.uint32(1 << (k - 1))) >> k
    correction = master.view(np.int32) - (visible << k).view(np.int32)
    return (sign >> 16 | visible).astype(np.uint16), correction.astype(np.int8 if k == 8 else np.int16)


def decode_float16_master(data: Array, correction: Array, k: int) -> Array:
    visible = data.astype(np.int32) & 0x7FFF
    master = np.maximum((visible << k) + correction, 0)
    normal = (master << 5 if k == 8 else master >> 3) + 0x38000000
    below = (master.astype(np.float32) * np.float32(2.0 ** -(24 + k))).view(np.int32)
    bits = np.where(master < 0x400 << k, below, normal)
    bits = np.where(master == 0x7C00 << k, INF, np.where(master > 0x7C00 << k, QUIET_NAN, bits))
    return value((data.astype(np.uint32) & np.uint32(0x8000)) << 16, bits)


def encode(name: str, values: Array, words: Array | None) -> Encoded:
    """The data and extras of float32 `values`; `words=None` rounds to nearest."""
    if name in ("bfloat16", "bfloat16 non-negative"):
        return encode_bfloat16(values, words, name.endswith("non-negative")), None
    if name == "float16":
        return encode_float16(values, words), None
    if name == "float32":
        return values.view(np.uint32).copy(), None
    if name.endswith(" float32"):
        return encode(name.removesuffix(" float32"), values, None)[0], values.view(np.uint32).copy()
    words = np.full(len(values), HALF, np.uint32) if words is None else words
    if name in ("8bit", "8bit non-negative"):
        return encode_8bit(values, words, name.endswith("non-negative"))
    split = encode_bfloat16_master if name.startswith("bfloat16") else encode_float16_master
    return split(values, words, 8 if name.endswith("24bit") else 16)


def decode(name: str, data: Array, extra: Array | None) -> Array:
    """The float32 values."""
    if name.endswith("float32"):
        return (data if extra is None else extra).view(np.float32).copy()
    if name == "float16":
        with np.errstate(invalid="ignore"):  # a signalling NaN becomes quiet
            return data.view(np.float16).astype(np.float32)
    if extra is None:
        return (data.astype(np.uint32) << 16).view(np.float32)
    if name in ("8bit", "8bit non-negative"):
        return decode_8bit(data, extra, name.endswith("non-negative"))
    join = decode_bfloat16_master if name.startswith("bfloat16") else decode_float16_master
    return join(data, extra, 8 if name.endswith("24bit") else 16)
