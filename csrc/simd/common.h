// Operations of every V that follow from the others.  A maximum is a compare and a select, so that NaN behaves alike
// everywhere.
#pragma once
#include "simd/target.h"

namespace fastopt::FASTOPT_ISA {

// NaN if either is: a maximum that is carried on must not forget it.
template <class V> FASTOPT_INLINE V max(V a, V b) { return select(equal(b, b), select(less(a, b), b, a), b); }
// If either is NaN: `a`.
template <class V> FASTOPT_INLINE V min(V a, V b) { return select(less(b, a), b, a); }

// -1, 1, or `a` itself if it is a zero or NaN.
template <class V> FASTOPT_INLINE V sign(V a) {
  const V zero = V::broadcast(0);
  return select(less(zero, a), V::broadcast(1), select(less(a, zero), V::broadcast(-1), a));
}

// The average moved towards `value` by the share `gain` of the way, from the end that is nearer: from the other a small
// value would vanish beside a large average, even if it is to replace it.
template <class V> FASTOPT_INLINE V lerp(V average, V value, V gain) {
  const auto near = less(gain, V::broadcast(0.5));
  const V share = select(near, gain, gain - V::broadcast(1));
  return fma(share, value - average, select(near, average, value));
}

}  // namespace fastopt::FASTOPT_ISA
