// One step over a plan: check it, derive each tensor's scalars, cut the work into chunks, run the kernels.
#include <stddef.h>
#include <string.h>

#include <algorithm>
#include <vector>

#include "../fastopt.h"
#include "float_control.h"
#include "isa.h"
#include "rule_table.h"
#include "threads.h"

namespace fastopt {
namespace {

// Work is handed out in whole tiles of a tensor.  A chunk costs some 0.2 microseconds, so small steps are cut into few;
// a large step is cut into chunks that keep the threads' streams long enough for the memory and yet wait for nobody
// long.  Below kParallel one thread is done sooner (docs/threads.md).
constexpr int64_t kTile = 1024;           // elements
constexpr int64_t kSmallestChunk = 24;    // tiles
constexpr int64_t kLargestChunk = 64;     // tiles
constexpr int64_t kChunksPerThread = 4;   // where that makes them no smaller than the smallest
constexpr int64_t kTensor = 256;          // elements that take as long as the start of a tensor
constexpr int64_t kParallel = 24 * 1024;  // elements
constexpr int64_t kLong = 512 * 1024;     // elements that repay the wake-up of a thread

int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

// The scalars of one group at one step number and running scalars; tensors that agree in these share them.
struct Row {
  int32_t group;
  int64_t t;
  double before[FASTOPT_MAX_RUNNING];  // running scalars before the step and after it
  double after[FASTOPT_MAX_RUNNING];
  const fastopt_variant* variant;
  int32_t kernel;  // index in a KernelSet
  bool staged;
  StageScalars stages;
  double scalars[kMaxScalars];

  bool serves(const fastopt_tensor& tensor) const {
    return group == tensor.group && t == tensor.steps + 1 && memcmp(before, tensor.running, sizeof before) == 0;
  }
};

// A range of one tensor in the line of all tiles.
struct Range {
  fastopt_tensor* tensor;
  int64_t begin, end;  // elements
  int64_t first_tile;
  int32_t row;
};

struct Step {
  std::vector<Row> rows;
  std::vector<Range> ranges;
  int64_t tiles = 0;
  int64_t work = 0;   // elements, and kTensor for each range
  int64_t chunk = 1;  // tiles

  void clear() {
    rows.clear();
    ranges.clear();
    tiles = work = 0;
  }
};

Row make_row(const fastopt_group& group, const fastopt_tensor& tensor, double grad_scale) {
  const RuleRow& rule = *rule_row(group.rule);
  const int32_t variant = rule.variant(group);
  Row row;
  row.group = tensor.group;
  row.t = tensor.steps + 1;
  memcpy(row.before, tensor.running, sizeof row.before);
  memcpy(row.after, tensor.running, sizeof row.after);
  row.variant = &rule.info.variants[variant];
  row.kernel = rule.first_kernel + variant;
  rule.derive(group, row.t, row.after, row.scalars);
  row.stages = StageScalars{};
  row.stages.grad_scale = group.maximize ? -grad_scale : grad_scale;
  row.stages.l1 = group.l1;
  if (group.decoupled_weight_decay) {
    row.stages.keep = 1 - group.lr * group.weight_decay;
  } else {
    row.stages.l2 = group.weight_decay;
  }
  row.staged = row.stages.grad_scale != 1 || row.stages.l1 != 0 || row.stages.l2 != 0 || row.stages.keep != 1;
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
  if (!tensor.param) return FASTOPT_NULL_POINTER;
  const fastopt_variant& variant = rule->info.variants[rule->variant(group)];
  for (int32_t k = 0; k < variant.slot_count; ++k) {
    if (!tensor.state[variant.slots[k]]) return FASTOPT_NULL_POINTER;
  }
  return FASTOPT_OK;
}

void add(Step& step, const fastopt_plan& plan, const fastopt_options& options, fastopt_tensor& tensor, int64_t begin,
         int64_t end) {
  if (step.rows.empty() || !step.rows.back().serves(tensor)) {
    step.rows.push_back(make_row(plan.groups[tensor.group], tensor, options.grad_scale));
  }
  step.ranges.push_back({&tensor, begin, end, step.tiles, static_cast<int32_t>(step.rows.size() - 1)});
  step.tiles += divide_up(end - begin, kTile);
  step.work += end - begin + kTensor;
}

void run_chunk(void* context, int64_t chunk) {
  const Step& step = *static_cast<const Step*>(context);
  const KernelSet& kernels = active_kernels();
  const int64_t first = chunk * step.chunk, last = std::min(first + step.chunk, step.tiles);
  auto range = std::upper_bound(step.ranges.begin(), step.ranges.end(), first,
                                [](int64_t tile, const Range& r) { return tile < r.first_tile; });
  for (--range; range != step.ranges.end() && range->first_tile < last; ++range) {
    if (range->begin == range->end) continue;
    const fastopt_tensor& tensor = *range->tensor;
    const Row& row = step.rows[range->row];
    const int64_t begin = range->begin + std::max<int64_t>(first - range->first_tile, 0) * kTile;
    const int64_t end = std::min(range->begin + (last - range->first_tile) * kTile, range->end);
    const size_t size = tensor.dtype == FASTOPT_FLOAT64 ? sizeof(double) : sizeof(float);
    const auto at = [&](void* array) -> void* { return static_cast<char*>(array) + begin * size; };
    Piece piece{at(tensor.param), at(tensor.grad), {}, end - begin, row.scalars, row.stages};
    for (int32_t k = 0; k < row.variant->slot_count; ++k) piece.state[k] = at(tensor.state[row.variant->slots[k]]);
    note_run((row.staged ? kernels.staged : kernels.bare)[tensor.dtype][row.kernel](piece));
  }
}

void run_chunk_controlled(void* context, int64_t chunk) {
  const FloatControl control;
  run_chunk(context, chunk);
}

void count(fastopt_tensor& tensor, const Row& row) {
  tensor.steps = row.t;
  memcpy(tensor.running, row.after, sizeof row.after);
}

// Tiles of a chunk: the same number of chunks for each thread.
int64_t chunk_of(const Step& step) {
  if (step.work < kParallel) return step.tiles;
  const int64_t share = divide_up(step.tiles, fastopt_num_threads());
  const int64_t few = std::clamp<int64_t>(share / kSmallestChunk, 1, kChunksPerThread);
  return divide_up(share, std::max(few, divide_up(share, kLargestChunk)));
}

void run(Step& step) {
  if (step.tiles == 0) return;
  step.chunk = chunk_of(step);
  parallel(divide_up(step.tiles, step.chunk), run_chunk_controlled, &step, step.work >= kLong);
}

Step& scratch() {
  static thread_local Step step;  // keeps its memory, so that a step allocates nothing
  step.clear();
  return step;
}

}  // namespace
}  // namespace fastopt

