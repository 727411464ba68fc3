// The noise of stochastic rounding (docs/formats.md): a word for each element.  Each step and stream adds its turn to
// the words.
#pragma once
#include "simd/vec.h"

namespace fastopt::FASTOPT_ISA {

constexpr uint32_t kStride = 0x9E3779B9;

FASTOPT_INLINE U32 scrambled(U32 x) {
  x = (x ^ (x >> 16)) * U32::broadcast(0x7FEB352D);
  return (x ^ (x >> 15)) * U32::broadcast(0x846CA68B);
}

// The words of consecutive elements, a vector at a time.
struct Noise {
  U32 next;

  FASTOPT_INLINE explicit Noise(uint32_t start)
      : next((U32::broadcast(start) + U32::count()) * U32::broadcast(kStride)) {}

  FASTOPT_INLINE U32 words() {
    const U32 result = scrambled(next);
    next = next + U32::broadcast(U32::width * kStride);
    return result;
  }
};

}  // namespace fastopt::FASTOPT_ISA
