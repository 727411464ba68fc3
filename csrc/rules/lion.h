// Lion: Chen et al. (arXiv:2302.06675).
#pragma once
#include "step/direction.h"

namespace fastopt::FASTOPT_ISA {

struct lion {
  template <class V> static FASTOPT_INLINE Direction<V> plain(const Scalars<lion, V>& s, V g, V& exp_avg) {
    const V direction = sign(fma(s.gain1, g, s.decay1 * exp_avg));
    exp_avg = lerp(exp_avg, g, s.gain2);
    return {s.step_size, direction};
  }
};

}  // namespace fastopt::FASTOPT_ISA
