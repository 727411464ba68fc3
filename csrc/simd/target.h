// The instruction set that a file is compiled for.  FASTOPT_ISA names the set and its namespace.  The build defines it;
// an editor that opens a header alone sees the header's own set, or plain C++.
#pragma once
#include <stdint.h>

#ifdef __CUDACC__
#include "cuda/device.h"
#endif

#ifndef FASTOPT_ISA
#define FASTOPT_ISA scalar
#endif

#ifndef FASTOPT_INLINE  // under sanitizers inlining everything takes minutes
#define FASTOPT_INLINE inline __attribute__((always_inline))
#endif
