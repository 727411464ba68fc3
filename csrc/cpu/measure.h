// Norm and finiteness of the gradients in a line.
#pragma once
#include "line.h"

namespace fastopt {

struct Measurement {
  double norm;
  bool finite;
};

// After grad_scale and clip_value; finite says of the scaled gradients whether they are.
Measurement measure(const Line& line, const fastopt_options& options);

// What max_norm multiplies the gradients by.  A norm that is not finite says nothing of its elements: skip_nonfinite is
// for that.
double norm_factor(const fastopt_options& options, double norm);

bool are_valid(const fastopt_options& options);

}  // namespace fastopt
