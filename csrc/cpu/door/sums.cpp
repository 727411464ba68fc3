#include "cpu/door/sums.h"

#include <math.h>

#include <algorithm>

#include "cpu/door/isa.h"
#include "cpu/work/line.h"

namespace fastopt {
namespace {

// The most blocks of a piece.  A piece lies within one chunk, and the only chunk of a small step is below the largest.
constexpr int64_t kBlocks = Line::kLargestChunk * Line::kTile / FASTOPT_BLOCK;

// Adds the squares of a block whose sum would leave the range of float64.  The elements are scaled by the power of two
// of the largest, and summed on the kernels' lanes, whose roundings are few.
void add_scaled(ExactSum& sum, const double* values, int64_t length, double largest, double scale, double clip) {
  constexpr int kLanes = 32;
  const int exponent = ilogb(largest);
  double lanes[kLanes] = {};
  for (int64_t i = 0; i < length; ++i) {
    double value = values[i] * scale;
    if (clip != 0) value = std::clamp(value, -clip, clip);
    const double small = ldexp(value, -exponent);
    lanes[i % kLanes] = fma(small, small, lanes[i % kLanes]);
  }
  for (int half = kLanes / 2; half > 0; half /= 2) {
    for (int k = 0; k < half; ++k) lanes[k] += lanes[k + half];
  }
  sum.add(lanes[0], 2 * exponent);
}

}  // namespace

bool add_squares(ExactSum& sum, int32_t dtype, const void* values, int64_t length, double scale, double clip) {
  double squares[kBlocks], largest[kBlocks];
  const bool finite = active_kernels().sweep[dtype]({values, length, scale, clip, squares, largest});
  for (int64_t at = 0, block = 0; at < length; at += FASTOPT_BLOCK, ++block) {
    const bool safe = dtype == FASTOPT_FLOAT32 || (squares[block] > 0x1p-900 && squares[block] < 0x1p1000) ||
                      largest[block] == 0 || !isfinite(largest[block]);
    if (safe) {
      sum.add(squares[block]);
    } else {
      const int64_t count = std::min<int64_t>(FASTOPT_BLOCK, length - at);
      add_scaled(sum, static_cast<const double*>(values) + at, count, largest[block], scale, clip);
    }
  }
  return finite;
}

}  // namespace fastopt
