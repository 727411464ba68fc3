// One step over a plan: check it, derive each tensor's scalars, cut the work into chunks, run the kernels.
#include <stddef.h>
#include <string.h>

#include <vector>

#include "cpu/door/formats.h"
#include "cpu/door/isa.h"
#include "cpu/door/measure.h"
#include "cpu/door/rule_table.h"
#include "cpu/work/float_control.h"
#include "cpu/work/line.h"
#include "fastopt.h"
#include "step/derive.h"

namespace fastopt {
namespace {

// Elements beyond which no cache holds a copy until somebody reads it: it then goes straight to memory, which spares
// reading the lines that it replaces (4% of a whole step at 1e8).
constexpr int64_t kCached = int64_t{8} << 20;

// The scalars of one group at one step number and running scalars; tensors that agree in these share them.
struct Row {
  int32_t group;
  int64_t t;
  double before[FASTOPT_MAX_RUNNING];  // running scalars before the step and after it
  double after[FASTOPT_MAX_RUNNING];
  const fastopt_rule* rule;
  const fastopt_variant* variant;
  int32_t kernel;  // index in a KernelSet
  StageLevel level;
  StageScalars stages{};
  double scalars[FASTOPT_MAX_SCALARS];

  bool serves(const fastopt_tensor& tensor) const {
    return group == tensor.group && t == tensor.steps + 1 && memcmp(before, tensor.running, sizeof before) == 0;
  }
};

// What one call works on; kept from call to call, so that a step allocates nothing.
struct Step {
  std::vector<Row> rows;
  Line line;

  void clear() {
    rows.clear();
    line.clear();
  }
};

Row make_row(const fastopt_group& group, const fastopt_tensor& tensor, const fastopt_options& options) {
  const RuleRow& rule = *rule_row(group.rule);
  const int32_t variant = rule.variant(group);
  Row row;
  row.group = tensor.group;
  row.t = tensor.steps + 1;
  memcpy(row.before, tensor.running, sizeof row.before);
  memcpy(row.after, tensor.running, sizeof row.after);
  row.rule = &rule.info;
  row.variant = &rule.info.variants[variant];
  row.kernel = rule.first_kernel + variant;
  rule.derive(group, row.t, row.after, row.scalars);
  const StageScalars& stages = row.stages = derive_stages(group, options, tensor.steps);
  const bool penalties = stages.grad_scale != 1 || stages.l1 != 0 || stages.l2 != 0 || stages.keep != 1;
  row.level = stages.clip_value != 0 || stages.zero_grad ? kWhole : penalties ? kPenalties : kBare;
  return row;
}

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
    step.rows.push_back(make_row(plan.groups[tensor.group], tensor, options));
  }
  step.line.add(tensor, begin, end, static_cast<int32_t>(step.rows.size() - 1));
}

// The elements of a tensor in [begin, end) as the kernels take them; arrays in a storage format are left to
// update_in_formats.
Piece piece_of(const fastopt_tensor& tensor, const Row& row, int64_t begin, int64_t end, bool stream) {
  const int64_t size = element_size(tensor.dtype);
  const auto at = [&](void* array) -> void* { return array ? static_cast<char*>(array) + begin * size : nullptr; };
  Piece piece{};
  piece.param = at(tensor.param);
  piece.grad = at(tensor.grad);
  piece.ema = row.stages.ema_gain > 1 ? nullptr : at(tensor.ema);  // ema_decay is below 0
  piece.copy_dtype = tensor.copy_dtype;
  piece.stream = tensor.copy && stream;
  piece.length = end - begin;
  piece.scalars = row.scalars;
  piece.stages = &row.stages;
  for (int32_t k = 0; k < row.variant->slot_count; ++k) piece.state[k] = at(tensor.state[row.variant->slots[k]]);
  if (tensor.copy) piece.copy = static_cast<char*>(tensor.copy) + begin * element_size(tensor.copy_dtype);
  return piece;
}

