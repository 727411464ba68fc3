// Functions that the host and a GPU both run.
#pragma once

#include <stdint.h>

#ifdef __CUDACC__
#define FASTOPT_PORTABLE __device__ __forceinline__
#else
#include <math.h>
#define FASTOPT_PORTABLE inline
#endif
