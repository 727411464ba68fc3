// The choice of an instruction set at run time.
#pragma once
#include "cpu/loops/kernel.h"

namespace fastopt {

// The kernels that a step uses now.  Code that runs a kernel notes the very set that the kernel came from.
const KernelSet& active_kernels();

// Notes the instruction set that has just run.
void note_run(const KernelSet& set);

// Runs a kernel of a set.
inline void run(const KernelSet& set, Kernel kernel, const Piece& piece) {
  kernel(piece);
  note_run(set);
}

}  // namespace fastopt
