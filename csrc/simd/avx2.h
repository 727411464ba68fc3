// V for AVX2 with FMA: 8 float32 or 4 float64.
#pragma once
#include <immintrin.h>

#ifndef FASTOPT_ISA
#define FASTOPT_ISA avx2
#endif
#include "simd/target.h"

#define FASTOPT_ISA_NAME "avx2"

namespace fastopt::FASTOPT_ISA {

template <class T> struct Vec;

template <> struct Vec<float> {
  using Element = float;
  using Mask = __m256;
  static constexpr int width = 8;
  __m256 x;
  static FASTOPT_INLINE Vec broadcast(double d) { return {_mm256_set1_ps(static_cast<float>(d))}; }
  static FASTOPT_INLINE Vec load(const float* from) { return {_mm256_loadu_ps(from)}; }
  FASTOPT_INLINE void store(float* to) const { _mm256_storeu_ps(to, x); }
};
using F32 = Vec<float>;

FASTOPT_INLINE F32 operator+(F32 a, F32 b) { return {_mm256_add_ps(a.x, b.x)}; }
FASTOPT_INLINE F32 operator-(F32 a, F32 b) { return {_mm256_sub_ps(a.x, b.x)}; }
FASTOPT_INLINE F32 operator*(F32 a, F32 b) { return {_mm256_mul_ps(a.x, b.x)}; }
FASTOPT_INLINE F32 operator/(F32 a, F32 b) { return {_mm256_div_ps(a.x, b.x)}; }
FASTOPT_INLINE F32 fma(F32 a, F32 b, F32 c) { return {_mm256_fmadd_ps(a.x, b.x, c.x)}; }
FASTOPT_INLINE F32 fnma(F32 a, F32 b, F32 c) { return {_mm256_fnmadd_ps(a.x, b.x, c.x)}; }
FASTOPT_INLINE F32 sqrt(F32 a) { return {_mm256_sqrt_ps(a.x)}; }
// The larger and the smaller of two; `a` if they are equal or either is NaN.
FASTOPT_INLINE F32 larger(F32 a, F32 b) { return {_mm256_max_ps(b.x, a.x)}; }
FASTOPT_INLINE F32 min(F32 a, F32 b) { return {_mm256_min_ps(b.x, a.x)}; }
FASTOPT_INLINE F32 abs(F32 a) { return {_mm256_andnot_ps(_mm256_set1_ps(-0.0F), a.x)}; }
// `a` with the sign of `b`.
FASTOPT_INLINE F32 copy_sign(F32 a, F32 b) {
  return {_mm256_or_ps(abs(a).x, _mm256_and_ps(_mm256_set1_ps(-0.0F), b.x))};
}
FASTOPT_INLINE __m256 less(F32 a, F32 b) { return _mm256_cmp_ps(a.x, b.x, _CMP_LT_OQ); }
FASTOPT_INLINE __m256 equal(F32 a, F32 b) { return _mm256_cmp_ps(a.x, b.x, _CMP_EQ_OQ); }
FASTOPT_INLINE F32 select(__m256 mask, F32 a, F32 b) { return {_mm256_blendv_ps(b.x, a.x, mask)}; }
// `a`, or +0 if `a` is a zero or a denormal.
FASTOPT_INLINE F32 flushed(F32 a) {
  const __m256i bits = _mm256_castps_si256(a.x), exponent = _mm256_and_si256(bits, _mm256_set1_epi32(0x7F800000));
  return {_mm256_castsi256_ps(_mm256_sign_epi32(bits, exponent))};  // times the sign of the exponent, 0 or 1
}

// Finishes the stores past the caches.
FASTOPT_INLINE void drain() { _mm_sfence(); }

template <> struct Vec<double> {
  using Element = double;
  using Mask = __m256d;
  static constexpr int width = 4;
  __m256d x;
  static FASTOPT_INLINE Vec broadcast(double d) { return {_mm256_set1_pd(d)}; }
  static FASTOPT_INLINE Vec load(const double* from) { return {_mm256_loadu_pd(from)}; }
  FASTOPT_INLINE void store(double* to) const { _mm256_storeu_pd(to, x); }
};
using F64 = Vec<double>;

FASTOPT_INLINE F64 operator+(F64 a, F64 b) { return {_mm256_add_pd(a.x, b.x)}; }
FASTOPT_INLINE F64 operator-(F64 a, F64 b) { return {_mm256_sub_pd(a.x, b.x)}; }
FASTOPT_INLINE F64 operator*(F64 a, F64 b) { return {_mm256_mul_pd(a.x, b.x)}; }
FASTOPT_INLINE F64 operator/(F64 a, F64 b) { return {_mm256_div_pd(a.x, b.x)}; }
FASTOPT_INLINE F64 fma(F64 a, F64 b, F64 c) { return {_mm256_fmadd_pd(a.x, b.x, c.x)}; }
FASTOPT_INLINE F64 fnma(F64 a, F64 b, F64 c) { return {_mm256_fnmadd_pd(a.x, b.x, c.x)}; }
FASTOPT_INLINE F64 sqrt(F64 a) { return {_mm256_sqrt_pd(a.x)}; }
FASTOPT_INLINE F64 larger(F64 a, F64 b) { return {_mm256_max_pd(b.x, a.x)}; }
FASTOPT_INLINE F64 min(F64 a, F64 b) { return {_mm256_min_pd(b.x, a.x)}; }
FASTOPT_INLINE F64 abs(F64 a) { return {_mm256_andnot_pd(_mm256_set1_pd(-0.0), a.x)}; }
FASTOPT_INLINE F64 copy_sign(F64 a, F64 b) {
  return {_mm256_or_pd(abs(a).x, _mm256_and_pd(_mm256_set1_pd(-0.0), b.x))};
}
FASTOPT_INLINE __m256d less(F64 a, F64 b) { return _mm256_cmp_pd(a.x, b.x, _CMP_LT_OQ); }
FASTOPT_INLINE __m256d equal(F64 a, F64 b) { return _mm256_cmp_pd(a.x, b.x, _CMP_EQ_OQ); }
FASTOPT_INLINE F64 select(__m256d mask, F64 a, F64 b) { return {_mm256_blendv_pd(b.x, a.x, mask)}; }
FASTOPT_INLINE F64 flushed(F64 a) { return {_mm256_andnot_pd(less(abs(a), F64::broadcast(0x1p-1022)), a.x)}; }

FASTOPT_INLINE void widen(F32 a, F64* to) {
  to[0] = {_mm256_cvtps_pd(_mm256_castps256_ps128(a.x))};
  to[1] = {_mm256_cvtps_pd(_mm256_extractf128_ps(a.x, 1))};
}
FASTOPT_INLINE void widen(F64 a, F64* to) { to[0] = a; }

}  // namespace fastopt::FASTOPT_ISA