// After a sweep backwards: the caches hold the gradients that it saw last.
void update(const Step& step, uint64_t seed, Line::Order order) {
  const bool stream = step.line.work() > kCached;
  const KernelSet& set = active_kernels();
  step.line.for_each_piece(
      [&](const Range& range, int64_t begin, int64_t end) {
        const fastopt_tensor& tensor = *range.tensor;
        const Row& row = step.rows[range.row];
        const Piece piece = piece_of(tensor, row, begin, end, stream);
        const StageLevel level = piece.ema || tensor.copy ? kWhole : row.level;
        const KernelChoice choice = kernels_of(tensor, *row.rule, *row.variant);
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

Step& scratch() {
  static thread_local Step step;
  step.clear();
  return step;
}

}  // namespace
}  // namespace fastopt

extern "C" {

fastopt_status fastopt_step(const fastopt_plan* plan, const fastopt_options* options, fastopt_report* report) try {
  if (!fastopt::are_valid(*options)) return FASTOPT_BAD_OPTION;
  const fastopt::FloatControl control;  // the scalars are derived on this thread
  fastopt::Step& step = fastopt::scratch();
  for (int64_t i = 0; i < plan->tensor_count; ++i) {
    fastopt_tensor& tensor = plan->tensors[i];
    if (const fastopt_status status = fastopt::check(*plan, tensor)) return status;
    if (tensor.grad) fastopt::add(step, *plan, *options, tensor, 0, tensor.length);
  }
  fastopt_report seen{-1, 1, 0};
  if (fastopt::needs_all(*options)) {
    const fastopt::Measurement found = fastopt::measure(step.line, *options);
    seen = {found.norm, found.finite, options->skip_nonfinite && !found.finite};
    const double factor = fastopt::norm_factor(*options, found.norm);
    for (fastopt::Row& row : step.rows) {
      row.stages.norm_factor = factor;
      if (factor != 1) row.level = fastopt::kWhole;
    }
  }
  if (report) *report = seen;
  if (seen.skipped) {
    if (options->zero_grad) fastopt::zero_gradients(step.line);
    return FASTOPT_OK;
  }
  fastopt::update(step, plan->seed,
                  fastopt::needs_all(*options) ? fastopt::Line::Order::kBackwards : fastopt::Line::Order::kForwards);
  for (const fastopt::Range& range : step.line.ranges()) fastopt::count(*range.tensor, step.rows[range.row]);
  return FASTOPT_OK;
} catch (...) {
  return FASTOPT_NO_MEMORY;
}

fastopt_status fastopt_step_part(const fastopt_plan* plan, const fastopt_options* options, int64_t tensor,
                                 int64_t begin, int64_t end) try {
  if (!fastopt::are_valid(*options)) return FASTOPT_BAD_OPTION;
  if (fastopt::needs_all(*options)) return FASTOPT_NEEDS_ALL;
  if (tensor < 0 || tensor >= plan->tensor_count) return FASTOPT_BAD_RANGE;
  fastopt_tensor& whole = plan->tensors[tensor];
  if (const fastopt_status status = fastopt::check(*plan, whole)) return status;
  if (begin < 0 || begin > end || end > whole.length || !whole.grad) return FASTOPT_BAD_RANGE;
  const fastopt::FloatControl control;  // the scalars are derived on this thread
  fastopt::Step& step = fastopt::scratch();
  fastopt::add(step, *plan, *options, whole, begin, end);
  const bool cuts = begin % FASTOPT_BLOCK != 0 || (end % FASTOPT_BLOCK != 0 && end != whole.length);
  if (begin < end && cuts && fastopt::has_blocks(whole, *step.rows.back().variant)) return FASTOPT_BAD_RANGE;
  fastopt::update(step, plan->seed, fastopt::Line::Order::kForwards);
  return FASTOPT_OK;
} catch (...) {
  return FASTOPT_NO_MEMORY;
}

fastopt_status fastopt_count(const fastopt_plan* plan, int64_t tensor) {
  if (tensor < 0 || tensor >= plan->tensor_count) return FASTOPT_BAD_RANGE;
  fastopt_tensor& done = plan->tensors[tensor];
  if (const fastopt_status status = fastopt::check(*plan, done)) return status;
  const fastopt::FloatControl control;  // as above
  fastopt::count(done, fastopt::make_row(plan->groups[done.group], done, fastopt_options{}));
  return FASTOPT_OK;
}

}  // extern "C"
