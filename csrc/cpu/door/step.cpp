// One step over a plan: check the plan, derive each tensor's scalars, cut the work into chunks, run the kernels.
#include <stddef.h>
#include <string.h>

#include "cpu/door/factors.h"
#include "cpu/door/formats.h"
#include "cpu/door/given.h"
#include "cpu/door/isa.h"
#include "cpu/door/measure.h"
#include "cpu/door/rows.h"
#include "cpu/door/rule_table.h"
#include "cpu/work/float_control.h"
#include "cpu/work/line.h"
#include "fastopt.h"
#include "step/derive.h"

namespace fastopt {
namespace {

// Beyond so many elements no cache holds a copy until somebody reads it.  The copy then goes straight to memory, which
// spares reading the cache lines that it replaces (4% of a whole step at 1e8).
constexpr int64_t kCached = int64_t{8} << 20;

fastopt_status check(const fastopt_plan& plan, const fastopt_tensor& tensor) {
  if (tensor.group < 0 || tensor.group >= plan.group_count) return FASTOPT_BAD_GROUP;
  if (tensor.dtype != FASTOPT_FLOAT32 && tensor.dtype != FASTOPT_FLOAT64) return FASTOPT_BAD_DTYPE;
  if (tensor.length < 0 || tensor.offset < 0 || tensor.steps < 0 || tensor.steps == INT64_MAX)
    return FASTOPT_BAD_LENGTH;
  const fastopt_group& group = plan.groups[tensor.group];
  const RuleRow* rule = rule_row(group.rule);
  if (!rule) return FASTOPT_BAD_RULE;
  if (tensor.length == 0) return FASTOPT_OK;
  if (tensor.copy && (tensor.copy_dtype < FASTOPT_FLOAT32 || tensor.copy_dtype > FASTOPT_FLOAT16))
    return FASTOPT_BAD_DTYPE;
  if (!tensor.param) return FASTOPT_NULL_POINTER;
  const fastopt_variant& variant = rule->info.variants[rule->variant(group)];
  for (int32_t k = 0; k < variant.slot_count; ++k) {
    if (!tensor.state[variant.slots[k]]) return FASTOPT_NULL_POINTER;
  }
  return check_formats(tensor, rule->info, variant);
}

void add(Step& step, const fastopt_plan& plan, const fastopt_options& options, fastopt_tensor& tensor, int64_t begin,
         int64_t end) {
  if (step.rows.empty() || !step.rows.back().serves(tensor)) {
    step.rows.emplace_back(plan.groups[tensor.group], tensor, options);
    step.has_factors = step.has_factors || step.rows.back().rule->factor;
  }
  step.line.add(tensor, begin, end, static_cast<int32_t>(step.rows.size() - 1));
}

// Runs the kernels.  After a sweep the order is backwards, since the caches hold the gradients that the sweep saw last.
void update(const Step& step, uint64_t seed, Line::Order order) {
  const bool stream = step.line.work() > kCached;
  const KernelSet& set = active_kernels();
  step.line.for_each_piece(
      [&](const Range& range, int64_t begin, int64_t end) {
        const fastopt_tensor& tensor = *range.tensor;
        const Row& row = step.rows[range.row];
        Piece piece = piece_of(tensor, row, begin, end);
        piece.scalars = step.scalars_of(range);
        piece.stream = tensor.copy && stream;
        const StageLevel level = piece.ema || tensor.copy ? kWhole : row.level;
        const KernelChoice choice = kernels_of(tensor, row.rule->info, *row.variant);
        const Kernel kernel = set.steps[level][choice.row][row.kernel];
        if (choice.row == tensor.dtype && !choice.decodes) {
          run(set, kernel, piece);
        } else {
          update_in_formats(tensor, *row.variant, piece, set, kernel, choice.decodes, seed, begin);
        }
      },
      order);
}

void zero_gradients(const Line& line) {
  line.for_each_piece([](const Range& range, int64_t begin, int64_t end) {
    const int64_t size = grad_size(*range.tensor);
    memset(static_cast<char*>(range.tensor->grad) + begin * size, 0, (end - begin) * size);
  });
}

void count(fastopt_tensor& tensor, const Row& row) {
  tensor.steps = row.t;
  memcpy(tensor.running, row.after, sizeof row.after);
}

bool needs_all(const fastopt_options& options) { return options.max_norm > 0 || options.skip_nonfinite; }

Step& scratch(const fastopt_options& options) {
  static thread_local Step step;
  step.begin(options.team);
  return step;
}

fastopt_status step_all(const fastopt_plan& plan, const fastopt_options& options, fastopt_report& seen) {
  if (!are_valid(options)) return FASTOPT_BAD_OPTION;
  const FloatControl control;  // the scalars are derived on this thread
  Step& step = scratch(options);
  for (int64_t i = 0; i < plan.tensor_count; ++i) {
    fastopt_tensor& tensor = plan.tensors[i];
    if (const fastopt_status status = check(plan, tensor)) return status;
    if (tensor.grad) add(step, plan, options, tensor, 0, tensor.length);
  }
  if (needs_all(options)) {
    const Measurement found = measure(step.line, options);
    seen.grad_norm = found.norm;
    seen.finite = found.finite;
    seen.skipped = options.skip_nonfinite && !found.finite;
    const double factor = norm_factor(options, found.norm);
    for (Row& row : step.rows) {
      row.stages.norm_factor = factor;
      if (factor != 1) row.level = kWhole;
    }
  }
  if (seen.skipped) {
    if (options.zero_grad) zero_gradients(step.line);
    return FASTOPT_OK;
  }
  if (step.has_factors) measure_factors(step, plan);
  update(step, plan.seed, needs_all(options) ? Line::Order::kBackwards : Line::Order::kForwards);
  for (const Range& range : step.line.ranges()) count(*range.tensor, step.rows[range.row]);
  return FASTOPT_OK;
}

fastopt_status step_part(const fastopt_plan& plan, const fastopt_options& options, int64_t tensor, int64_t begin,
                         int64_t end) {
  if (!are_valid(options)) return FASTOPT_BAD_OPTION;
  if (needs_all(options)) return FASTOPT_NEEDS_ALL;
  if (tensor < 0 || tensor >= plan.tensor_count) return FASTOPT_BAD_RANGE;
  fastopt_tensor& whole = plan.tensors[tensor];
  if (const fastopt_status status = check(plan, whole)) return status;
  if (begin < 0 || begin > end || end > whole.length || !whole.grad) return FASTOPT_BAD_RANGE;
  const FloatControl control;  // the scalars are derived on this thread
  Step& step = scratch(options);
  add(step, plan, options, whole, begin, end);
  if (step.has_factors) return FASTOPT_NEEDS_ALL;
  const bool cuts = begin % FASTOPT_BLOCK != 0 || (end % FASTOPT_BLOCK != 0 && end != whole.length);
  if (begin < end && cuts && has_blocks(whole, *step.rows.back().variant)) return FASTOPT_BAD_RANGE;
  update(step, plan.seed, Line::Order::kForwards);
  return FASTOPT_OK;
}

fastopt_status count_one(const fastopt_plan& plan, int64_t tensor) {
  if (tensor < 0 || tensor >= plan.tensor_count) return FASTOPT_BAD_RANGE;
  fastopt_tensor& done = plan.tensors[tensor];
  if (const fastopt_status status = check(plan, done)) return status;
  const FloatControl control;  // the scalars are derived on this thread
  count(done, Row(plan.groups[done.group], done, fastopt_options{}));
  return FASTOPT_OK;
}

}  // namespace
}  // namespace fastopt

