// All that a kernel for CUDA is made of.  python/fastopt/cuda/kernels.py adds the lines that choose one.
#include <stdint.h>

#include "cuda/device.h"

#include "derive.h"
#include "exact_sum.h"
#include "fastopt.h"
#include "portable.h"
#include "stage_scalars.h"

#include "codecs/formats.h"
#include "noise_key.h"

namespace fastopt {
#include "derived.h"  // generated, as is rules.h
}

// The V of one lane; a warp has 32 of them.
#include "simd/scalar.h"
#include "simd/scalar_words.h"

#include "simd/common.h"

#include "codecs/bfloat16.h"
#include "codecs/block8.h"
#include "codecs/copy.h"
#include "codecs/float16.h"
#include "codecs/float32.h"
#include "codecs/noise.h"
#include "codecs/rounding.h"
#include "codecs/split.h"
#include "stages.h"

#include "cuda/table.h"

#include "cuda/warp.h"

#include "cuda/tile.h"

#include "cuda/codecs.h"

#include "cuda/grid.h"

#include "cuda/step.h"
#include "cuda/sweep.h"
#include "cuda/write.h"

#include "variant.h"

namespace fastopt::cuda {
#include "rules.h"
}

// From Blackwell on the compiler takes a dozen registers more for the same.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 1000
#define FASTOPT_RESIDENT(BLOCKS) ((BLOCKS) > 2 ? (BLOCKS) - 1 : (BLOCKS))
#else
#define FASTOPT_RESIDENT(BLOCKS) (BLOCKS)
#endif

// One kernel: a loop over Launch, of which a multiprocessor runs so many blocks of threads at once, at least.
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
