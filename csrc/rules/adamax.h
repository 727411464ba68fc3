// Adamax: Kingma & Ba (arXiv:1412.6980), section 7.1.
#pragma once
#include "step/direction.h"

namespace fastopt::FASTOPT_ISA {

struct adamax {
  template <class V>
  static FASTOPT_INLINE Direction<V> plain(const Scalars<adamax, V>& s, V g, V& exp_avg, V& exp_inf) {
    exp_avg = lerp(exp_avg, g, s.gain1);
    exp_inf = max(abs(g) + s.inside_max, s.decay2 * exp_inf);
    return {s.step_size, exp_avg / (exp_inf + s.outside_max)};
  }
};

}  // namespace fastopt::FASTOPT_ISA