extern "C" {

fastopt_status fastopt_step(const fastopt_plan* plan, const fastopt_options* options, fastopt_report* report) try {
  fastopt::Given given;
  if (const fastopt_status status = given.take(*plan, *options)) return status;
  if (const fastopt_status status = fastopt::check(report)) return status;
  fastopt_report seen{sizeof seen, -1, 1, 0};
  const fastopt_status status = fastopt::step_all(given.plan(), given.options(), seen);
  if (status != FASTOPT_OK) return status;
  given.give_back();
  fastopt::write(seen, report);
  return FASTOPT_OK;
} catch (...) {
  return FASTOPT_NO_MEMORY;
}

fastopt_status fastopt_step_part(const fastopt_plan* plan, const fastopt_options* options, int64_t tensor,
                                 int64_t begin, int64_t end) try {
  fastopt::Given given;
  if (const fastopt_status status = given.take(*plan, *options)) return status;
  return fastopt::step_part(given.plan(), given.options(), tensor, begin, end);
} catch (...) {
  return FASTOPT_NO_MEMORY;
}

fastopt_status fastopt_count(const fastopt_plan* plan, int64_t tensor) try {
  fastopt::Given given;
  if (const fastopt_status status = given.take(*plan)) return status;
  const fastopt_status status = fastopt::count_one(given.plan(), tensor);
  if (status == FASTOPT_OK) given.give_back();
  return status;
} catch (...) {
  return FASTOPT_NO_MEMORY;
}

}  // extern "C"
