// bfloat16: the upper half of a float32.
#pragma once
#include "codecs/bits.h"

namespace fastopt::FASTOPT_ISA {

// Rounds to nearest even.
FASTOPT_INLINE U32 to_bfloat16(F32 value) {
  const U32 bits = bits_of(value), high = bits >> 16;
  const U32 rounded = (bits + U32::broadcast(0x7FFF) + (high & U32::broadcast(1))) >> 16;
  return select(equal(value, value), rounded, high | U32::broadcast(0x40));
}

template <bool kNonNegative> struct Bfloat16 {
  using Data = uint16_t;
  using Extra = None;
  static constexpr bool kRounds = true;  // has its own rounding to nearest, `round`

  // `lowest`, the lowest bit that is kept, if `value` is not 0, else 0.  A second moment that became 0 would be a
  // divisor of 0.
  static FASTOPT_INLINE U32 alive(F32 value, U32 lowest) { return where_nonzero(bits_of(value), lowest); }

  static FASTOPT_INLINE F32 decode(const uint16_t* from, const None*) { return floats_of(U32::load(from) << 16); }

  static FASTOPT_INLINE void encode(F32 value, U32 word, uint16_t* to, None*) {
    const U32 bits = noisy_bits<16>(value, word);
    store_high(kNonNegative ? max(bits, alive(value, U32::broadcast(0x10000))) : bits, to);
  }

  static FASTOPT_INLINE void round(F32 value, uint16_t* to, None*) {
    const U32 half = to_bfloat16(value);
    store_low(kNonNegative ? max(half, alive(value, U32::broadcast(1))) : half, to);
  }
};

}  // namespace fastopt::FASTOPT_ISA
