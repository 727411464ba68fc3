// The factors of tensors whose rules have one: a sweep over each tensor measures parameter and direction, and the
// update multiplies its step by what the rule makes of the norms.
#pragma once
#include "cpu/door/rows.h"
#include "fastopt.h"

namespace fastopt {

// Fills step.factored, when the scalars of all rows are known.
void measure_factors(Step& step, const fastopt_plan& plan);

}  // namespace fastopt
