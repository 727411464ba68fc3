// Replays through the C door steps that Python wrote down.  Watches what no binding can see: the memory around every
// array, the instruction set that ran, the caller's floating-point control.
//
//   replay isas     names the instruction sets that this machine runs
//   replay check    tests the error statuses of every function
//   replay run CASES RESULTS ISA THREADS whole|parts keep|flush|upward
//
// `flush` and `upward` are settings of the caller during its steps: denormals flushed to zero, rounding towards
// infinity.
//
// CASES is little-endian: an int64 count, then for each case a CaseHeader, the parameter, the state arrays, the average
// and one gradient for each step, as they lie in memory.  The extra data of a format follow the array's elements.
// RESULTS gets each case's parameter, state, average and copy.
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "formats.h"
#include "guarded.h"
#include "sizes.h"
#include "statuses.h"

namespace {

struct CaseHeader {
  char rule[16];
  double hyperparameters[FASTOPT_MAX_HYPERPARAMETERS];
  double lr, weight_decay, l1, grad_scale;
  double running[FASTOPT_MAX_RUNNING];
  double clip_value, max_norm, ema_decay, norm_eps;
  int32_t skip_nonfinite, zero_grad, averages, copy_dtype;  // averages: 0 or 1; copy_dtype: -1 for no copy
  int32_t decoupled, maximize, dtype, slots;
  int32_t shift;                                                                   // elements past a cache line
  int32_t param_format, grad_format, stochastic, state_format[FASTOPT_MAX_SLOTS];  // of the variant's slots
  int64_t before, steps, length, offset;                                           // steps before these
  uint64_t seed;
};
static_assert(sizeof(CaseHeader) == 16 + 8 * (FASTOPT_MAX_HYPERPARAMETERS + 8 + FASTOPT_MAX_RUNNING) +
                                        4 * (12 + FASTOPT_MAX_SLOTS) + 8 * 5,
              "no padding: it is a file's");

size_t size_of(int32_t dtype) { return dtype == FASTOPT_FLOAT64 ? 8 : dtype == FASTOPT_FLOAT32 ? 4 : 2; }

struct Mode {
  const char* isa;
  bool parts;
  Control control;
};

class File {
 public:
  File(const char* path, const char* how) : file_(fopen(path, how)) {
    expect(file_ != nullptr, std::string("cannot open ") + path);
  }
  ~File() { expect(fclose(file_) == 0, "a file could not be closed"); }
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  void read(void* to, size_t bytes) { expect(fread(to, 1, bytes, file_) == bytes, "the file of cases is too short"); }
  void write(const void* from, size_t bytes) {
    expect(fwrite(from, 1, bytes, file_) == bytes, "cannot write the results");
  }

