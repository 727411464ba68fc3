// Operations of every V that follow from the others.
#pragma once
#include "simd/target.h"

namespace fastopt::FASTOPT_ISA {

// The distance from 1 to the next larger number.
template <class V>
inline constexpr double kResolution = sizeof(typename V::Element) == sizeof(float) ? 0x1p-23 : 0x1p-52;

// The larger of two, or NaN if either is: a maximum over many values must not forget a NaN.
template <class V> FASTOPT_INLINE V max(V a, V b) { return select(equal(b, b), larger(a, b), b); }

// -1, 1, or `a` itself if it is a zero or NaN.
template <class V> FASTOPT_INLINE V sign(V a) {
  return select(less(V::broadcast(0), abs(a)), copy_sign(V::broadcast(1), a), a);
}

// The average moved towards `value` by the share `gain` of the way, computed from the nearer end.  From the other end a
// small value would vanish beside a large average, even one that is to replace the average.
template <class V> FASTOPT_INLINE V lerp(V average, V value, V gain) {
  const auto near = less(gain, V::broadcast(0.5));
  const V share = select(near, gain, gain - V::broadcast(1));
  return fma(share, value - average, select(near, average, value));
}

}  // namespace fastopt::FASTOPT_ISA
