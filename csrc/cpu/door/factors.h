// The factors of tensors, for rules that have them.  A sweep over each tensor measures the norms of parameter and
// direction.  The rule makes the factor from the norms, and the update multiplies the tensor's step by the factor.
#pragma once
#include "cpu/door/rows.h"
#include "fastopt.h"

namespace fastopt {

// Fills step.factored.  Needs the scalars of all rows.
void measure_factors(Step& step, const fastopt_plan& plan);

}  // namespace fastopt
