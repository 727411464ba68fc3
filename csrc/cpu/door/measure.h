// Norm and finiteness of the gradients in a line.
#pragma once
#include "cpu/work/line.h"
#include "fastopt.h"

namespace fastopt {

struct Measurement {
  double norm;
  bool finite;
};

// The norm after grad_scale and clip_value, and whether the scaled gradients are finite.
Measurement measure(const Line& line, const fastopt_options& options);

bool are_valid(const fastopt_options& options);

}  // namespace fastopt
