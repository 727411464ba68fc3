// Writes copies: stores V in memory of another dtype, rounded to nearest even.  float64 becomes 16 bits via float32, as
// in torch and NumPy's ml_dtypes.
#pragma once
#include <stdint.h>

#include "codecs/bfloat16.h"
#include "fastopt.h"
#include "simd/vec.h"

namespace fastopt::FASTOPT_ISA {

FASTOPT_INLINE int64_t copy_size(int32_t dtype) {
  return dtype == FASTOPT_FLOAT64 ? 8 : dtype == FASTOPT_FLOAT32 ? 4 : 2;
}

// The 16 bits of one element, computed with a whole vector.
template <bool kBfloat16> FASTOPT_INLINE uint16_t half_of(float value) {
  const F32 all = F32::broadcast(value);
  uint32_t words[U32::width];
  (kBfloat16 ? to_bfloat16(all) : to_half(all)).store(words);
  return static_cast<uint16_t>(words[0]);
}

// Stores `value` at index `at`.  If `stream`, 16-bit elements go past the caches.
template <class V> FASTOPT_INLINE void copy_to(V value, int32_t dtype, void* to, int64_t at, bool stream) {
  using T = typename V::Element;
  constexpr bool is_float = sizeof(T) == sizeof(float);
  if (dtype == (is_float ? FASTOPT_FLOAT32 : FASTOPT_FLOAT64)) return value.store(static_cast<T*>(to) + at);
  if constexpr (is_float) {
    if (dtype == FASTOPT_BFLOAT16) return store_halves(to_bfloat16(value), static_cast<uint16_t*>(to) + at, stream);
    if (dtype == FASTOPT_FLOAT16) return store_halves(to_half(value), static_cast<uint16_t*>(to) + at, stream);
  }
  T elements[V::width];
  value.store(elements);
  for (int i = 0; i < V::width; ++i) {
    const auto single = static_cast<float>(elements[i]);
    if (dtype == FASTOPT_FLOAT64) static_cast<double*>(to)[at + i] = static_cast<double>(elements[i]);
    if (dtype == FASTOPT_FLOAT32) static_cast<float*>(to)[at + i] = single;
    if (dtype == FASTOPT_BFLOAT16) static_cast<uint16_t*>(to)[at + i] = half_of<true>(single);
    if (dtype == FASTOPT_FLOAT16) static_cast<uint16_t*>(to)[at + i] = half_of<false>(single);
  }
}

}  // namespace fastopt::FASTOPT_ISA
