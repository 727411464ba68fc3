// Shared by the codecs: the bits of a float32, and the extra data that a format has beside its elements.
#pragma once
#include <stdint.h>

#include "simd/vec.h"

namespace fastopt::FASTOPT_ISA {

constexpr uint32_t kInf = 0x7F800000, kLargest = 0x7F7FFFFF, kSign = 0x80000000, kNaN = 0x7FC00000;

// The Extra of a format that has nothing beside its elements.
struct None {};
template <class Extra> inline constexpr bool kIsNone = false;
template <> inline constexpr bool kIsNone<None> = true;

// The extra data of the elements from `at` on.
template <class Extra> FASTOPT_INLINE Extra* beside(Extra* extra, int64_t at) { return extra + at; }
FASTOPT_INLINE const None* beside(const None* extra, int64_t) { return extra; }
FASTOPT_INLINE None* beside(None* extra, int64_t) { return extra; }

FASTOPT_INLINE uint32_t float_bits(float value) {
  uint32_t bits;
  __builtin_memcpy(&bits, &value, sizeof bits);
  return bits;
}

FASTOPT_INLINE U32 magnitude(U32 bits) { return bits & U32::broadcast(~kSign); }

// A value's bits plus noise in the lowest `kDropped` bits, which the caller then drops.  No finite value becomes Inf.
// A NaN becomes kNaN, without a sign.
template <int kDropped> FASTOPT_INLINE U32 noisy_bits(F32 value, U32 word) {
  const U32 bits = bits_of(value), limit = U32::broadcast(2 * (kInf - (1U << kDropped)));
  const U32 noise = where_below(bits + bits, limit, word >> (32 - kDropped));
  return select(equal(value, value), bits + noise, U32::broadcast(kNaN));
}

FASTOPT_INLINE U32 sign_of(F32 value) { return bits_of(value) & U32::broadcast(kSign); }

}  // namespace fastopt::FASTOPT_ISA
