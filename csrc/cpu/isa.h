// The choice of an instruction set at run time.
#pragma once
#include "kernel.h"

namespace fastopt {

// The kernels that a step uses now.
const KernelSet& active_kernels();

// Keeps what a kernel said of itself.
void note_run(const char* isa);

}  // namespace fastopt
