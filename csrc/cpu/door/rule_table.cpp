#include "cpu/door/rule_table.h"

#include <string.h>

#include "cpu/work/float_control.h"

#include "derived.h"  // generated, as is table.h

namespace fastopt {
namespace {

#include "table.h"

constexpr int32_t kRuleCount = sizeof kRules / sizeof kRules[0];

}  // namespace

const RuleRow* rule_row(int32_t index) { return index >= 0 && index < kRuleCount ? &kRules[index] : nullptr; }

}  // namespace fastopt

extern "C" {

int32_t fastopt_rule_count(void) { return fastopt::kRuleCount; }

const fastopt_rule* fastopt_rule_at(int32_t index) {
  const fastopt::RuleRow* row = fastopt::rule_row(index);
  return row ? &row->info : nullptr;
}

int32_t fastopt_find_rule(const char* name) {
  for (int32_t i = 0; i < fastopt::kRuleCount; ++i) {
    if (name && strcmp(fastopt::kRules[i].info.name, name) == 0) return i;
  }
  return -1;
}

int32_t fastopt_variant_of(const fastopt_group* group) {
  const fastopt::RuleRow* row = group ? fastopt::rule_row(group->rule) : nullptr;
  return row ? row->variant(*group) : -1;
}

fastopt_status fastopt_derive(const fastopt_group* group, int64_t t, double* running, double* scalars) {
  const fastopt::RuleRow* row = group ? fastopt::rule_row(group->rule) : nullptr;
  if (!row) return FASTOPT_BAD_RULE;
  if (t < 1) return FASTOPT_BAD_LENGTH;
  if (row->info.running_count > 0 && !running) return FASTOPT_NULL_POINTER;
  const fastopt::FloatControl control;
  row->derive(*group, t, running, scalars);
  return FASTOPT_OK;
}

}  // extern "C"
