// V for AVX-512 (F): 16 float32 or 8 float64.
#pragma once
#include <immintrin.h>

#ifndef FASTOPT_ISA
#define FASTOPT_ISA avx512
#endif
#include "simd/target.h"

#define FASTOPT_ISA_NAME "avx512"

namespace fastopt::FASTOPT_ISA {

template <class T> struct Vec;

template <> struct Vec<float> {
  using Element = float;
  using Mask = __mmask16;
  static constexpr int width = 16;
  __m512 x;
  static FASTOPT_INLINE Vec broadcast(double d) { return {_mm512_set1_ps(static_cast<float>(d))}; }
  static FASTOPT_INLINE Vec load(const float* from) { return {_mm512_loadu_ps(from)}; }
  FASTOPT_INLINE void store(float* to) const { _mm512_storeu_ps(to, x); }
};
using F32 = Vec<float>;

FASTOPT_INLINE F32 operator+(F32 a, F32 b) { return {_mm512_add_ps(a.x, b.x)}; }
FASTOPT_INLINE F32 operator-(F32 a, F32 b) { return {_mm512_sub_ps(a.x, b.x)}; }
FASTOPT_INLINE F32 operator*(F32 a, F32 b) { return {_mm512_mul_ps(a.x, b.x)}; }
FASTOPT_INLINE F32 operator/(F32 a, F32 b) { return {_mm512_div_ps(a.x, b.x)}; }
FASTOPT_INLINE F32 fma(F32 a, F32 b, F32 c) { return {_mm512_fmadd_ps(a.x, b.x, c.x)}; }
FASTOPT_INLINE F32 fnma(F32 a, F32 b, F32 c) { return {_mm512_fnmadd_ps(a.x, b.x, c.x)}; }
FASTOPT_INLINE F32 sqrt(F32 a) { return {_mm512_sqrt_ps(a.x)}; }
// The larger and the smaller of two; `a` if they are equal or either is NaN.
FASTOPT_INLINE F32 larger(F32 a, F32 b) { return {_mm512_max_ps(b.x, a.x)}; }
FASTOPT_INLINE F32 min(F32 a, F32 b) { return {_mm512_min_ps(b.x, a.x)}; }
FASTOPT_INLINE F32 abs(F32 a) { return {_mm512_abs_ps(a.x)}; }
// `a` with the sign of `b`.
FASTOPT_INLINE F32 copy_sign(F32 a, F32 b) {
  const __m512i size = _mm512_castps_si512(a.x), sign = _mm512_castps_si512(b.x);
  return {_mm512_castsi512_ps(_mm512_ternarylogic_epi32(size, sign, _mm512_set1_epi32(INT32_MIN), 0xD8))};
}
FASTOPT_INLINE __mmask16 less(F32 a, F32 b) { return _mm512_cmp_ps_mask(a.x, b.x, _CMP_LT_OQ); }
FASTOPT_INLINE __mmask16 equal(F32 a, F32 b) { return _mm512_cmp_ps_mask(a.x, b.x, _CMP_EQ_OQ); }
FASTOPT_INLINE F32 select(__mmask16 mask, F32 a, F32 b) { return {_mm512_mask_blend_ps(mask, b.x, a.x)}; }
// `a`, or +0 if `a` is a zero or a denormal.
FASTOPT_INLINE F32 flushed(F32 a) {
  const __m512i exponent = _mm512_set1_epi32(0x7F800000);
  return select(_mm512_testn_epi32_mask(_mm512_castps_si512(a.x), exponent), F32::broadcast(0), a);
}

// Finishes the stores past the caches.
FASTOPT_INLINE void drain() { _mm_sfence(); }

template <> struct Vec<double> {
  using Element = double;
  using Mask = __mmask8;
  static constexpr int width = 8;
  __m512d x;
  static FASTOPT_INLINE Vec broadcast(double d) { return {_mm512_set1_pd(d)}; }
  static FASTOPT_INLINE Vec load(const double* from) { return {_mm512_loadu_pd(from)}; }
  FASTOPT_INLINE void store(double* to) const { _mm512_storeu_pd(to, x); }
};
using F64 = Vec<double>;

FASTOPT_INLINE F64 operator+(F64 a, F64 b) { return {_mm512_add_pd(a.x, b.x)}; }
FASTOPT_INLINE F64 operator-(F64 a, F64 b) { return {_mm512_sub_pd(a.x, b.x)}; }
FASTOPT_INLINE F64 operator*(F64 a, F64 b) { return {_mm512_mul_pd(a.x, b.x)}; }
FASTOPT_INLINE F64 operator/(F64 a, F64 b) { return {_mm512_div_pd(a.x, b.x)}; }
FASTOPT_INLINE F64 fma(F64 a, F64 b, F64 c) { return {_mm512_fmadd_pd(a.x, b.x, c.x)}; }
FASTOPT_INLINE F64 fnma(F64 a, F64 b, F64 c) { return {_mm512_fnmadd_pd(a.x, b.x, c.x)}; }
FASTOPT_INLINE F64 sqrt(F64 a) { return {_mm512_sqrt_pd(a.x)}; }
FASTOPT_INLINE F64 larger(F64 a, F64 b) { return {_mm512_max_pd(b.x, a.x)}; }
FASTOPT_INLINE F64 min(F64 a, F64 b) { return {_mm512_min_pd(b.x, a.x)}; }
FASTOPT_INLINE F64 abs(F64 a) { return {_mm512_abs_pd(a.x)}; }
FASTOPT_INLINE F64 copy_sign(F64 a, F64 b) {
  const __m512i size = _mm512_castpd_si512(a.x), sign = _mm512_castpd_si512(b.x);
  return {_mm512_castsi512_pd(_mm512_ternarylogic_epi64(size, sign, _mm512_set1_epi64(INT64_MIN), 0xD8))};
}
FASTOPT_INLINE __mmask8 less(F64 a, F64 b) { return _mm512_cmp_pd_mask(a.x, b.x, _CMP_LT_OQ); }
FASTOPT_INLINE __mmask8 equal(F64 a, F64 b) { return _mm512_cmp_pd_mask(a.x, b.x, _CMP_EQ_OQ); }
FASTOPT_INLINE F64 select(__mmask8 mask, F64 a, F64 b) { return {_mm512_mask_blend_pd(mask, b.x, a.x)}; }
FASTOPT_INLINE F64 flushed(F64 a) {
  const __m512i exponent = _mm512_set1_epi64(0x7FF0000000000000);
  return select(_mm512_testn_epi64_mask(_mm512_castpd_si512(a.x), exponent), F64::broadcast(0), a);
}

FASTOPT_INLINE void widen(F32 a, F64* to) {
  to[0] = {_mm512_cvtps_pd(_mm512_castps512_ps256(a.x))};
  to[1] = {_mm512_cvtps_pd(_mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(a.x), 1)))};
}
FASTOPT_INLINE void widen(F64 a, F64* to) { to[0] = a; }

}  // namespace fastopt::FASTOPT_ISA