extern "C" {

const char* fastopt_status_message(fastopt_status status) {
  switch (status) {
    case FASTOPT_OK:
      return "no error";
    case FASTOPT_BAD_RULE:
      return "there is no rule of that index";
    case FASTOPT_BAD_GROUP:
      return "a tensor names a group that the plan does not have";
    case FASTOPT_BAD_DTYPE:
      return "a tensor's dtype is unknown";
    case FASTOPT_BAD_LENGTH:
      return "a length, an offset or a count of steps is negative";
    case FASTOPT_NULL_POINTER:
      return "a parameter or state array is missing";
    case FASTOPT_BAD_RANGE:
      return "a part lies outside its tensor, or its tensor has no gradient";
    case FASTOPT_NO_MEMORY:
      return "too little memory for the step's bookkeeping";
    case FASTOPT_BAD_ISA:
      return "this machine cannot run that instruction set";
    case FASTOPT_BAD_THREADS:
      return "the number of threads is not in 1 to 4096";
  }
  return "unknown status";
}

fastopt_status fastopt_step(const fastopt_plan* plan, const fastopt_options* options) try {
  const fastopt::FloatControl control;  // the scalars are derived on this thread
  fastopt::Step& step = fastopt::scratch();
  for (int64_t i = 0; i < plan->tensor_count; ++i) {
    fastopt_tensor& tensor = plan->tensors[i];
    if (const fastopt_status status = fastopt::check(*plan, tensor)) return status;
    if (tensor.grad) fastopt::add(step, *plan, *options, tensor, 0, tensor.length);
  }
  fastopt::run(step);
  for (const fastopt::Range& range : step.ranges) fastopt::count(*range.tensor, step.rows[range.row]);
  return FASTOPT_OK;
} catch (...) {
  return FASTOPT_NO_MEMORY;
}

fastopt_status fastopt_step_part(const fastopt_plan* plan, const fastopt_options* options, int64_t tensor,
                                 int64_t begin, int64_t end) try {
  if (tensor < 0 || tensor >= plan->tensor_count) return FASTOPT_BAD_RANGE;
  fastopt_tensor& whole = plan->tensors[tensor];
  if (const fastopt_status status = fastopt::check(*plan, whole)) return status;
  if (begin < 0 || begin > end || end > whole.length || !whole.grad) return FASTOPT_BAD_RANGE;
  const fastopt::FloatControl control;  // the scalars are derived on this thread
  fastopt::Step& step = fastopt::scratch();
  fastopt::add(step, *plan, *options, whole, begin, end);
  fastopt::run(step);
  return FASTOPT_OK;
} catch (...) {
  return FASTOPT_NO_MEMORY;
}

fastopt_status fastopt_count(const fastopt_plan* plan, int64_t tensor) {
  if (tensor < 0 || tensor >= plan->tensor_count) return FASTOPT_BAD_RANGE;
  fastopt_tensor& done = plan->tensors[tensor];
  if (const fastopt_status status = fastopt::check(*plan, done)) return status;
  const fastopt::FloatControl control;  // as above
  fastopt::count(done, fastopt::make_row(plan->groups[done.group], done, 1));
  return FASTOPT_OK;
}

}  // extern "C"
