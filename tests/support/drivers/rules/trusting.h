// Momentum whose step the norms of each tensor's parameter and direction scale, as in LARS.
#pragma once
#include "step/direction.h"

namespace fastopt::FASTOPT_ISA {

struct trusting {
  template <class V> static FASTOPT_INLINE Direction<V> plain(const Scalars<trusting, V>& s, V g, V& buffer) {
    buffer = lerp(buffer, g, s.gain);
    return {s.step_size, buffer};
  }
};

}  // namespace fastopt::FASTOPT_ISA
