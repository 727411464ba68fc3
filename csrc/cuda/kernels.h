// Everything that a kernel for CUDA consists of.  python/fastopt/_cuda/kernels.py adds the lines that choose one.
#pragma once
#include "cuda/device.h"
#include "cuda/step.h"
#include "cuda/sweep.h"
#include "cuda/table.h"
#include "cuda/warp.h"
#include "cuda/write.h"
#include "step/variant.h"

#include "derived.h"  // generated, as is rules.h
#include "rules.h"

// For Blackwell and later the compiler needs a dozen registers more for the same code.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 1000
#define FASTOPT_RESIDENT(BLOCKS) ((BLOCKS) > 2 ? (BLOCKS) - 1 : (BLOCKS))
#else
#define FASTOPT_RESIDENT(BLOCKS) (BLOCKS)
#endif

// One kernel: a loop over Launch.  A multiprocessor runs at least FASTOPT_RESIDENT(BLOCKS) thread blocks of it at once.
#define FASTOPT_KERNEL(BLOCKS, ...)                                                                          \
  using Parameters = fastopt::cuda::Launch;                                                                  \
  extern "C" __global__ void __launch_bounds__(fastopt::cuda::kLongest* fastopt::cuda::kLanes,               \
                                               FASTOPT_RESIDENT(BLOCKS)) fastopt_kernel(Parameters launch) { \
    using namespace fastopt;                                                                                 \
    using namespace fastopt::cuda;                                                                           \
    __VA_ARGS__::run(launch);                                                                                \
  }
#define FASTOPT_WRITE_KERNEL()             \
  using Parameters = fastopt::cuda::Words; \
  extern "C" __global__ void fastopt_kernel(Parameters words) { write(words); }
