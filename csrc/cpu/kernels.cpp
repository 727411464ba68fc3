// The kernels of one instruction set.  CMake compiles this file once for each, with FASTOPT_ISA naming the set and its
// namespace; nothing here may include a header whose inline functions the rest of the library also uses.
#include "kernel.h"

#define FASTOPT_INLINE inline __attribute__((always_inline))
#define FASTOPT_STRING(x) #x
// clang-format off
#define FASTOPT_HEADER(isa) FASTOPT_STRING(../simd/isa.h)
// clang-format on
#include FASTOPT_HEADER(FASTOPT_ISA)

#include "../simd/common.h"

#include "../codecs/copy.h"
#include "../codecs/native.h"
#include "floor.h"
#include "stages.h"
#include "sweep.h"
#include "tile.h"

namespace fastopt::FASTOPT_ISA {

#include "rules.h"  // generated: the scalars and headers of all rules

// A type for each variant of each rule, so that the tile loop can be made for it.
#define FASTOPT_VARIANT(RULE, VARIANT, SLOTS)                                            \
  struct RULE##_##VARIANT {                                                              \
    static constexpr int slots = SLOTS;                                                  \
    template <class V> using Scalars = RULE##_scalars<V>;                                \
    template <class V, class... State>                                                   \
    static FASTOPT_INLINE void update(const Scalars<V>& s, V& p, V g, State&... state) { \
      RULE::VARIANT(s, p, g, state...);                                                  \
    }                                                                                    \
  };
FASTOPT_VARIANTS(FASTOPT_VARIANT)

#define FASTOPT_RUN(RULE, VARIANT, SLOTS) TileLoop<RULE##_##VARIANT, Vec<T>, kLevel>::run,
template <class T, StageLevel kLevel> constexpr Kernel kernels[] = {FASTOPT_VARIANTS(FASTOPT_RUN)};

#define FASTOPT_FLOORS(T, STAGED)                                                               \
  {floor_pass<Vec<T>, 0, STAGED>, floor_pass<Vec<T>, 1, STAGED>, floor_pass<Vec<T>, 2, STAGED>, \
   floor_pass<Vec<T>, 3, STAGED>, floor_pass<Vec<T>, 4, STAGED>}

extern const KernelSet kernel_set;
const KernelSet kernel_set = {FASTOPT_ISA_NAME,
                              {{kernels<float, kBare>, kernels<double, kBare>},
                               {kernels<float, kPenalties>, kernels<double, kPenalties>},
                               {kernels<float, kWhole>, kernels<double, kWhole>}},
                              {sweep_pass<float>, sweep_pass<double>},
                              {clip_pass<Vec<float>>, clip_pass<Vec<double>>},
                              {floor_read<Vec<float>>, floor_read<Vec<double>>},
                              {FASTOPT_FLOORS(float, false), FASTOPT_FLOORS(double, false)},
                              {FASTOPT_FLOORS(float, true), FASTOPT_FLOORS(double, true)}};

}  // namespace fastopt::FASTOPT_ISA
