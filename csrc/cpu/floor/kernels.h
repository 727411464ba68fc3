// The floor's kernels of one instruction set: the yardstick of benchmarks, which no step uses.
#pragma once
#include <stdint.h>

#include "cpu/loops/kernel.h"

namespace fastopt {

struct FloorKernels {
  Kernel read[2];                                         // [dtype]
  void (*pass[2][2])(const Piece& piece, int32_t slots);  // [with stages][dtype]
  float (*touch)(void* data, int64_t bytes, bool written);
};

}  // namespace fastopt
