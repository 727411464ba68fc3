// Stochastic gradient descent: plain, heavy-ball momentum, Nesterov's accelerated gradient.
// Sutskever et al., On the importance of initialization and momentum in deep learning, ICML 2013.
// The first step's buffer, dampening and the place of lr are all in the scalars (sgd.py).
#pragma once
#include "step/direction.h"

namespace fastopt::FASTOPT_ISA {

struct sgd {
  template <class V> static FASTOPT_INLINE Direction<V> plain(const Scalars<sgd, V>& s, V g) {
    return {s.gradient_step, g};
  }

  template <class V> static FASTOPT_INLINE Direction<V> heavy_ball(const Scalars<sgd, V>& s, V g, V& buffer) {
    buffer = fma(s.buffer_gain, g, s.buffer_decay * buffer);
    return {s.buffer_step, buffer};
  }

  // Makes two updates, each with its rounding.
  template <class V> static FASTOPT_INLINE void accelerated(const Scalars<sgd, V>& s, V& p, V g, V& buffer) {
    const Direction<V> momentum = heavy_ball(s, g, buffer);  // buffer_step holds the factor momentum
    p = fnma(momentum.step, momentum.value, p);
    p = fnma(s.gradient_step, g, p);
  }
};

}  // namespace fastopt::FASTOPT_ISA
