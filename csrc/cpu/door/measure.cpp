#include "cpu/door/measure.h"

#include <math.h>

#include <algorithm>
#include <mutex>

#include "cpu/door/formats.h"
#include "cpu/door/isa.h"
#include "step/derive.h"
#include "step/exact_sum.h"

namespace fastopt {
namespace {

// A piece is no longer than a chunk, or than the work of one thread alone.
constexpr int64_t kBlocks = Line::kLargestChunk * Line::kTile / FASTOPT_BLOCK;

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

// The sweep's results for a piece of a gradient that is decoded tile by tile.
bool sweep_in_format(const fastopt_tensor& tensor, int64_t begin, const Sweep& sweep) {
  GradientTile tile;
  bool finite = true;
  for (int64_t at = 0; at < sweep.length; at += GradientTile::kLength) {
    Sweep part = sweep;
    part.length = std::min(GradientTile::kLength, sweep.length - at);
    part.grad = tile.load(tensor, begin + at, part.length);
    part.squares += at / FASTOPT_BLOCK;
    part.largest += at / FASTOPT_BLOCK;
    finite = active_kernels().sweep[tensor.dtype](part) && finite;
  }
  return finite;
}

// The squares of a block whose sum would leave the range of float64, scaled by the power of two of its largest element;
// on the lanes of the kernels, whose roundings are few.
void add_scaled(ExactSum& sum, const double* grad, int64_t length, double largest, const fastopt_options& options) {
  constexpr int kLanes = 32;
  const int exponent = ilogb(largest);
  double lanes[kLanes] = {};
  for (int64_t i = 0; i < length; ++i) {
    double g = grad[i] * options.grad_scale;
    if (options.clip_value != 0) g = std::clamp(g, -options.clip_value, options.clip_value);
    const double small = ldexp(g, -exponent);
    lanes[i % kLanes] = fma(small, small, lanes[i % kLanes]);
  }
  for (int half = kLanes / 2; half > 0; half /= 2) {
    for (int k = 0; k < half; ++k) lanes[k] += lanes[k + half];
  }
  sum.add(lanes[0], 2 * exponent);
}

}  // namespace

Measurement measure(const Line& line, const fastopt_options& options) {
  std::mutex mutex;
  ExactSum total;
  bool all_finite = true;
  line.for_each_chunk([&](Line::Chunk chunk) {
    ExactSum sum;
    bool finite = true;
    line.visit(chunk, [&](const Range& range, int64_t begin, int64_t end) {
      const fastopt_tensor& tensor = *range.tensor;
      const char* grad = static_cast<const char*>(tensor.grad) + begin * grad_size(tensor);
      double squares[kBlocks], largest[kBlocks];
      const Sweep sweep{grad, end - begin, options.grad_scale, options.clip_value, squares, largest};
      const bool seen =
          tensor.grad_format == 0 ? active_kernels().sweep[tensor.dtype](sweep) : sweep_in_format(tensor, begin, sweep);
      finite = seen && finite;
      for (int64_t at = 0, block = 0; at < end - begin; at += FASTOPT_BLOCK, ++block) {
        const bool safe = tensor.dtype == FASTOPT_FLOAT32 || (squares[block] > 0x1p-900 && squares[block] < 0x1p1000) ||
                          largest[block] == 0 || !isfinite(largest[block]);
        if (safe) {
          sum.add(squares[block]);
        } else {
          const int64_t length = std::min<int64_t>(FASTOPT_BLOCK, end - begin - at);
          GradientTile tile;
          add_scaled(sum, static_cast<const double*>(tile.load(tensor, begin + at, length)), length, largest[block],
                     options);
        }
      }
    });
    const std::scoped_lock lock(mutex);
    total.add(sum);
    all_finite = all_finite && finite;
  });
  return {total.root(), all_finite};
}

bool are_valid(const fastopt_options& options) {
  return isfinite(options.grad_scale) && options.clip_value >= 0 && isfinite(options.clip_value) &&
         options.max_norm >= 0 && isfinite(options.max_norm) && options.ema_decay < 1 && options.norm_eps >= 0 &&
         isfinite(options.norm_eps);
}

namespace {

fastopt_status sweep(const fastopt_tensor* tensors, int64_t count, const fastopt_options& options, bool apply,
                     fastopt_report& report) {
  if (!are_valid(options)) return FASTOPT_BAD_OPTION;
  static thread_local Line line;  // keeps its memory
  line.clear();
  for (int64_t i = 0; i < count; ++i) {
    const fastopt_tensor& tensor = tensors[i];
    if (tensor.dtype != FASTOPT_FLOAT32 && tensor.dtype != FASTOPT_FLOAT64) return FASTOPT_BAD_DTYPE;
    if (const fastopt_status status = check_grad_format(tensor)) return status;
    if (apply && tensor.grad_format != 0 && tensor.dtype != FASTOPT_FLOAT32) return FASTOPT_BAD_FORMAT;
    if (tensor.length < 0) return FASTOPT_BAD_LENGTH;
    if (tensor.grad) line.add(const_cast<fastopt_tensor&>(tensor), 0, tensor.length, 0);  // only its arrays are written
  }
  const FloatControl control;
  Measurement found{-1, true};
  if (!apply || options.max_norm > 0 || options.skip_nonfinite) found = measure(line, options);
  report = {found.norm, found.finite, options.skip_nonfinite && !found.finite};
  if (!apply || report.skipped) return FASTOPT_OK;
  StageScalars stages;
  stages.grad_scale = options.grad_scale;
  stages.clip_value = options.clip_value;
  stages.norm_factor = norm_factor(options, found.norm);
  if (stages.grad_scale == 1 && stages.clip_value == 0 && stages.norm_factor == 1) return FASTOPT_OK;
  const KernelSet& set = active_kernels();
  line.for_each_piece([&](const Range& range, int64_t begin, int64_t end) {
    const fastopt_tensor& tensor = *range.tensor;
    Piece piece{};
    piece.stages = &stages;
    if (tensor.grad_format == 0) {
      piece.grad = static_cast<char*>(tensor.grad) + begin * element_size(tensor.dtype);
      piece.length = end - begin;
      run(set, set.clip[tensor.dtype], piece);
      return;
    }
    GradientTile tile;
    for (int64_t at = begin; at < end; at += GradientTile::kLength) {
      piece.length = std::min(GradientTile::kLength, end - at);
      piece.grad = tile.load(tensor, at, piece.length);
      run(set, set.clip[tensor.dtype], piece);
      tile.store(tensor, at, piece.length);
    }
  });
  return FASTOPT_OK;
}

}  // namespace
}  // namespace fastopt

extern "C" {

fastopt_status fastopt_measure(const fastopt_tensor* tensors, int64_t count, const fastopt_options* options,
                               fastopt_report* report) try {
  return fastopt::sweep(tensors, count, *options, false, *report);
} catch (...) {
  return FASTOPT_NO_MEMORY;
}

fastopt_status fastopt_clip(const fastopt_tensor* tensors, int64_t count, const fastopt_options* options,
                            fastopt_report* report) try {
  return fastopt::sweep(tensors, count, *options, true, *report);
} catch (...) {
  return FASTOPT_NO_MEMORY;
}

}  // extern "C"
