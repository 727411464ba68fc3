// float32 as it is.
#pragma once
#include "codecs/bits.h"

namespace fastopt::FASTOPT_ISA {

struct Float32 {
  using Data = float;
  using Extra = None;
  static constexpr bool kRounds = true;

  static FASTOPT_INLINE F32 decode(const float* from, const None*) { return F32::load(from); }
  static FASTOPT_INLINE void encode(F32 value, U32, float* to, None*) { value.store(to); }
  static FASTOPT_INLINE void round(F32 value, float* to, None*) { value.store(to); }
};

}  // namespace fastopt::FASTOPT_ISA
