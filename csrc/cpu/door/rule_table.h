// The rules as C++ knows them: names, derivation of each step's scalars, choice of a variant.  Generated from
// python/fastopt/rules.
#pragma once
#include <stdint.h>

#include "fastopt.h"

namespace fastopt {

struct RuleRow {
  fastopt_rule info;
  void (*derive)(const fastopt_group& group, int64_t t, double* running, double* scalars);
  int32_t (*variant)(const fastopt_group& group);
  // The factor of a tensor's step, from the norms of its parameter and direction; nullptr for most rules.
  double (*factor)(const fastopt_group& group, const double* scalars, double param_norm, double direction_norm);
  int32_t first_kernel;  // the first variant's index in a KernelSet
};

// The row of a rule, or nullptr.
const RuleRow* rule_row(int32_t index);

}  // namespace fastopt
