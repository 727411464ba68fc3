// How a grid of thread blocks goes through a line of tiles, and how it ends.
#pragma once
#include <stdint.h>

#include "cuda/table.h"
#include "cuda/tile.h"
#include "cuda/warp.h"

namespace fastopt::cuda {

// The index in the plan of the tensor at a place in the launch.
FASTOPT_INLINE int64_t index_of(const Launch& launch, int64_t place) {
  return launch.indices ? launch.indices[place] : place;
}

FASTOPT_INLINE void* gradient_of(const Launch& launch, int64_t index) {
  return launch.grads ? launch.grads[index] : launch.grad;
}

// The place of the last tensor that begins at a tile or before the tile.  Tries `known` first.
FASTOPT_INLINE int64_t place_of(const Launch& launch, int64_t tile, int64_t known) {
  const int64_t* const first = launch.first_tiles;
  if (known >= 0 && first[known] <= tile && tile < first[known + 1]) return known;
  int64_t low = 0, high = launch.tensor_count;
  while (high - low > 1) {
    const int64_t middle = (low + high) / 2;
    (first[middle] <= tile ? low : high) = middle;
  }
  return low;
}

// Calls enter(index) with all threads of the thread block before the first tile of a tensor.  Then calls visit(first
// element, window) with one warp for each block of FASTOPT_BLOCK elements that has elements of the step.
template <class Enter, class Visit>
FASTOPT_INLINE void for_each_tile(const Launch& launch, const Enter& enter, const Visit& visit) {
  int64_t current = -1;
  const auto take = [&](int64_t at) {
    const int64_t place = place_of(launch, at, current), index = index_of(launch, place);
    const int64_t before = (at - launch.first_tiles[place]) * kBlock, start = before + warp() * kBlock;
    const int64_t length = launch.tensors[index].length, end = launch.end < length ? launch.end : length;
    if (before >= end) return;  // padding
    if (place != current) enter(index);
    current = place;
    if (!gradient_of(launch, index)) return;
    const int64_t first = launch.begin > start ? launch.begin - start : 0;
    const int64_t last = end - start < kBlock ? end - start : kBlock;
    if (first < last) visit(start, Window{static_cast<int>(first), static_cast<int>(last)});
  };
  const int64_t span = launch.span > 0 ? launch.span : warps(), stride = gridDim.x * span;
  for (int64_t begin = launch.begin_tile + blockIdx.x * span; begin < launch.end_tile; begin += stride) {
    const int64_t end = begin + span < launch.end_tile ? begin + span : launch.end_tile;
    for (int64_t at = begin; at < end; at += warps()) take(at);
  }
}

// Whether this thread block is the last of the grid to get here.  The last one then sees all that the others wrote.
// The count heals itself: a launch that was cut short, or ran beside another, leaves a count below this launch's
// ticket.
FASTOPT_INLINE bool is_last(const Launch& launch) {
  __shared__ bool last;
  __syncthreads();
  if (threadIdx.x == 0) {
    auto* const done = reinterpret_cast<unsigned long long*>(&launch.control->done);
    __threadfence();
    atomicMax(done, static_cast<unsigned long long>(launch.ticket));
    last = atomicAdd(done, 1ULL) == launch.ticket + gridDim.x - 1;
    __threadfence();
  }
  __syncthreads();
  return last;
}

}  // namespace fastopt::cuda
