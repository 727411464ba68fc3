// Adagrad: Duchi, Hazan & Singer, JMLR 12 (2011) 2121-2159.
#pragma once
#include "step/direction.h"

namespace fastopt::FASTOPT_ISA {

struct adagrad {
  template <class V> static FASTOPT_INLINE Direction<V> plain(const Scalars<adagrad, V>& s, V g, V& sum) {
    sum = fma(g, g, sum);
    const V root = sqrt(sum + s.inside_root) + s.outside_root;
    // optax leaves p alone if the sum is 0, even with eps = 0.  For other forms no_update_at is -1, which no sum
    // equals.
    const V step = select(equal(sum, s.no_update_at), V::broadcast(0), g / root);
    return {s.step_size, step};
  }
};

}  // namespace fastopt::FASTOPT_ISA
