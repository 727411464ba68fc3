// The formats of copies: V -> memory of another type, rounded to nearest even; of float64 by way of float32, as torch
// and NumPy's ml_dtypes do it.
namespace fastopt::FASTOPT_ISA {

FASTOPT_INLINE int64_t copy_size(int32_t dtype) {
  return dtype == FASTOPT_FLOAT64 ? 8 : dtype == FASTOPT_FLOAT32 ? 4 : 2;
}

FASTOPT_INLINE uint32_t float_bits(float value) {
  uint32_t bits;
  __builtin_memcpy(&bits, &value, sizeof bits);
  return bits;
}

FASTOPT_INLINE uint16_t bfloat16_bits(float value) {
  const uint32_t bits = float_bits(value);
  if ((bits & 0x7FFFFFFF) > 0x7F800000) return static_cast<uint16_t>(bits >> 16 | 0x40);  // NaN stays one
  return static_cast<uint16_t>((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

FASTOPT_INLINE uint16_t float16_bits(float value) {
  const uint32_t bits = float_bits(value), sign = bits >> 16 & 0x8000;
  uint32_t size = bits & 0x7FFFFFFF;
  if (size >= 0x47800000) return static_cast<uint16_t>(sign | (size > 0x7F800000 ? 0x7E00 : 0x7C00));  // NaN; 2^16 on
  if (size < 0x38800000) {  // below 2^-14 the sum with 1/2 rounds to a multiple of the smallest denormal
    return static_cast<uint16_t>(sign | (float_bits(__builtin_fabsf(value) + 0.5F) - float_bits(0.5F)));
  }
  size -= 0x38000000;  // the exponent's bias
  return static_cast<uint16_t>(sign | (size + 0xFFF + (size >> 13 & 1)) >> 13);
}

// `stream`: 16-bit elements go past the caches.
template <class V> FASTOPT_INLINE void copy_to(V value, int32_t dtype, void* to, int64_t at, bool stream) {
  using T = typename V::Element;
  constexpr bool is_float = sizeof(T) == sizeof(float);
  if (dtype == (is_float ? FASTOPT_FLOAT32 : FASTOPT_FLOAT64)) return value.store(static_cast<T*>(to) + at);
  if constexpr (is_float && V::width > 1) {
    if (dtype == FASTOPT_BFLOAT16) return store_bfloat16(value, static_cast<uint16_t*>(to) + at, stream);
    if (dtype == FASTOPT_FLOAT16) return store_float16(value, static_cast<uint16_t*>(to) + at, stream);
  }
  T elements[V::width];
  value.store(elements);
  for (int i = 0; i < V::width; ++i) {
    const auto single = static_cast<float>(elements[i]);
    if (dtype == FASTOPT_FLOAT64) static_cast<double*>(to)[at + i] = static_cast<double>(elements[i]);
    if (dtype == FASTOPT_FLOAT32) static_cast<float*>(to)[at + i] = single;
    if (dtype == FASTOPT_BFLOAT16) static_cast<uint16_t*>(to)[at + i] = bfloat16_bits(single);
    if (dtype == FASTOPT_FLOAT16) static_cast<uint16_t*>(to)[at + i] = float16_bits(single);
  }
}

}  // namespace fastopt::FASTOPT_ISA
