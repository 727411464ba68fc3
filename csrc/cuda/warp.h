// The 32 threads that share a tile.
#pragma once
#include "cuda/device.h"

namespace fastopt::cuda {

constexpr int kLanes = 32;
constexpr unsigned kEveryLane = ~0U;

FASTOPT_INLINE int lane() { return static_cast<int>(threadIdx.x % kLanes); }
FASTOPT_INLINE int warp() { return static_cast<int>(threadIdx.x / kLanes); }
FASTOPT_INLINE int warps() { return static_cast<int>(blockDim.x / kLanes); }

// Every lane gets the result.
template <class T, class Combine> FASTOPT_INLINE T reduced(T value, Combine combine) {
#pragma unroll
  for (int apart = kLanes / 2; apart > 0; apart /= 2) value = combine(value, __shfl_xor_sync(kEveryLane, value, apart));
  return value;
}

}  // namespace fastopt::cuda
