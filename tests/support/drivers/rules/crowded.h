// A rule with as many slots and running scalars as the table has room for.
#pragma once
#include "step/direction.h"

namespace fastopt::FASTOPT_ISA {

struct crowded {
  template <class V>
  static FASTOPT_INLINE Direction<V> plain(const Scalars<crowded, V>& s, V g, V& average, V& square, V& half, V& size,
                                           V& total, V& largest) {
    average = lerp(average, g, s.gain);
    square = fma(s.gain * g, g, s.decay * square);
    half = V::broadcast(0.5) * g;
    size = abs(g);
    total = total + g;
    largest = max(largest, size);
    return {s.step_size, (average + half + total) / (sqrt(square) + size + largest + V::broadcast(1))};
  }
};

}  // namespace fastopt::FASTOPT_ISA
