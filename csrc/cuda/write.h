// Writes a few words from the host into memory on the device, in the order of the stream.  In a graph, each replay
// writes them again.
#pragma once
#include <stdint.h>

#include "cuda/device.h"

namespace fastopt::cuda {

struct Words {
  uint64_t* to;
  int64_t count;
  uint64_t words[500];
};

FASTOPT_INLINE void write(const Words& words) {
  for (int64_t i = threadIdx.x; i < words.count; i += blockDim.x) words.to[i] = words.words[i];
}

}  // namespace fastopt::cuda