 private:
  FILE* file_;
};

// Steps in uneven parts, one of them empty, the last part first; then counts.  With `blocks` the parts are multiples of
// a block.
void step_in_parts(const fastopt_plan& plan, const fastopt_options& options, bool blocks, Control control) {
  const int64_t n = plan.tensors[0].length, before = plan.tensors[0].steps;
  const int64_t cuts[] = {0, n / 7, n / 7 + (n > 1), n / 2, n / 2, n - n / 11, n};
  std::vector<int64_t> ends(cuts, cuts + sizeof cuts / sizeof cuts[0]);
  if (blocks) {
    for (int64_t& end : ends) end = end == n ? n : end / FASTOPT_BLOCK * FASTOPT_BLOCK;
    for (const auto& [begin, end] : {std::pair<int64_t, int64_t>(0, 1), {1, n}}) {
      const fastopt_status status = n > 1 ? fastopt_step_part(&plan, &options, 0, begin, end) : FASTOPT_BAD_RANGE;
      expect(status == FASTOPT_BAD_RANGE, "a part that cuts a block was taken");
    }
  }
  std::sort(ends.begin(), ends.end());
  for (size_t part = ends.size() - 1; part > 0; --part) {
    const CallersControl caller(control);
    must(fastopt_step_part(&plan, &options, 0, ends[part - 1], ends[part]));
  }
  expect(plan.tensors[0].steps == before, "a part was counted");
  must(fastopt_count(&plan, 0));
}

void replay_case(File& cases, File& results, const Mode& mode) {
  CaseHeader header;
  cases.read(&header, sizeof header);
  expect(memchr(header.rule, 0, sizeof header.rule) != nullptr, "a rule's name is too long");
  expect(header.slots >= 0 && header.slots <= FASTOPT_MAX_SLOTS && header.length >= 0, "the file of cases is damaged");
  fastopt_group group{};
  group.rule = fastopt_find_rule(header.rule);
  expect(group.rule >= 0, std::string("no rule named ") + header.rule);
  group.maximize = header.maximize;
  group.decoupled_weight_decay = header.decoupled;
  group.lr = header.lr;
  group.weight_decay = header.weight_decay;
  group.l1 = header.l1;
  std::copy(std::begin(header.hyperparameters), std::end(header.hyperparameters), group.hyperparameters);
  const fastopt_variant& variant = fastopt_rule_at(group.rule)->variants[fastopt_variant_of(&group)];
  const int32_t slots = variant.slot_count;
  expect(slots == header.slots, "C++ and Python differ in the variant's number of slots");

  std::vector<Guarded> kept;  // parameter, states, average, copy, and the extra data of their formats
  const auto take = [&](size_t bytes, size_t element, bool reads) -> void* {
    // Each array has an alignment of its own.
    kept.emplace_back(bytes, header.shift * (kept.size() + 1) * element % 64);
    if (reads) cases.read(kept.back().data(), bytes);
    return kept.back().data();
  };
  fastopt_tensor tensor{};
  tensor.length = header.length;
  tensor.dtype = header.dtype;
  const auto take_in_format = [&](int32_t format, void*& data, void*& extra) {
    const Layout layout(format, size_of(header.dtype));
    data = take(layout.data_bytes(header.length), layout.size, true);
    if (layout.extra_size > 0) extra = take(layout.extra_bytes(header.length), layout.extra_size, true);
  };
  take_in_format(tensor.param_format = header.param_format, tensor.param, tensor.param_extra);
  for (int32_t& format : tensor.state_format) format = -1;  // of slots that the variant lacks, so nothing looks at them
  bool blocks = false;
  for (int32_t k = 0; k < slots; ++k) {
    const int32_t slot = variant.slots[k], format = header.state_format[k];
    take_in_format(tensor.state_format[slot] = format, tensor.state[slot], tensor.state_extra[slot]);
    blocks = blocks || Layout(format, 1).extra_span > 1;
  }
  if (header.averages) tensor.ema = take(header.length * size_of(header.dtype), size_of(header.dtype), true);
  if (header.copy_dtype >= 0) {
    tensor.copy = take(header.length * size_of(header.copy_dtype), size_of(header.copy_dtype), false);
    tensor.copy_dtype = header.copy_dtype;
  }
  tensor.grad_format = header.grad_format;
  tensor.stochastic = header.stochastic;
  tensor.offset = header.offset;
  tensor.steps = header.before;
  std::copy(std::begin(header.running), std::end(header.running), tensor.running);
  const fastopt_plan plan = plan_of(&tensor, 1, &group, 1, header.seed);
  const fastopt_options options{sizeof options,   header.grad_scale, header.clip_value,
                                header.max_norm,  header.ema_decay,  header.skip_nonfinite,
                                header.zero_grad, header.norm_eps,   nullptr};
  const bool needs_all = header.max_norm > 0 || header.skip_nonfinite;
  for (int64_t t = 1; t <= header.steps; ++t) {
    const Layout layout(header.grad_format, size_of(header.dtype));
    const size_t bytes = layout.data_bytes(header.length);
    Guarded grad(bytes, header.shift * 7 * layout.size % 64);
    cases.read(grad.data(), bytes);
    const std::vector<unsigned char> original(grad.data(), grad.data() + bytes);
    tensor.grad = grad.data();
    const int64_t before = tensor.steps;
    fastopt_report report{};
    report.size = sizeof report;
    if (mode.parts && !needs_all) {
      step_in_parts(plan, options, blocks, mode.control);
    } else {
      const CallersControl caller(mode.control);
      must(fastopt_step(&plan, &options, &report));
    }
    expect(tensor.steps == before + !report.skipped, "the step was not counted once");
    grad.check_padding();
    const std::vector<unsigned char> zeros(bytes);
    const unsigned char* left = header.zero_grad ? zeros.data() : original.data();
    expect(bytes == 0 || memcmp(left, grad.data(), bytes) == 0, "a gradient was written, or not zeroed");
    if (header.length > 0 && !report.skipped) {
      const char* ran = fastopt_isa_last_run();
      expect(ran && strcmp(ran, mode.isa) == 0,
             std::string("asked for ") + mode.isa + ", ran " + (ran ? ran : "nothing"));
    }
  }
  for (const Guarded& array : kept) {
    array.check_padding();
    results.write(array.data(), array.bytes());
  }
}

void replay(const char* cases_path, const char* results_path, const Mode& mode, int32_t threads) {
  must(fastopt_set_isa(mode.isa));
  must(fastopt_set_num_threads(threads));
  File cases(cases_path, "rb"), results(results_path, "wb");
  int64_t count;
  cases.read(&count, sizeof count);
  for (int64_t i = 0; i < count; ++i) replay_case(cases, results, mode);
}

}  // namespace

int main(int count, char** arguments) {
  const std::vector<std::string> given(arguments + 1, arguments + count);
  if (given == std::vector<std::string>{"isas"}) {
    for (int32_t i = 0; fastopt_isa_at(i); ++i) {
      if (fastopt_isa_available(fastopt_isa_at(i))) puts(fastopt_isa_at(i));
    }
    return 0;
  }
  if (given == std::vector<std::string>{"check"}) {
    expect(fastopt_isa_last_run() == nullptr, "an instruction set ran before any step");
    check_names();
    check_plans();
    check_sizes();
    check_gradients();
    check_floor();
    check_formats();
    return 0;
  }
  if (given.size() != 7 || given[0] != "run")
    fail("expected: isas | check | run CASES RESULTS ISA THREADS whole|parts keep|flush|upward");
  expect(given[5] == "whole" || given[5] == "parts", "expected whole or parts");
  const bool flush = given[6] == "flush", upward = given[6] == "upward";
  expect(flush || upward || given[6] == "keep", "expected keep, flush or upward");
  const Control control = flush ? Control::kFlush : upward ? Control::kUpward : Control::kKeep;
  replay(given[1].c_str(), given[2].c_str(), {given[3].c_str(), given[5] == "parts", control}, atoi(given[4].c_str()));
  return 0;
}
