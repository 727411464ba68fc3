#include "cpu/door/measure.h"

#include <math.h>

#include <algorithm>
#include <mutex>

#include "cpu/door/formats.h"
#include "cpu/door/given.h"
#include "cpu/door/isa.h"
#include "cpu/door/sums.h"
#include "step/derive.h"

namespace fastopt {

Measurement measure(const Line& line, const fastopt_options& options) {
  std::mutex mutex;
  ExactSum total;
  bool all_finite = true;
  line.for_each_chunk([&](Line::Chunk chunk) {
    ExactSum sum;
    bool finite = true;
    line.visit(chunk, [&](const Range& range, int64_t begin, int64_t end) {
      const fastopt_tensor& tensor = *range.tensor;
      const auto add = [&](const void* grad, int64_t length) {
        finite = add_squares(sum, tensor.dtype, grad, length, options.grad_scale, options.clip_value) && finite;
      };
      if (tensor.grad_format == 0) {
        add(static_cast<const char*>(tensor.grad) + begin * grad_size(tensor), end - begin);
        return;
      }
      GradientTile tile;
      for (int64_t at = begin; at < end; at += GradientTile::kLength) {
        const int64_t length = std::min(GradientTile::kLength, end - at);
        add(tile.load(tensor, at, length), length);
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
         isfinite(options.norm_eps) && (!options.team || (options.team->threads && options.team->run));
}

namespace {

fastopt_status sweep(const fastopt_plan& plan, const fastopt_options& options, bool apply, fastopt_report& report) {
  if (!are_valid(options)) return FASTOPT_BAD_OPTION;
  static thread_local Line line;  // keeps its memory from call to call
  line.begin(options.team);
  for (int64_t i = 0; i < plan.tensor_count; ++i) {
    fastopt_tensor& tensor = plan.tensors[i];
    if (tensor.dtype != FASTOPT_FLOAT32 && tensor.dtype != FASTOPT_FLOAT64) return FASTOPT_BAD_DTYPE;
    if (const fastopt_status status = check_grad_format(tensor)) return status;
    if (apply && tensor.grad_format != 0 && tensor.dtype != FASTOPT_FLOAT32) return FASTOPT_BAD_FORMAT;
    if (tensor.length < 0) return FASTOPT_BAD_LENGTH;
    if (tensor.grad) line.add(tensor, 0, tensor.length, 0);
  }
  const FloatControl control;
  Measurement found{-1, true};
  if (!apply || options.max_norm > 0 || options.skip_nonfinite) found = measure(line, options);
  report = {sizeof report, found.norm, found.finite, options.skip_nonfinite && !found.finite};
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

fastopt_status sweep_given(const fastopt_plan& plan, const fastopt_options& options, bool apply,
                           fastopt_report* report) {
  Given given;
  if (const fastopt_status status = given.take(plan, options)) return status;
  if (const fastopt_status status = check(report)) return status;
  fastopt_report seen{};
  const fastopt_status status = sweep(given.plan(), given.options(), apply, seen);
  if (status == FASTOPT_OK) write(seen, report);
  return status;
}

}  // namespace
}  // namespace fastopt

extern "C" {

fastopt_status fastopt_measure(const fastopt_plan* plan, const fastopt_options* options, fastopt_report* report) try {
  return fastopt::sweep_given(*plan, *options, false, report);
} catch (...) {
  return FASTOPT_NO_MEMORY;
}

fastopt_status fastopt_clip(const fastopt_plan* plan, const fastopt_options* options, fastopt_report* report) try {
  return fastopt::sweep_given(*plan, *options, true, report);
} catch (...) {
  return FASTOPT_NO_MEMORY;
}

}  // extern "C"
