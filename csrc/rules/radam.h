// RAdam: Liu et al. (arXiv:1908.03265).  Whether and how much to rectify is in the scalars (radam.py).
#pragma once
#include "step/direction.h"

namespace fastopt::FASTOPT_ISA {

struct radam {
  template <class V>
  static FASTOPT_INLINE Direction<V> plain(const Scalars<radam, V>& s, V g, V& exp_avg, V& exp_avg_sq) {
    exp_avg = lerp(exp_avg, g, s.gain1);
    exp_avg_sq = fma(s.gain2 * g, g, s.decay2 * exp_avg_sq);
    const V one = V::broadcast(1);
    const V root = sqrt(fma(exp_avg_sq, s.correction2, s.inside_root)) + s.outside_root;
    return {s.step_size, exp_avg / select(equal(s.rectified, one), root, one)};
  }
};

}  // namespace fastopt::FASTOPT_ISA
