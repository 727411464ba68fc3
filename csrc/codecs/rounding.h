// Encodes a parameter into its format.
#pragma once
#include "simd/vec.h"

namespace fastopt::FASTOPT_ISA {

// A word of noise that rounds to nearest.
constexpr uint32_t kHalfTurn = 0x80000000;

template <class Codec>
FASTOPT_INLINE void encode_parameter(F32 value, U32 word, bool stochastic, typename Codec::Data* to,
                                     typename Codec::Extra* extra) {
  if constexpr (Codec::kRounds) {
    if (!stochastic) return Codec::round(value, to, extra);
  }
  Codec::encode(value, stochastic ? word : U32::broadcast(kHalfTurn), to, extra);
}

}  // namespace fastopt::FASTOPT_ISA
