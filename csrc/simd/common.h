// Operations that every V has by way of the others.  A maximum is a compare and a select, so that NaN behaves alike
// everywhere.
namespace fastopt::FASTOPT_ISA {

// Where one is NaN: `a`.
template <class V> FASTOPT_INLINE V max(V a, V b) { return select(less(a, b), b, a); }

// -1, 1, or `a` itself where it is a zero or NaN.
template <class V> FASTOPT_INLINE V sign(V a) {
  const V zero = V::broadcast(0);
  return select(less(zero, a), V::broadcast(1), select(less(a, zero), V::broadcast(-1), a));
}

// The average moved towards `value` by the share `gain` of the way.
template <class V> FASTOPT_INLINE V lerp(V average, V value, V gain) { return fma(gain, value - average, average); }

}  // namespace fastopt::FASTOPT_ISA
