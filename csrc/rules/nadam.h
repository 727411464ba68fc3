// NAdam: Dozat, Incorporating Nesterov momentum into Adam, ICLR 2016 workshop.
// The schedule of mu and its products are in the scalars (nadam.py).
#pragma once
#include "step/direction.h"

namespace fastopt::FASTOPT_ISA {

struct nadam {
  template <class V>
  static FASTOPT_INLINE Direction<V> plain(const Scalars<nadam, V>& s, V g, V& exp_avg, V& exp_avg_sq) {
    exp_avg = lerp(exp_avg, g, s.gain1);
    exp_avg_sq = fma(s.gain2 * g, g, s.decay2 * exp_avg_sq);
    const V root = sqrt(fma(exp_avg_sq, s.correction2, s.inside_root)) + s.outside_root;
    return {V::broadcast(1), fma(s.momentum_step, exp_avg, s.gradient_step * g) / root};
  }
};

}  // namespace fastopt::FASTOPT_ISA
