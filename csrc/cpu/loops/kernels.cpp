// The kernels of one instruction set.  CMake compiles this file once for each set; FASTOPT_ISA names the set and its
// namespace.  Nothing here may include a header whose inline functions the rest of the library also uses.
#include "cpu/loops/kernel.h"

#include "codecs/bfloat16.h"
#include "codecs/block8.h"
#include "codecs/float16.h"
#include "codecs/float32.h"
#include "codecs/split.h"
#include "cpu/floor/passes.h"
#include "cpu/loops/block.h"
#include "cpu/loops/codec_passes.h"
#include "cpu/loops/directions.h"
#include "cpu/loops/sweep.h"
#include "cpu/loops/tile.h"
#include "simd/vec.h"
#include "step/variant.h"

#include "rules.h"  // generated: the scalars and headers of all rules

namespace fastopt::FASTOPT_ISA {

FASTOPT_VARIANTS(FASTOPT_VARIANT)

#define FASTOPT_TILES(RULE, VARIANT, SLOTS, NON_NEGATIVE) TileLoop<RULE##_##VARIANT, Vec<T>, kLevel>::run,
template <class T, StageLevel kLevel> constexpr Kernel tile_kernels[] = {FASTOPT_VARIANTS(FASTOPT_TILES)};

#define FASTOPT_BLOCKS(RULE, VARIANT, SLOTS, NON_NEGATIVE) BlockLoop<RULE##_##VARIANT, kLevel, P, G, S>::run,
template <class P, class G, template <bool> class S, StageLevel kLevel>
constexpr Kernel block_kernels[] = {FASTOPT_VARIANTS(FASTOPT_BLOCKS)};

// Beside the codecs' cost the penalties cost next to nothing, so bare kernels are not made.
#define FASTOPT_FORMAT_SET(PARAM, GRAD, STATE, P, G, S) block_kernels<P, G, S, kLevel == kBare ? kPenalties : kLevel>,
template <StageLevel kLevel>
constexpr const Kernel* all_kernels[] = {tile_kernels<float, kLevel>, tile_kernels<double, kLevel>,
                                         FASTOPT_FORMAT_SETS(FASTOPT_FORMAT_SET)};

#define FASTOPT_DIRECTIONS(RULE, VARIANT, SLOTS, NON_NEGATIVE) direction_kernel<RULE##_##VARIANT, Vec<T>, kLevel>(),
template <class T, StageLevel kLevel>
constexpr DirectionKernel direction_kernels[] = {FASTOPT_VARIANTS(FASTOPT_DIRECTIONS)};

#define FASTOPT_FORMAT(NAME, CODEC, ROLES) &CodecPasses<CODEC>::format,

extern const KernelSet kernel_set;
const KernelSet kernel_set = {FASTOPT_ISA_NAME,
                              {all_kernels<kBare>, all_kernels<kPenalties>, all_kernels<kWhole>},
                              {{direction_kernels<float, kBare>, direction_kernels<double, kBare>},
                               {direction_kernels<float, kPenalties>, direction_kernels<double, kPenalties>},
                               {direction_kernels<float, kWhole>, direction_kernels<double, kWhole>}},
                              {sweep_pass<float>, sweep_pass<double>},
                              {clip_pass<Vec<float>>, clip_pass<Vec<double>>},
                              {nullptr, FASTOPT_FORMATS(FASTOPT_FORMAT)},
                              noise_pass,
                              widen_pass,
                              &floor_kernels};

}  // namespace fastopt::FASTOPT_ISA
