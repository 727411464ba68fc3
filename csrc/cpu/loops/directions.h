// The first pass over a tensor whose rule has a factor.  Writes parameter and direction of every element, as the update
// will see them, to scratch, and nothing else.
#pragma once
#include <stdint.h>

#include "cpu/loops/kernel.h"
#include "simd/vec.h"
#include "step/stages.h"
#include "step/variant.h"

namespace fastopt::FASTOPT_ISA {

template <class Variant, class V, StageLevel kLevel> struct DirectionLoop {
  using T = typename V::Element;
  static constexpr int kSlots = Variant::slots;

  const typename Variant::template ScalarsOf<V> scalars;
  const Stages<V, kLevel> stages;

  FASTOPT_INLINE void tile(const T* const* from, int64_t at, T* param, T* direction) const {
    V p = V::load(from[0] + at), g = V::load(from[1] + at), state[kSlots + 1];
    for (int k = 0; k < kSlots; ++k) state[k] = V::load(from[2 + k] + at);
    if constexpr (kLevel != kBare) stages.before(p, g);
    p.store(param);
    direction_of<Variant>(scalars, g, state).store(direction);
  }

  static void run(const Piece& piece, void* param, void* direction) {
    const DirectionLoop loop{typename Variant::template ScalarsOf<V>(piece.scalars), Stages<V, kLevel>(*piece.stages)};
    auto *p = static_cast<T*>(param), *d = static_cast<T*>(direction);
    const T* from[2 + kSlots] = {static_cast<const T*>(piece.param), static_cast<const T*>(piece.grad)};
    for (int k = 0; k < kSlots; ++k) from[2 + k] = static_cast<const T*>(piece.state[k]);
    int64_t at = 0;
    for (; at + V::width <= piece.length; at += V::width) loop.tile(from, at, p + at, d + at);
    if (at == piece.length) return;
    T padded[2 + kSlots][V::width] = {}, last_p[V::width], last_d[V::width];
    for (int a = 0; a < 2 + kSlots; ++a) {
      for (int64_t i = at; i < piece.length; ++i) padded[a][i - at] = from[a][i];
      from[a] = padded[a];
    }
    loop.tile(from, 0, last_p, last_d);
    for (int64_t i = at; i < piece.length; ++i) p[i] = last_p[i - at], d[i] = last_d[i - at];
  }
};

// The loop's kernel for a variant whose rule has a factor, else nullptr.
template <class Variant, class V, StageLevel kLevel> constexpr DirectionKernel direction_kernel() {
  if constexpr (Variant::template ScalarsOf<V>::has_factor) return DirectionLoop<Variant, V, kLevel>::run;
  return nullptr;
}

}  // namespace fastopt::FASTOPT_ISA
