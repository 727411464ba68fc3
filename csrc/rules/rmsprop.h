// RMSprop: Tieleman & Hinton, Neural Networks for Machine Learning, lecture 6.5 (2012).  Its centered variant: Graves
// (arXiv:1308.0850).
#pragma once
#include "step/direction.h"

namespace fastopt::FASTOPT_ISA {

struct rmsprop {
  template <class V> static FASTOPT_INLINE V divided(const Scalars<rmsprop, V>& s, V g, V square) {
    return g / (sqrt(square + s.inside_root) + s.outside_root);
  }

  template <class V> static FASTOPT_INLINE V scaled(const Scalars<rmsprop, V>& s, V g, V& square_avg) {
    square_avg = fma(s.gain * g, g, s.decay * square_avg);
    return divided(s, g, square_avg);
  }

  template <class V>
  static FASTOPT_INLINE V standardized(const Scalars<rmsprop, V>& s, V g, V& square_avg, V& grad_avg) {
    square_avg = fma(s.gain * g, g, s.decay * square_avg);
    grad_avg = lerp(grad_avg, g, s.gain);
    // Under a steady gradient the variance is 0 except for rounding.  Its root must not become NaN, nor a divisor that
    // is far too small, so the variance is held at a share of square_avg or more.  A variance_share below 0 stands for
    // the least share that the arithmetic can tell from 0.
    const V zero = V::broadcast(0);
    const V share = select(less(s.variance_share, zero), V::broadcast(kResolution<V>), s.variance_share);
    const V least = select(equal(share, zero), zero, share * square_avg);  // 0*Inf would be NaN
    return divided(s, g, max(fnma(grad_avg, grad_avg, square_avg), least));
  }

  template <class V> static FASTOPT_INLINE Direction<V> roll(const Scalars<rmsprop, V>& s, V step, V& buffer) {
    buffer = fma(s.buffer_gain, step, s.buffer_decay * buffer);
    return {s.buffer_step, buffer};
  }

  template <class V> static FASTOPT_INLINE Direction<V> plain(const Scalars<rmsprop, V>& s, V g, V& square_avg) {
    return {s.step_size, scaled(s, g, square_avg)};
  }

  template <class V>
  static FASTOPT_INLINE Direction<V> heavy_ball(const Scalars<rmsprop, V>& s, V g, V& square_avg, V& buffer) {
    return roll(s, scaled(s, g, square_avg), buffer);
  }

  template <class V>
  static FASTOPT_INLINE Direction<V> centered(const Scalars<rmsprop, V>& s, V g, V& square_avg, V& grad_avg) {
    return {s.step_size, standardized(s, g, square_avg, grad_avg)};
  }

  template <class V>
  static FASTOPT_INLINE Direction<V> centered_heavy_ball(const Scalars<rmsprop, V>& s, V g, V& square_avg, V& grad_avg,
                                                         V& buffer) {
    return roll(s, standardized(s, g, square_avg, grad_avg), buffer);
  }
};

}  // namespace fastopt::FASTOPT_ISA
