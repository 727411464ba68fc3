// V in plain C++: one lane.  A compiler without fused multiply-add calls the C library's, which is right and slow.
#pragma once
#include "simd/target.h"

#define FASTOPT_ISA_NAME "scalar"

namespace fastopt::FASTOPT_ISA {

template <class T> struct Vec {
  using Element = T;
  using Mask = bool;
  static constexpr int width = 1;
  T x;
  static FASTOPT_INLINE Vec broadcast(double d) { return {static_cast<T>(d)}; }
  static FASTOPT_INLINE Vec load(const T* from) { return {*from}; }
  FASTOPT_INLINE void store(T* to) const { *to = x; }
};

template <class T> FASTOPT_INLINE Vec<T> operator+(Vec<T> a, Vec<T> b) { return {a.x + b.x}; }
template <class T> FASTOPT_INLINE Vec<T> operator-(Vec<T> a, Vec<T> b) { return {a.x - b.x}; }
template <class T> FASTOPT_INLINE Vec<T> operator*(Vec<T> a, Vec<T> b) { return {a.x * b.x}; }
template <class T> FASTOPT_INLINE Vec<T> operator/(Vec<T> a, Vec<T> b) { return {a.x / b.x}; }
FASTOPT_INLINE Vec<float> fma(Vec<float> a, Vec<float> b, Vec<float> c) { return {__builtin_fmaf(a.x, b.x, c.x)}; }
FASTOPT_INLINE Vec<double> fma(Vec<double> a, Vec<double> b, Vec<double> c) { return {__builtin_fma(a.x, b.x, c.x)}; }
template <class T> FASTOPT_INLINE Vec<T> fnma(Vec<T> a, Vec<T> b, Vec<T> c) { return fma(Vec<T>{-a.x}, b, c); }
FASTOPT_INLINE Vec<float> sqrt(Vec<float> a) { return {__builtin_sqrtf(a.x)}; }
FASTOPT_INLINE Vec<double> sqrt(Vec<double> a) { return {__builtin_sqrt(a.x)}; }
FASTOPT_INLINE Vec<float> abs(Vec<float> a) { return {__builtin_fabsf(a.x)}; }
FASTOPT_INLINE Vec<double> abs(Vec<double> a) { return {__builtin_fabs(a.x)}; }
// `a` with the sign of `b`.
FASTOPT_INLINE Vec<float> copy_sign(Vec<float> a, Vec<float> b) { return {__builtin_copysignf(a.x, b.x)}; }
FASTOPT_INLINE Vec<double> copy_sign(Vec<double> a, Vec<double> b) { return {__builtin_copysign(a.x, b.x)}; }
template <class T> FASTOPT_INLINE bool less(Vec<T> a, Vec<T> b) { return a.x < b.x; }
template <class T> FASTOPT_INLINE bool equal(Vec<T> a, Vec<T> b) { return a.x == b.x; }
template <class T> FASTOPT_INLINE Vec<T> select(bool mask, Vec<T> a, Vec<T> b) { return mask ? a : b; }
// The larger and the smaller of two; `a` if they are equal or either is NaN.
template <class T> FASTOPT_INLINE Vec<T> larger(Vec<T> a, Vec<T> b) { return select(less(a, b), b, a); }
template <class T> FASTOPT_INLINE Vec<T> min(Vec<T> a, Vec<T> b) { return select(less(b, a), b, a); }
// `a`, or +0 if `a` is a zero or a denormal.
template <class T> FASTOPT_INLINE Vec<T> flushed(Vec<T> a) {
  constexpr double smallest_normal = sizeof(T) == sizeof(float) ? 0x1p-126 : 0x1p-1022;
  return select(less(abs(a), Vec<T>::broadcast(smallest_normal)), Vec<T>::broadcast(0), a);
}
FASTOPT_INLINE void drain() {}
template <class T> FASTOPT_INLINE void widen(Vec<T> a, Vec<double>* to) { to[0] = {a.x}; }

}  // namespace fastopt::FASTOPT_ISA
