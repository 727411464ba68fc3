// The read-only sweep of gradients before the update, which finds their norm and whether all elements are finite; and
// the loop that only clips gradients.  The sums are the CPU's: on 32 lanes within a block, exact over the blocks.
#pragma once
#include <stdint.h>

#include "cuda/codecs.h"
#include "cuda/grid.h"
#include "cuda/table.h"
#include "cuda/tile.h"
#include "cuda/warp.h"
#include "step/derive.h"
#include "step/exact_sum.h"
#include "step/stages.h"

namespace fastopt::cuda {

constexpr int kEachOfBlock = kBlock / kLanes;

FASTOPT_INLINE double squared_sum(const double (&values)[kEachOfBlock], int exponent) {
  double sum = 0;
#pragma unroll
  for (int k = 0; k < kEachOfBlock; ++k) {
    const double value = exponent == 0 ? values[k] : ldexp(values[k], -exponent);
    sum = __builtin_fma(value, value, sum);
  }
  return reduced(sum, [](double a, double b) { return a + b; });
}

FASTOPT_INLINE void add_exactly(uint64_t* limbs, const SumTerm& term) {
  for (int i = 0; i < 3; ++i) {
    if (term.parts[i]) atomicAdd(reinterpret_cast<unsigned long long*>(limbs + term.limb + i), term.parts[i]);
  }
}

// Writes the results of the measurement and clears it for the next.  Called by all threads of the last thread block.
FASTOPT_INLINE void conclude(const Launch& launch, uint64_t* limbs) {
  Control& control = *launch.control;
  for (int i = static_cast<int>(threadIdx.x); i < kSumLimbs; i += static_cast<int>(blockDim.x)) {
    limbs[i] = control.limbs[i];
    control.limbs[i] = 0;
  }
  __syncthreads();
  if (threadIdx.x != 0) return;
  const double root = sum_root(limbs);
  const double infinity = static_cast<double>(floats_of(U32::broadcast(kInf)).x);
  control.norm = control.nan        ? static_cast<double>(floats_of(U32::broadcast(kNaN)).x)
                 : control.infinite ? infinity
                                    : root;
  control.finite = !control.not_finite;
  control.norm_factor = norm_factor(launch.options, control.norm);
  control.skipped = launch.options.skip_nonfinite && !control.finite;
  control.nan = control.infinite = control.not_finite = 0;
}

FASTOPT_INLINE StageScalars gradient_scalars(const fastopt_options& options) {
  StageScalars scalars;
  scalars.grad_scale = options.grad_scale;
  scalars.clip_value = options.clip_value;
  return scalars;
}

template <class T, int kGradFormat> struct SweepLoop {
  using V = Vec<T>;
  using G = CodecOf<T, kGradFormat>;
  using Data = typename G::Data;
  static constexpr bool kIsDouble = sizeof(T) == sizeof(double);

  static FASTOPT_INLINE void sweep(const Launch& launch, const Data* grad, Window window, Exchange& exchange,
                                   uint64_t* limbs) {
    const GradientStages<V> stages(gradient_scalars(launch.options));
    Tile<Data, 1, kEachOfBlock> tile;  // element i belongs to lane i % 32
    tile.fetch(grad, window);
    tile.take(grad, window, exchange);
    double values[kEachOfBlock];
    bool finite = true;
    V most = V::broadcast(0);
#pragma unroll
    for (int k = 0; k < kEachOfBlock; ++k) {
      V g = stages.scaled(decoded<V, G>(tile.values[k]));
      finite = finite && g.x - g.x == 0;
      g = stages.clipped(g);
      most = max(abs(g), most);
      values[k] = static_cast<double>(g.x);
    }
    double sum = squared_sum(values, 0);
    int exponent = 0;
    if constexpr (kIsDouble) {
      const double largest = reduced(most.x, [](T a, T b) { return max(V{a}, V{b}).x; });
      const bool safe = (sum > 0x1p-900 && sum < 0x1p1000) || largest == 0 || !is_finite(largest);
      if (!safe) {
        exponent = ilogb(largest);
        sum = squared_sum(values, exponent);
      }
    }
    finite = __all_sync(kEveryLane, finite);
    if (lane() != 0) return;
    if (!finite) atomicOr(&launch.control->not_finite, 1U);
    if (is_finite(sum)) {
      add_exactly(limbs, sum_term(sum, 2 * exponent));
    } else {
      atomicOr(sum == sum ? &launch.control->infinite : &launch.control->nan, 1U);
    }
  }

  static FASTOPT_INLINE void run(const Launch& launch) {
    __shared__ Exchange exchanges[kLongest];
    __shared__ uint64_t limbs[kSumLimbs];
    for (int i = static_cast<int>(threadIdx.x); i < kSumLimbs; i += static_cast<int>(blockDim.x)) limbs[i] = 0;
    __syncthreads();
    const Data* grad = nullptr;
    for_each_tile(
        launch, [&](int64_t index) { grad = static_cast<const Data*>(gradient_of(launch, index)); },
        [&](int64_t start, Window window) { sweep(launch, grad + start, window, exchanges[warp()], limbs); });
    __syncthreads();
    for (int i = static_cast<int>(threadIdx.x); i < kSumLimbs; i += static_cast<int>(blockDim.x)) {
      if (limbs[i]) atomicAdd(reinterpret_cast<unsigned long long*>(launch.control->limbs + i), limbs[i]);
    }
    if (is_last(launch) && launch.ends) conclude(launch, limbs);
  }
};

// Scales and clips gradients in place.
template <class T, int kGradFormat> struct ClipLoop {
  using V = Vec<T>;
  using G = CodecOf<T, kGradFormat>;
  using Data = typename G::Data;

  static FASTOPT_INLINE void round(F64 value, double* to) { *to = value.x; }
  static FASTOPT_INLINE void round(F32 value, Data* to) { G::round(value, to, nullptr); }

  static FASTOPT_INLINE void run(const Launch& launch) {
    __shared__ Exchange exchanges[kLongest];
    if (launch.measured && launch.control->skipped) return;
    StageScalars scalars = gradient_scalars(launch.options);
    if (launch.measured) scalars.norm_factor = launch.control->norm_factor;
    const GradientStages<V> stages(scalars);
    Data* grad = nullptr;
    for_each_tile(
        launch, [&](int64_t index) { grad = static_cast<Data*>(gradient_of(launch, index)); },
        [&](int64_t start, Window window) {
          Tile<Data, kRunOf<V>, kEachOfBlock> tile;
          tile.fetch(grad + start, window);
          tile.take(grad + start, window, exchanges[warp()]);
#pragma unroll
          for (int k = 0; k < kEachOfBlock; ++k) round(stages.apply(decoded<V, G>(tile.values[k])), &tile.values[k]);
          tile.put(grad + start, window, exchanges[warp()]);
        });
  }
};

}  // namespace fastopt::cuda
