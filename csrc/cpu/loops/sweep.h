// The read-only sweep of gradients before the update: sums of squares, and whether all elements are finite.
#pragma once
#include <stdint.h>

#include "cpu/loops/kernel.h"
#include "fastopt.h"
#include "simd/vec.h"
#include "step/stages.h"

namespace fastopt::FASTOPT_ISA {

// Sums in float64 over blocks, on 32 lanes whatever the vector's width: element i of a block belongs to lane i modulo
// 32, and lanes are added in halves.
template <class T, bool kConditioned> struct SweepLoop {
  using V = Vec<T>;
  using W = Vec<double>;
  static constexpr int kBlock = FASTOPT_BLOCK, kLanes = 32, kSums = kLanes / W::width, kWide = V::width / W::width;
  static constexpr bool kIsDouble = sizeof(T) == sizeof(double);
  static constexpr int64_t kAhead = 4096 / sizeof(T);  // elements to prefetch; a tenth faster at 1e8

  const GradientStages<V> stages;
  V zeros = V::broadcast(0);  // the sum of g - g: NaN once a g was Inf or NaN
  V most = V::broadcast(0);

  FASTOPT_INLINE double squares(const T* from) {
    W sums[kSums];
    for (W& sum : sums) sum = W::broadcast(0);
    for (int i = 0; i < kBlock; i += kLanes) {
      for (int k = 0; k < kSums; k += kWide) {
        const T* at = from + i + k * W::width;
        __builtin_prefetch(at + kAhead);
        V g = V::load(at);
        if constexpr (kConditioned) g = stages.scaled(g);
        zeros = zeros + (g - g);
        if constexpr (kConditioned) g = stages.clipped(g);
        if constexpr (kIsDouble) most = max(abs(g), most);
        W wide[kWide];
        widen(g, wide);
        for (int w = 0; w < kWide; ++w) sums[k + w] = fma(wide[w], wide[w], sums[k + w]);
      }
    }
    for (int half = kSums / 2; half > 0; half /= 2) {
      for (int k = 0; k < half; ++k) sums[k] = sums[k] + sums[k + half];
    }
    double lanes[W::width];
    sums[0].store(lanes);
    for (int half = W::width / 2; half > 0; half /= 2) {
      for (int k = 0; k < half; ++k) lanes[k] = lanes[k] + lanes[k + half];
    }
    return lanes[0];
  }

  FASTOPT_INLINE double take_largest() {
    T each[V::width], result = 0;
    most.store(each);
    most = V::broadcast(0);
    for (int k = 0; k < V::width; ++k) {
      if (each[k] != each[k]) return each[k];
      if (result < each[k]) result = each[k];
    }
    return result;
  }

  FASTOPT_INLINE void block(const T* from, const Sweep& sweep, int64_t index) {
    sweep.squares[index] = squares(from);
    if constexpr (kIsDouble) sweep.largest[index] = take_largest();
  }

  static bool run(const Sweep& sweep) {
    StageScalars scalars;
    scalars.grad_scale = sweep.grad_scale;
    scalars.clip_value = sweep.clip_value;
    SweepLoop loop{GradientStages<V>(scalars)};
    const T* grad = static_cast<const T*>(sweep.grad);
    int64_t at = 0, index = 0;
    for (; at + kBlock <= sweep.length; at += kBlock) loop.block(grad + at, sweep, index++);
    if (at < sweep.length) {
      T padded[kBlock] = {};
      for (int64_t i = at; i < sweep.length; ++i) padded[i - at] = grad[i];
      loop.block(padded, sweep, index);
    }
    T each[V::width];
    loop.zeros.store(each);
    bool finite = true;
    for (int k = 0; k < V::width; ++k) finite = finite && each[k] == 0;
    return finite;
  }
};

template <class T> bool sweep_pass(const Sweep& sweep) {
  const bool conditioned = sweep.grad_scale != 1 || sweep.clip_value != 0;
  return conditioned ? SweepLoop<T, true>::run(sweep) : SweepLoop<T, false>::run(sweep);
}

// Scales and clips gradients in place.
template <class V> void clip_pass(const Piece& piece) {
  using T = typename V::Element;
  const GradientStages<V> stages(*piece.stages);
  T* grad = static_cast<T*>(piece.grad);
  int64_t at = 0;
  for (; at + V::width <= piece.length; at += V::width) stages.apply(V::load(grad + at)).store(grad + at);
  if (at < piece.length) {
    T padded[V::width] = {};
    for (int64_t i = at; i < piece.length; ++i) padded[i - at] = grad[i];
    stages.apply(V::load(padded)).store(padded);
    for (int64_t i = at; i < piece.length; ++i) grad[i] = padded[i - at];
  }
}

}  // namespace fastopt::FASTOPT_ISA
