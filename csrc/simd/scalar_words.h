// U32 in plain C++: one word of 32 bits, for the codecs.
#pragma once
#include <stdint.h>

#include "simd/scalar.h"

namespace fastopt::FASTOPT_ISA {

using F32 = Vec<float>;

struct U32 {
  static constexpr int width = 1;
  uint32_t x;
  static FASTOPT_INLINE U32 broadcast(uint32_t w) { return {w}; }
  template <class T> static FASTOPT_INLINE U32 load(const T* from) { return {*from}; }
  // Loads signed numbers.
  static FASTOPT_INLINE U32 load_signed(const uint8_t* from) { return {(*from ^ 0x80U) - 0x80U}; }
  static FASTOPT_INLINE U32 load_signed(const uint16_t* from) { return {(*from ^ 0x8000U) - 0x8000U}; }
  static FASTOPT_INLINE U32 count() { return {0}; }
  FASTOPT_INLINE void store(uint32_t* to) const { *to = x; }
};

FASTOPT_INLINE U32 operator+(U32 a, U32 b) { return {a.x + b.x}; }
FASTOPT_INLINE U32 operator-(U32 a, U32 b) { return {a.x - b.x}; }
FASTOPT_INLINE U32 operator*(U32 a, U32 b) { return {a.x * b.x}; }
FASTOPT_INLINE U32 operator&(U32 a, U32 b) { return {a.x & b.x}; }
FASTOPT_INLINE U32 operator|(U32 a, U32 b) { return {a.x | b.x}; }
FASTOPT_INLINE U32 operator^(U32 a, U32 b) { return {a.x ^ b.x}; }
FASTOPT_INLINE U32 operator<<(U32 a, int bits) { return {a.x << bits}; }
FASTOPT_INLINE U32 operator>>(U32 a, int bits) { return {a.x >> bits}; }
FASTOPT_INLINE U32 min(U32 a, U32 b) { return a.x < b.x ? a : b; }
FASTOPT_INLINE U32 max(U32 a, U32 b) { return a.x < b.x ? b : a; }
// `a` as a signed number, raised to 0 from below if `b` is 0.
FASTOPT_INLINE U32 positive_where_zero(U32 b, U32 a) { return {b.x == 0 && a.x >> 31 ? 0 : a.x}; }
// `a` if b < limit, else 0.
FASTOPT_INLINE U32 where_below(U32 b, U32 limit, U32 a) { return {b.x < limit.x ? a.x : 0}; }
// `a` if `b` is not 0, else 0.
FASTOPT_INLINE U32 where_nonzero(U32 b, U32 a) { return {b.x ? a.x : 0}; }
FASTOPT_INLINE U32 select(bool mask, U32 a, U32 b) { return mask ? a : b; }
FASTOPT_INLINE U32 bits_of(F32 a) {
  U32 bits;
  __builtin_memcpy(&bits, &a, sizeof bits);
  return bits;
}
FASTOPT_INLINE F32 floats_of(U32 a) {
  F32 value;
  __builtin_memcpy(&value, &a, sizeof value);
  return value;
}
// Convert signed numbers; to_int truncates.
FASTOPT_INLINE F32 to_float(U32 a) { return {static_cast<float>(static_cast<int32_t>(a.x))}; }
FASTOPT_INLINE U32 to_int(F32 a) { return {static_cast<uint32_t>(static_cast<int32_t>(a.x))}; }

// Convert IEEE's 16 bits, in words of 32; to_half rounds to nearest even.
FASTOPT_INLINE F32 from_half(U32 a) {
  const uint32_t sign = (a.x & 0x8000) << 16, size = a.x & 0x7FFF;
  if (size >= 0x7C00) return floats_of({sign | (size << 13 & 0x7FFFFF) | (size > 0x7C00 ? 0x7FC00000U : 0x7F800000U)});
  if (size >= 0x0400) return floats_of({sign | ((size << 13) + 0x38000000)});
  return floats_of({sign | bits_of({static_cast<float>(size) * 0x1p-24F}).x});
}
FASTOPT_INLINE U32 to_half(F32 a) {
  const uint32_t sign = bits_of(a).x >> 16 & 0x8000;
  uint32_t size = bits_of(a).x & 0x7FFFFFFF;
  if (size > 0x7F800000) return {sign | 0x7E00 | (size >> 13 & 0x1FF)};
  if (size >= 0x47800000) return {sign | 0x7C00};  // from 2^16 on
  if (size < 0x38800000) {                         // below 2^-14 the sum with 1/2 rounds to a multiple of the smallest
    return {sign | (bits_of({__builtin_fabsf(a.x) + 0.5F}).x - 0x3F000000)};
  }
  size -= 0x38000000;  // the exponent's bias
  return {sign | (size + 0xFFF + (size >> 13 & 1)) >> 13};
}
// Store the low byte or half of each word, those of `a[0]` first.
template <class T> FASTOPT_INLINE void store_low(U32 a, T* to) { *to = static_cast<T>(a.x); }
// Store the upper half, or the second byte, of each word.
FASTOPT_INLINE void store_high(U32 a, uint16_t* to) { *to = static_cast<uint16_t>(a.x >> 16); }
FASTOPT_INLINE void store_second(U32 a, uint8_t* to) { *to = static_cast<uint8_t>(a.x >> 8); }
FASTOPT_INLINE void store_low(const U32 (&a)[4], uint8_t* to) {
  for (int k = 0; k < 4; ++k) store_low(a[k], to + k);
}

// Stores the low half of each word.
FASTOPT_INLINE void store_halves(U32 a, uint16_t* to, bool) { *to = static_cast<uint16_t>(a.x); }

}  // namespace fastopt::FASTOPT_ISA
