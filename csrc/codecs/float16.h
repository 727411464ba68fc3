// IEEE's binary16.
#pragma once
#include "codecs/bits.h"

namespace fastopt::FASTOPT_ISA {

struct Float16 {
  using Data = uint16_t;
  using Extra = None;
  static constexpr bool kRounds = true;

  static FASTOPT_INLINE F32 decode(const uint16_t* from, const None*) { return from_half(U32::load(from)); }

  static FASTOPT_INLINE void encode(F32 value, U32 word, uint16_t* to, None*) {
    const U32 size = magnitude(bits_of(value));
    const F32 number = floats_of(size);
    const auto is_tiny = less(number, F32::broadcast(0x1p-14)), is_finite = less(number, F32::broadcast(65520));
    const U32 below = word >> 19;
    const U32 normal = min(((size + below) >> 13) - U32::broadcast(0x1C000), U32::broadcast(0x7BFF));
    const F32 units = select(is_tiny, number, F32::broadcast(0)) * F32::broadcast(0x1p37);
    const U32 tiny = (to_int(units) + below) >> 13;
    const U32 beyond = select(equal(value, value), U32::broadcast(0x7C00), U32::broadcast(0x7E00));
    store_low(select(is_tiny, tiny, select(is_finite, normal, beyond)) | sign_of(value) >> 16, to);
  }

  static FASTOPT_INLINE void round(F32 value, uint16_t* to, None*) { store_low(to_half(value), to); }
};

}  // namespace fastopt::FASTOPT_ISA
