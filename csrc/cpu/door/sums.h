// Sums of squares: on the kernels' lanes within a block, exact over the blocks.
#pragma once
#include <stdint.h>

#include "step/derive.h"
#include "step/exact_sum.h"

namespace fastopt {

class ExactSum {
 public:
  void add(double value, int exponent = 0) {
    if (!is_finite(value)) {
      special_ += value;
      return;
    }
    const SumTerm term = sum_term(value, exponent);
    for (int k = 0; k < 3; ++k) limbs_[term.limb + k] += term.parts[k];
  }

  void add(const ExactSum& other) {
    special_ += other.special_;
    for (int i = 0; i < kSumLimbs; ++i) limbs_[i] += other.limbs_[i];
  }

  double root() { return special_ == 0 ? sum_root(limbs_) : special_; }

 private:
  uint64_t limbs_[kSumLimbs] = {};
  double special_ = 0;  // Inf or NaN
};

// Adds the squares of values of `dtype`, scaled and, if `clip` is not 0, clipped.  The values begin with a block and
// fit a chunk.  Returns whether all scaled values are finite.
bool add_squares(ExactSum& sum, int32_t dtype, const void* values, int64_t length, double scale, double clip);

}  // namespace fastopt
