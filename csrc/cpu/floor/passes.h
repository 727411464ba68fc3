// The floor of a step: reads and writes the same arrays.  One addition keeps the compiler from dropping a read.
#pragma once
#include <stdint.h>

#include "codecs/copy.h"
#include "cpu/floor/kernels.h"
#include "cpu/loops/kernel.h"
#include "fastopt.h"
#include "simd/vec.h"

namespace fastopt::FASTOPT_ISA {

// Values move from each array to the next, so that no value grows however often the pass runs.
template <class V, bool kStaged, int kSlots> void floor_pass(const Piece& piece) {
  using T = typename V::Element;
  T* param = static_cast<T*>(piece.param);
  T* grad = static_cast<T*>(piece.grad);
  T* ema = static_cast<T*>(piece.ema);
  T* state[kSlots + 1];
  for (int k = 0; k < kSlots; ++k) state[k] = static_cast<T*>(piece.state[k]);
  int64_t at = 0;
  for (; at + V::width <= piece.length; at += V::width) {
    V previous = V::load(param + at);
    const V g = V::load(grad + at);
    for (int k = 0; k < kSlots; ++k) {
      const V own = V::load(state[k] + at);
      previous.store(state[k] + at);
      previous = own;
    }
    if constexpr (kStaged) {
      if (ema) {
        const V own = V::load(ema + at);
        previous.store(ema + at);
        previous = own;
      }
      if (piece.copy) copy_to(previous, piece.copy_dtype, piece.copy, at, false);
      if (piece.stages->zero_grad) g.store(grad + at);
    }
    (g + previous).store(param + at);
  }
  for (; at < piece.length; ++at) param[at] = grad[at];
}

// Passes over the first `slots` state arrays.
template <class V, bool kStaged, int kSlots = 0> void floor_over(const Piece& piece, int32_t slots) {
  if constexpr (kSlots < FASTOPT_MAX_SLOTS) {
    if (slots != kSlots) return floor_over<V, kStaged, kSlots + 1>(piece, slots);
  }
  floor_pass<V, kStaged, kSlots>(piece);
}

// The floor of a sweep: reads the gradients and adds them up.  The sum goes to piece.copy.
template <class V> void floor_read(const Piece& piece) {
  using T = typename V::Element;
  const T* grad = static_cast<const T*>(piece.grad);
  V sums[4] = {V::broadcast(0), V::broadcast(0), V::broadcast(0), V::broadcast(0)};
  for (int64_t at = 0; at + 4 * V::width <= piece.length; at += 4 * V::width) {
    for (int k = 0; k < 4; ++k) sums[k] = sums[k] + V::load(grad + at + k * V::width);
  }
  (sums[0] + sums[1] + (sums[2] + sums[3])).store(static_cast<T*>(piece.copy));
}

// The floor of an array in a format: reads its bytes and, if `written`, writes in the place of each vector an earlier
// one.
inline float touch_pass(void* data, int64_t bytes, bool written) {
  using V = Vec<float>;
  constexpr int64_t size = sizeof(float), kWidth = V::width;
  const auto skipped = static_cast<int64_t>(-reinterpret_cast<uintptr_t>(data) % size);  // bytes before the first float
  auto* floats = reinterpret_cast<float*>(static_cast<char*>(data) + skipped);
  const int64_t length = (bytes - skipped) / size;
  V sums[4] = {V::broadcast(0), V::broadcast(0), V::broadcast(0), V::broadcast(0)};
  for (int64_t at = 0; at + 4 * kWidth <= length; at += 4 * kWidth) {
    for (int64_t k = 0; k < 4; ++k) {
      const V own = V::load(floats + at + k * kWidth);
      if (written) {
        sums[k].store(floats + at + k * kWidth);
        sums[k] = own;
      } else {
        sums[k] = sums[k] + own;
      }
    }
  }
  V::Element each[V::width];
  (sums[0] + sums[1] + (sums[2] + sums[3])).store(each);
  return each[0];
}

constexpr FloorKernels floor_kernels = {
    {floor_read<Vec<float>>, floor_read<Vec<double>>},
    {{floor_over<Vec<float>, false>, floor_over<Vec<double>, false>},
     {floor_over<Vec<float>, true>, floor_over<Vec<double>, true>}},
    touch_pass,
};

}  // namespace fastopt::FASTOPT_ISA
