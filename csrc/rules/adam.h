// Adam, Kingma & Ba (arXiv:1412.6980), and AMSGrad, Reddi et al. (arXiv:1904.09237).
// AdamW is Adam after the stage of decoupled decay.
#pragma once
#include "step/direction.h"

namespace fastopt::FASTOPT_ISA {

struct adam {
  template <class V> static FASTOPT_INLINE void moments(const Scalars<adam, V>& s, V g, V& exp_avg, V& exp_avg_sq) {
    exp_avg = lerp(exp_avg, g, s.gain1);
    exp_avg_sq = fma(s.gain2 * g, g, s.decay2 * exp_avg_sq);
  }

  template <class V>
  static FASTOPT_INLINE Direction<V> plain(const Scalars<adam, V>& s, V g, V& exp_avg, V& exp_avg_sq) {
    moments(s, g, exp_avg, exp_avg_sq);
    const V root = sqrt(fma(exp_avg_sq, s.correction2, s.inside_root));
    return {s.step_size, exp_avg / (root + s.outside_root)};
  }

  template <class V>
  static FASTOPT_INLINE Direction<V> amsgrad(const Scalars<adam, V>& s, V g, V& exp_avg, V& exp_avg_sq,
                                             V& max_exp_avg_sq) {
    moments(s, g, exp_avg, exp_avg_sq);
    max_exp_avg_sq = max(max_exp_avg_sq, exp_avg_sq * s.max_scale);
    const V root = sqrt(fma(max_exp_avg_sq, s.root_scale, s.inside_root));
    return {s.step_size, exp_avg / (root + s.outside_root)};
  }
};

}  // namespace fastopt::FASTOPT_ISA
