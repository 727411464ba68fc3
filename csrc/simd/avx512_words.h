// U32 for AVX-512 (F): 16 words of 32 bits, for the codecs.
#pragma once
#include <immintrin.h>
#include <stdint.h>

#include "simd/avx512.h"

namespace fastopt::FASTOPT_ISA {

struct U32 {
  static constexpr int width = 16;
  __m512i x;
  static FASTOPT_INLINE U32 broadcast(uint32_t w) { return {_mm512_set1_epi32(static_cast<int>(w))}; }
  static FASTOPT_INLINE U32 load(const uint32_t* from) { return {_mm512_loadu_si512(from)}; }
  static FASTOPT_INLINE U32 load(const uint16_t* from) {
    return {_mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)))};
  }
  static FASTOPT_INLINE U32 load(const uint8_t* from) {
    return {_mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)))};
  }
  // Loads signed numbers.
  static FASTOPT_INLINE U32 load_signed(const uint8_t* from) {
    return {_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)))};
  }
  static FASTOPT_INLINE U32 load_signed(const uint16_t* from) {
    return {_mm512_cvtepi16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)))};
  }
  static FASTOPT_INLINE U32 count() { return {_mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0)}; }
  FASTOPT_INLINE void store(uint32_t* to) const { _mm512_storeu_si512(to, x); }
};

FASTOPT_INLINE U32 operator+(U32 a, U32 b) { return {_mm512_add_epi32(a.x, b.x)}; }
FASTOPT_INLINE U32 operator-(U32 a, U32 b) { return {_mm512_sub_epi32(a.x, b.x)}; }
FASTOPT_INLINE U32 operator*(U32 a, U32 b) { return {_mm512_mullo_epi32(a.x, b.x)}; }
FASTOPT_INLINE U32 operator&(U32 a, U32 b) { return {_mm512_and_si512(a.x, b.x)}; }
FASTOPT_INLINE U32 operator|(U32 a, U32 b) { return {_mm512_or_si512(a.x, b.x)}; }
FASTOPT_INLINE U32 operator^(U32 a, U32 b) { return {_mm512_xor_si512(a.x, b.x)}; }
FASTOPT_INLINE U32 operator<<(U32 a, int bits) { return {_mm512_sll_epi32(a.x, _mm_cvtsi32_si128(bits))}; }
FASTOPT_INLINE U32 operator>>(U32 a, int bits) { return {_mm512_srl_epi32(a.x, _mm_cvtsi32_si128(bits))}; }
FASTOPT_INLINE U32 min(U32 a, U32 b) { return {_mm512_min_epu32(a.x, b.x)}; }
FASTOPT_INLINE U32 max(U32 a, U32 b) { return {_mm512_max_epu32(a.x, b.x)}; }
// `a` as a signed number, raised to 0 from below if `b` is 0.
FASTOPT_INLINE U32 positive_where_zero(U32 b, U32 a) {
  return {_mm512_mask_max_epi32(a.x, _mm512_testn_epi32_mask(b.x, b.x), a.x, _mm512_setzero_si512())};
}
// `a` if b < limit, else 0.
FASTOPT_INLINE U32 where_below(U32 b, U32 limit, U32 a) {
  return {_mm512_maskz_mov_epi32(_mm512_cmplt_epu32_mask(b.x, limit.x), a.x)};
}
// `a` if `b` is not 0, else 0.
FASTOPT_INLINE U32 where_nonzero(U32 b, U32 a) {
  return {_mm512_maskz_mov_epi32(_mm512_test_epi32_mask(b.x, b.x), a.x)};
}
FASTOPT_INLINE U32 select(__mmask16 mask, U32 a, U32 b) { return {_mm512_mask_blend_epi32(mask, b.x, a.x)}; }
FASTOPT_INLINE U32 bits_of(F32 a) { return {_mm512_castps_si512(a.x)}; }
FASTOPT_INLINE F32 floats_of(U32 a) { return {_mm512_castsi512_ps(a.x)}; }
// Convert signed numbers; to_int truncates.
FASTOPT_INLINE F32 to_float(U32 a) { return {_mm512_cvtepi32_ps(a.x)}; }
FASTOPT_INLINE U32 to_int(F32 a) { return {_mm512_cvttps_epi32(a.x)}; }
// Convert IEEE's 16 bits, in words of 32; to_half rounds to nearest even.
FASTOPT_INLINE F32 from_half(U32 a) { return {_mm512_cvtph_ps(_mm512_cvtepi32_epi16(a.x))}; }
FASTOPT_INLINE U32 to_half(F32 a) { return {_mm512_cvtepu16_epi32(_mm512_cvtps_ph(a.x, _MM_FROUND_TO_NEAREST_INT))}; }
// Store the low byte or half of each word, those of `a[0]` first.
FASTOPT_INLINE void store_low(const U32 (&a)[4], uint8_t* to) {
  for (int64_t k = 0; k < 4; ++k) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to + 16 * k), _mm512_cvtepi32_epi8(a[k].x));
  }
}
// Store the upper half, or the second byte, of each word.
FASTOPT_INLINE void store_high(U32 a, uint16_t* to) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm512_cvtepi32_epi16(_mm512_srli_epi32(a.x, 16)));
}
FASTOPT_INLINE void store_second(U32 a, uint8_t* to) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm512_cvtepi32_epi8(_mm512_srli_epi32(a.x, 8)));
}
FASTOPT_INLINE void store_low(U32 a, uint8_t* to) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm512_cvtepi32_epi8(a.x));
}
FASTOPT_INLINE void store_low(U32 a, uint16_t* to) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm512_cvtepi32_epi16(a.x));
}
// Stores the low half of each word, past the caches if `stream`.  That needs the alignment of a whole vector, and
// drain() afterwards.
FASTOPT_INLINE void store_halves(U32 a, uint16_t* to, bool stream) {
  auto* const at = reinterpret_cast<__m256i*>(to);
  const __m256i halves = _mm512_cvtepi32_epi16(a.x);
  stream ? _mm256_stream_si256(at, halves) : _mm256_storeu_si256(at, halves);
}

}  // namespace fastopt::FASTOPT_ISA
