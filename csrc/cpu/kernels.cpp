// The kernels of one instruction set.  CMake compiles this file once for each, with FASTOPT_ISA naming the set and its
// namespace; nothing here may include a header whose inline functions the rest of the library also uses.
#include "kernel.h"

#ifndef FASTOPT_INLINE  // under sanitizers inlining everything takes minutes
#define FASTOPT_INLINE inline __attribute__((always_inline))
#endif
#define FASTOPT_STRING(x) #x
// clang-format off
#define FASTOPT_HEADER(isa) FASTOPT_STRING(../simd/isa.h)
#define FASTOPT_WORDS_HEADER_OF(isa) FASTOPT_STRING(../simd/isa##_words.h)
#define FASTOPT_WORDS_HEADER(isa) FASTOPT_WORDS_HEADER_OF(isa)
// clang-format on
#include FASTOPT_HEADER(FASTOPT_ISA)
#include FASTOPT_WORDS_HEADER(FASTOPT_ISA)

#include "../simd/common.h"

#include "../codecs/bfloat16.h"
#include "../codecs/block8.h"
#include "../codecs/rounding.h"

#include "../codecs/coder.h"
#include "../codecs/copy.h"
#include "../codecs/float16.h"
#include "../codecs/float32.h"
#include "../codecs/native.h"
#include "../codecs/noise.h"
#include "../codecs/split.h"
#include "../stages.h"
#include "../variant.h"

#include "block.h"
#include "floor.h"
#include "sweep.h"
#include "tile.h"

namespace fastopt::FASTOPT_ISA {

#include "rules.h"  // generated: the scalars and headers of all rules

FASTOPT_VARIANTS(FASTOPT_VARIANT)

#define FASTOPT_RUN(RULE, VARIANT, SLOTS, NON_NEGATIVE) TileLoop<RULE##_##VARIANT, Vec<T>, kLevel>::run,
template <class T, StageLevel kLevel> constexpr Kernel kernels[] = {FASTOPT_VARIANTS(FASTOPT_RUN)};

#define FASTOPT_RUN_STORED(RULE, VARIANT, SLOTS, NON_NEGATIVE) BlockLoop<RULE##_##VARIANT, kLevel, P, G, S>::run,
template <class P, class G, template <bool> class S, StageLevel kLevel>
constexpr Kernel stored_kernels[] = {FASTOPT_VARIANTS(FASTOPT_RUN_STORED)};

// Beside the codecs the penalties cost nothing to speak of, so that no bare kernels are made.
#define FASTOPT_STORAGE(PARAM, GRAD, STATE, P, G, S) stored_kernels<P, G, S, kLevel == kBare ? kPenalties : kLevel>,
template <StageLevel kLevel>
constexpr const Kernel* all_kernels[] = {kernels<float, kLevel>, kernels<double, kLevel>,
                                         FASTOPT_STORAGES(FASTOPT_STORAGE)};

#define FASTOPT_FLOORS(T, STAGED)                                                               \
  {floor_pass<Vec<T>, 0, STAGED>, floor_pass<Vec<T>, 1, STAGED>, floor_pass<Vec<T>, 2, STAGED>, \
   floor_pass<Vec<T>, 3, STAGED>, floor_pass<Vec<T>, 4, STAGED>}

#define FASTOPT_FORMAT(NAME, CODEC, ROLES) &Coder<CODEC>::format,

extern const KernelSet kernel_set;
const KernelSet kernel_set = {FASTOPT_ISA_NAME,
                              {all_kernels<kBare>, all_kernels<kPenalties>, all_kernels<kWhole>},
                              {sweep_pass<float>, sweep_pass<double>},
                              {clip_pass<Vec<float>>, clip_pass<Vec<double>>},
                              {nullptr, FASTOPT_FORMATS(FASTOPT_FORMAT)},
                              noise_pass,
                              widen_pass,
                              {floor_read<Vec<float>>, floor_read<Vec<double>>},
                              {FASTOPT_FLOORS(float, false), FASTOPT_FLOORS(double, false)},
                              {FASTOPT_FLOORS(float, true), FASTOPT_FLOORS(double, true)},
                              touch_pass};

}  // namespace fastopt::FASTOPT_ISA
