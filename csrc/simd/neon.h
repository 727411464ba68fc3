// V for 64-bit ARM's NEON: 4 float32 or 2 float64.
#pragma once
#include <arm_neon.h>

#ifndef FASTOPT_ISA
#define FASTOPT_ISA neon
#endif
#include "simd/target.h"

#define FASTOPT_ISA_NAME "neon"

namespace fastopt::FASTOPT_ISA {

template <class T> struct Vec;

template <> struct Vec<float> {
  using Element = float;
  using Mask = uint32x4_t;
  static constexpr int width = 4;
  float32x4_t x;
  static FASTOPT_INLINE Vec broadcast(double d) { return {vdupq_n_f32(static_cast<float>(d))}; }
  static FASTOPT_INLINE Vec load(const float* from) { return {vld1q_f32(from)}; }
  FASTOPT_INLINE void store(float* to) const { vst1q_f32(to, x); }
};
using F32 = Vec<float>;

FASTOPT_INLINE F32 operator+(F32 a, F32 b) { return {vaddq_f32(a.x, b.x)}; }
FASTOPT_INLINE F32 operator-(F32 a, F32 b) { return {vsubq_f32(a.x, b.x)}; }
FASTOPT_INLINE F32 operator*(F32 a, F32 b) { return {vmulq_f32(a.x, b.x)}; }
FASTOPT_INLINE F32 operator/(F32 a, F32 b) { return {vdivq_f32(a.x, b.x)}; }
FASTOPT_INLINE F32 fma(F32 a, F32 b, F32 c) { return {vfmaq_f32(c.x, a.x, b.x)}; }
FASTOPT_INLINE F32 fnma(F32 a, F32 b, F32 c) { return {vfmsq_f32(c.x, a.x, b.x)}; }
FASTOPT_INLINE F32 sqrt(F32 a) { return {vsqrtq_f32(a.x)}; }
FASTOPT_INLINE F32 abs(F32 a) { return {vabsq_f32(a.x)}; }
// `a` with the sign of `b`.
FASTOPT_INLINE F32 copy_sign(F32 a, F32 b) { return {vbslq_f32(vdupq_n_u32(0x80000000), b.x, a.x)}; }
FASTOPT_INLINE uint32x4_t less(F32 a, F32 b) { return vcltq_f32(a.x, b.x); }
FASTOPT_INLINE uint32x4_t equal(F32 a, F32 b) { return vceqq_f32(a.x, b.x); }
FASTOPT_INLINE F32 select(uint32x4_t mask, F32 a, F32 b) { return {vbslq_f32(mask, a.x, b.x)}; }
// The larger and the smaller of two; `a` if they are equal or either is NaN.
FASTOPT_INLINE F32 larger(F32 a, F32 b) { return select(less(a, b), b, a); }
FASTOPT_INLINE F32 min(F32 a, F32 b) { return select(less(b, a), b, a); }
// `a`, or +0 if `a` is a zero or a denormal.
FASTOPT_INLINE F32 flushed(F32 a) {
  const uint32x4_t bits = vreinterpretq_u32_f32(a.x), normal = vtstq_u32(bits, vdupq_n_u32(0x7F800000));
  return {vreinterpretq_f32_u32(vandq_u32(bits, normal))};
}

FASTOPT_INLINE void drain() {}

template <> struct Vec<double> {
  using Element = double;
  using Mask = uint64x2_t;
  static constexpr int width = 2;
  float64x2_t x;
  static FASTOPT_INLINE Vec broadcast(double d) { return {vdupq_n_f64(d)}; }
  static FASTOPT_INLINE Vec load(const double* from) { return {vld1q_f64(from)}; }
  FASTOPT_INLINE void store(double* to) const { vst1q_f64(to, x); }
};
using F64 = Vec<double>;

FASTOPT_INLINE F64 operator+(F64 a, F64 b) { return {vaddq_f64(a.x, b.x)}; }
FASTOPT_INLINE F64 operator-(F64 a, F64 b) { return {vsubq_f64(a.x, b.x)}; }
FASTOPT_INLINE F64 operator*(F64 a, F64 b) { return {vmulq_f64(a.x, b.x)}; }
FASTOPT_INLINE F64 operator/(F64 a, F64 b) { return {vdivq_f64(a.x, b.x)}; }
FASTOPT_INLINE F64 fma(F64 a, F64 b, F64 c) { return {vfmaq_f64(c.x, a.x, b.x)}; }
FASTOPT_INLINE F64 fnma(F64 a, F64 b, F64 c) { return {vfmsq_f64(c.x, a.x, b.x)}; }
FASTOPT_INLINE F64 sqrt(F64 a) { return {vsqrtq_f64(a.x)}; }
FASTOPT_INLINE F64 abs(F64 a) { return {vabsq_f64(a.x)}; }
FASTOPT_INLINE F64 copy_sign(F64 a, F64 b) { return {vbslq_f64(vdupq_n_u64(0x8000000000000000), b.x, a.x)}; }
FASTOPT_INLINE uint64x2_t less(F64 a, F64 b) { return vcltq_f64(a.x, b.x); }
FASTOPT_INLINE uint64x2_t equal(F64 a, F64 b) { return vceqq_f64(a.x, b.x); }
FASTOPT_INLINE F64 select(uint64x2_t mask, F64 a, F64 b) { return {vbslq_f64(mask, a.x, b.x)}; }
FASTOPT_INLINE F64 larger(F64 a, F64 b) { return select(less(a, b), b, a); }
FASTOPT_INLINE F64 min(F64 a, F64 b) { return select(less(b, a), b, a); }
FASTOPT_INLINE F64 flushed(F64 a) {
  const uint64x2_t bits = vreinterpretq_u64_f64(a.x), normal = vtstq_u64(bits, vdupq_n_u64(0x7FF0000000000000));
  return {vreinterpretq_f64_u64(vandq_u64(bits, normal))};
}

FASTOPT_INLINE void widen(F32 a, F64* to) {
  to[0] = {vcvt_f64_f32(vget_low_f32(a.x))};
  to[1] = {vcvt_high_f64_f32(a.x)};
}
FASTOPT_INLINE void widen(F64 a, F64* to) { to[0] = a; }

}  // namespace fastopt::FASTOPT_ISA
