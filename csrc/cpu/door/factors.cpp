#include "cpu/door/factors.h"

#include <stddef.h>
#include <stdint.h>

#include <algorithm>
#include <mutex>
#include <vector>

#include "cpu/door/formats.h"
#include "cpu/door/isa.h"
#include "cpu/door/rule_table.h"
#include "cpu/door/sums.h"
#include "cpu/work/line.h"

namespace fastopt {
namespace {

// Sums of squares over one tensor.
struct Squares {
  ExactSum param, direction;
};

// At most kTile elements of a tensor, as the kernels for native arrays take them.
class NativeTile {
 public:
  static constexpr int64_t kTile = GradientTile::kLength;

  // Elements [begin, begin + length).  Arrays in formats are decoded.
  Piece load(const fastopt_tensor& tensor, const Row& row, int64_t begin, int64_t length) {
    Piece piece = piece_of(tensor, row, begin, begin + length);
    piece.grad = grad_.load(tensor, begin, length);
    decode(tensor.param_format, tensor.param, tensor.param_extra, begin, length, param_, piece.param);
    for (int32_t k = 0; k < row.variant->slot_count; ++k) {
      const int32_t slot = row.variant->slots[k];
      decode(tensor.state_format[slot], tensor.state[slot], tensor.state_extra[slot], begin, length, state_[k],
             piece.state[k]);
    }
    return piece;
  }

 private:
  static void decode(int32_t format, void* data, void* extra, int64_t begin, int64_t length, float* to, void*& array) {
    if (format == 0) return;
    decode_elements(format, data, extra, begin, length, to);
    array = to;
  }

  GradientTile grad_;
  alignas(64) float param_[kTile];
  alignas(64) float state_[FASTOPT_MAX_SLOTS][kTile];
};

void add_piece(Squares& sum, const fastopt_tensor& tensor, const Row& row, int64_t begin, int64_t end) {
  NativeTile tile;
  constexpr size_t bytes = NativeTile::kTile * sizeof(double);  // enough for either arithmetic
  alignas(64) char param[bytes], direction[bytes];
  const DirectionKernel kernel = active_kernels().directions[row.level][tensor.dtype][row.kernel];
  for (int64_t at = begin; at < end; at += NativeTile::kTile) {
    const int64_t length = std::min(NativeTile::kTile, end - at);
    kernel(tile.load(tensor, row, at, length), param, direction);
    add_squares(sum.param, tensor.dtype, param, length, 1, 0);
    add_squares(sum.direction, tensor.dtype, direction, length, 1, 0);
  }
}

}  // namespace

void measure_factors(Step& step, const fastopt_plan& plan) {
  const std::vector<Range>& ranges = step.line.ranges();
  std::vector<Squares> sums(ranges.size());
  std::mutex mutex;
  step.line.for_each_piece([&](const Range& range, int64_t begin, int64_t end) {
    const Row& row = step.rows[range.row];
    if (!row.rule->factor) return;
    Squares sum;
    add_piece(sum, *range.tensor, row, begin, end);
    const std::scoped_lock lock(mutex);
    Squares& total = sums[&range - ranges.data()];
    total.param.add(sum.param);
    total.direction.add(sum.direction);
  });
  step.factored.resize(ranges.size());
  for (size_t i = 0; i < ranges.size(); ++i) {
    const Row& row = step.rows[ranges[i].row];
    const auto rest = std::copy(row.scalars, row.scalars + row.rule->info.scalar_count, step.factored[i].begin());
    if (row.rule->factor) {
      *rest = row.rule->factor(plan.groups[row.group], row.scalars, sums[i].param.root(), sums[i].direction.root());
    }
  }
}

}  // namespace fastopt
