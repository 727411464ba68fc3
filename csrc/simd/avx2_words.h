// U32 for AVX2: 8 words of 32 bits, for the codecs.
#pragma once
#include <immintrin.h>
#include <stdint.h>

#include "simd/avx2.h"

namespace fastopt::FASTOPT_ISA {

struct U32 {
  static constexpr int width = 8;
  __m256i x;
  static FASTOPT_INLINE U32 broadcast(uint32_t w) { return {_mm256_set1_epi32(static_cast<int>(w))}; }
  static FASTOPT_INLINE U32 load(const uint32_t* from) {
    return {_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from))};
  }
  static FASTOPT_INLINE U32 load(const uint16_t* from) {
    return {_mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)))};
  }
  static FASTOPT_INLINE U32 load(const uint8_t* from) {
    return {_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(from)))};
  }
  // Loads signed numbers.
  static FASTOPT_INLINE U32 load_signed(const uint8_t* from) {
    return {_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(from)))};
  }
  static FASTOPT_INLINE U32 load_signed(const uint16_t* from) {
    return {_mm256_cvtepi16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)))};
  }
  static FASTOPT_INLINE U32 count() { return {_mm256_set_epi32(7, 6, 5, 4, 3, 2, 1, 0)}; }
  FASTOPT_INLINE void store(uint32_t* to) const { _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), x); }
};

