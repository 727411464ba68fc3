// The scalars of the stages around the rule, for one step of one tensor.
#pragma once

namespace fastopt {

// Which stages a kernel has.  Stages cost some arithmetic even if they are off, which shows if the caches hold the
// arrays.
enum StageLevel { kBare, kPenalties, kWhole, kStageLevels };

// Each value is neutral if its stage is off.
struct StageScalars {
  double grad_scale = 1;  // unscale, and maximize if negative; this, L1, L2 and decay are kPenalties
  double l1 = 0;
  double l2 = 0;
  double keep = 1;          // decoupled decay: 1 - lr*weight_decay
  double clip_value = 0;    // 0: none
  double norm_factor = 1;   // the factor of max_norm
  double ema_gain = 0;      // the new parameter's share in the average
  bool ema_starts = false;  // the average takes the parameter as it is
  bool zero_grad = false;
};

}  // namespace fastopt
