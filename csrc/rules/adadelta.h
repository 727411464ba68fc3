// Adadelta: Zeiler (arXiv:1212.5701).  Two roots, since the root of the ratio would lose the smallest ratios to
// denormals.
#pragma once
#include "step/direction.h"

namespace fastopt::FASTOPT_ISA {

struct adadelta {
  template <class V>
  static FASTOPT_INLINE Direction<V> plain(const Scalars<adadelta, V>& s, V g, V& square_avg, V& acc_delta) {
    square_avg = fma(s.gain * g, g, s.decay * square_avg);
    const V delta = sqrt(acc_delta + s.inside_root) / sqrt(square_avg + s.inside_root) * g;
    acc_delta = fma(s.gain * delta, delta, s.decay * acc_delta);
    return {s.step_size, delta};
  }
};

}  // namespace fastopt::FASTOPT_ISA