FASTOPT_INLINE U32 operator+(U32 a, U32 b) { return {_mm256_add_epi32(a.x, b.x)}; }
FASTOPT_INLINE U32 operator-(U32 a, U32 b) { return {_mm256_sub_epi32(a.x, b.x)}; }
FASTOPT_INLINE U32 operator*(U32 a, U32 b) { return {_mm256_mullo_epi32(a.x, b.x)}; }
FASTOPT_INLINE U32 operator&(U32 a, U32 b) { return {_mm256_and_si256(a.x, b.x)}; }
FASTOPT_INLINE U32 operator|(U32 a, U32 b) { return {_mm256_or_si256(a.x, b.x)}; }
FASTOPT_INLINE U32 operator^(U32 a, U32 b) { return {_mm256_xor_si256(a.x, b.x)}; }
FASTOPT_INLINE U32 operator<<(U32 a, int bits) { return {_mm256_sll_epi32(a.x, _mm_cvtsi32_si128(bits))}; }
FASTOPT_INLINE U32 operator>>(U32 a, int bits) { return {_mm256_srl_epi32(a.x, _mm_cvtsi32_si128(bits))}; }
FASTOPT_INLINE U32 min(U32 a, U32 b) { return {_mm256_min_epu32(a.x, b.x)}; }
FASTOPT_INLINE U32 max(U32 a, U32 b) { return {_mm256_max_epu32(a.x, b.x)}; }
// `a` as a signed number, raised to 0 from below if `b` is 0.
FASTOPT_INLINE U32 positive_where_zero(U32 b, U32 a) {
  const __m256i zero = _mm256_setzero_si256();
  return {_mm256_blendv_epi8(a.x, _mm256_max_epi32(a.x, zero), _mm256_cmpeq_epi32(b.x, zero))};
}
// `a` if b < limit, else 0.
FASTOPT_INLINE U32 where_below(U32 b, U32 limit, U32 a) {
  return {_mm256_andnot_si256(_mm256_cmpeq_epi32(_mm256_max_epu32(b.x, limit.x), b.x), a.x)};
}
// `a` if `b` is not 0, else 0.
FASTOPT_INLINE U32 where_nonzero(U32 b, U32 a) {
  return {_mm256_andnot_si256(_mm256_cmpeq_epi32(b.x, _mm256_setzero_si256()), a.x)};
}
FASTOPT_INLINE U32 select(__m256 mask, U32 a, U32 b) {
  return {_mm256_blendv_epi8(b.x, a.x, _mm256_castps_si256(mask))};
}
FASTOPT_INLINE U32 bits_of(F32 a) { return {_mm256_castps_si256(a.x)}; }
FASTOPT_INLINE F32 floats_of(U32 a) { return {_mm256_castsi256_ps(a.x)}; }
// Convert signed numbers; to_int truncates.
FASTOPT_INLINE F32 to_float(U32 a) { return {_mm256_cvtepi32_ps(a.x)}; }
FASTOPT_INLINE U32 to_int(F32 a) { return {_mm256_cvttps_epi32(a.x)}; }
// Convert IEEE's 16 bits, in words of 32; to_half rounds to nearest even.
FASTOPT_INLINE F32 from_half(U32 a) {
  const __m256i packed = _mm256_permute4x64_epi64(_mm256_packus_epi32(a.x, a.x), 0x08);
  return {_mm256_cvtph_ps(_mm256_castsi256_si128(packed))};
}
FASTOPT_INLINE U32 to_half(F32 a) { return {_mm256_cvtepu16_epi32(_mm256_cvtps_ph(a.x, _MM_FROUND_TO_NEAREST_INT))}; }
// Store the low byte or half of each word, those of `a[0]` first.  Packing keeps to halves of a register; the
// permutation puts them in order.
FASTOPT_INLINE void store_low(const U32 (&a)[4], uint8_t* to) {
  const U32 low = U32::broadcast(0xFF);
  const __m256i first = _mm256_packus_epi32((a[0] & low).x, (a[1] & low).x);
  const __m256i second = _mm256_packus_epi32((a[2] & low).x, (a[3] & low).x);
  const __m256i order = _mm256_set_epi32(7, 3, 6, 2, 5, 1, 4, 0);
  const __m256i bytes = _mm256_permutevar8x32_epi32(_mm256_packus_epi16(first, second), order);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), bytes);
}
FASTOPT_INLINE __m128i low_halves(U32 a) {
  const __m256i even = _mm256_set_epi8(-1, -1, -1, -1, -1, -1, -1, -1, 13, 12, 9, 8, 5, 4, 1, 0,  //
                                       -1, -1, -1, -1, -1, -1, -1, -1, 13, 12, 9, 8, 5, 4, 1, 0);
  return _mm256_castsi256_si128(_mm256_permute4x64_epi64(_mm256_shuffle_epi8(a.x, even), 0x08));
}
// Store the upper half, or the second byte, of each word.
FASTOPT_INLINE void store_high(U32 a, uint16_t* to) {
  const __m256i odd = _mm256_set_epi8(-1, -1, -1, -1, -1, -1, -1, -1, 15, 14, 11, 10, 7, 6, 3, 2,  //
                                      -1, -1, -1, -1, -1, -1, -1, -1, 15, 14, 11, 10, 7, 6, 3, 2);
  const __m256i halves = _mm256_permute4x64_epi64(_mm256_shuffle_epi8(a.x, odd), 0x08);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm256_castsi256_si128(halves));
}
FASTOPT_INLINE void store_second(U32 a, uint8_t* to) {
  const __m256i second = _mm256_set_epi8(-1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, 13, 9, 5, 1,  //
                                         -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, 13, 9, 5, 1);
  const __m256i bytes = _mm256_shuffle_epi8(a.x, second);
  const __m128i both = _mm_unpacklo_epi32(_mm256_castsi256_si128(bytes), _mm256_extracti128_si256(bytes, 1));
  _mm_storel_epi64(reinterpret_cast<__m128i*>(to), both);
}
FASTOPT_INLINE void store_low(U32 a, uint16_t* to) { _mm_storeu_si128(reinterpret_cast<__m128i*>(to), low_halves(a)); }
FASTOPT_INLINE void store_low(U32 a, uint8_t* to) {
  const __m128i low = _mm_and_si128(low_halves(a), _mm_set1_epi16(0xFF));
  _mm_storel_epi64(reinterpret_cast<__m128i*>(to), _mm_packus_epi16(low, low));
}
// Stores the low half of each word, past the caches if `stream`.  That needs the alignment of a whole vector, and
// drain() afterwards.
FASTOPT_INLINE void store_halves(U32 a, uint16_t* to, bool stream) {
  auto* const at = reinterpret_cast<__m128i*>(to);
  const __m128i halves = low_halves(a);
  stream ? _mm_stream_si128(at, halves) : _mm_storeu_si128(at, halves);
}

}  // namespace fastopt::FASTOPT_ISA
