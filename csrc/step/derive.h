// Derives the scalars of a step in float64 from hyperparameters and the step's number, with the same bits on the host
// and on a GPU.  The functions for the rules' own scalars are generated (derived.h).
#pragma once
#include <stdint.h>

#include "fastopt.h"
#include "step/portable.h"
#include "step/stage_scalars.h"

namespace fastopt {

// x to the power t by repeated squaring, as rules.power does in Python: the same multiplications everywhere.
FASTOPT_PORTABLE double power(double x, int64_t t) {
  double result = 1;
  for (; t > 0; t >>= 1) {
    if (t & 1) result *= x;
    x *= x;
  }
  return result;
}

FASTOPT_PORTABLE double where(bool condition, double a, double b) { return condition ? a : b; }

// The stages of a tensor with `steps` completed steps.  The caller sets max_norm's factor.
FASTOPT_PORTABLE StageScalars derive_stages(const fastopt_group& group, const fastopt_options& options, int64_t steps) {
  StageScalars stages;
  stages.grad_scale = group.maximize ? -options.grad_scale : options.grad_scale;
  stages.clip_value = options.clip_value;
  stages.l1 = group.l1;
  (group.decoupled_weight_decay ? stages.keep : stages.l2) =
      group.decoupled_weight_decay ? 1 - group.lr * group.weight_decay : group.weight_decay;
  stages.ema_gain = 1 - options.ema_decay;
  stages.ema_starts = steps == 0;
  stages.zero_grad = options.zero_grad;
  return stages;
}

FASTOPT_PORTABLE bool is_finite(double x) { return x - x == 0; }

// The factor of max_norm for the gradients.  A norm that is not finite says nothing of the elements: the factor is 1,
// and skip_nonfinite handles such steps.  With norm_eps the factor is torch's, for any norm.
FASTOPT_PORTABLE double norm_factor(const fastopt_options& options, double norm) {
  if (options.max_norm > 0 && options.norm_eps > 0) {
    const double factor = options.max_norm / (norm + options.norm_eps);
    return factor > 1 ? 1 : factor;  // NaN if the norm is NaN
  }
  return options.max_norm > 0 && norm > options.max_norm && is_finite(norm) ? options.max_norm / norm : 1;
}

}  // namespace fastopt
