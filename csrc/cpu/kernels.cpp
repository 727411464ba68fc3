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

#include "../codecs/native.h"
#include "floor.h"
#include "stages.h"
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

#define FASTOPT_RUN(RULE, VARIANT, SLOTS) TileLoop<RULE##_##VARIANT, Vec<T>, kStaged>::run,
template <class T, bool kStaged> constexpr Kernel kernels[] = {FASTOPT_VARIANTS(FASTOPT_RUN)};

template <class T>
constexpr Kernel floors[] = {floor_pass<Vec<T>, 0>, floor_pass<Vec<T>, 1>, floor_pass<Vec<T>, 2>, floor_pass<Vec<T>, 3>,
                             floor_pass<Vec<T>, 4>};

extern const KernelSet kernel_set;
const KernelSet kernel_set = {
    FASTOPT_ISA_NAME,
    {kernels<float, false>, kernels<double, false>},
    {kernels<float, true>, kernels<double, true>},
    {{floors<float>[0], floors<float>[1], floors<float>[2], floors<float>[3], floors<float>[4]},
     {floors<double>[0], floors<double>[1], floors<double>[2], floors<double>[3], floors<double>[4]}}};

}  // namespace fastopt::FASTOPT_ISA
