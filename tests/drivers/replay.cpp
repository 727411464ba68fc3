// Replays steps written down by Python through the C door, and watches what no binding can see: the memory around
// every array, the instruction set that ran, the caller's floating-point control.
//
//   replay isas     names the instruction sets that this machine runs
//   replay check    tests the error statuses of every function
//   replay run CASES RESULTS ISA THREADS whole|parts keep|flush|upward
//
// `flush` and `upward` are what the caller has set when it steps: denormals flushed to zero, rounding towards infinity.
// CASES is little-endian: an int64 count, then for each case a CaseHeader, the parameter, the state arrays and one
// gradient a step, as elements of the case's dtype.  RESULTS gets each case's parameter, state, average and copy.
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "guarded.h"
#include "statuses.h"

namespace {

struct CaseHeader {
  char rule[16];
  double hyperparameters[FASTOPT_MAX_HYPERPARAMETERS];
  double lr, weight_decay, l1, grad_scale;
  double running[FASTOPT_MAX_RUNNING];
  double clip_value, max_norm, ema_decay;
  int32_t skip_nonfinite, zero_grad, averages, copy_dtype;  // whether there is an average; -1: no copy
  int32_t decoupled, maximize, dtype, slots;
  int64_t before, steps, length,
      shift;  // steps before these; shift: bytes past a cache line, a multiple of the element
};
static_assert(sizeof(CaseHeader) == 16 + 8 * (FASTOPT_MAX_HYPERPARAMETERS + 7 + FASTOPT_MAX_RUNNING) + 4 * 8 + 8 * 4,
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

// Uneven parts, one of them empty, the last one first; then the count.
void step_in_parts(const fastopt_plan& plan, const fastopt_options& options, Control control) {
  const int64_t n = plan.tensors[0].length, before = plan.tensors[0].steps;
  const int64_t cuts[] = {0, n / 7, n / 7 + (n > 1), n / 2, n / 2, n - n / 11, n};
  std::vector<int64_t> ends(cuts, cuts + sizeof cuts / sizeof cuts[0]);
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

  const size_t bytes = header.length * size_of(header.dtype);
  std::vector<Guarded> kept;  // parameter, state, average, copy
  for (int32_t k = 0; k <= slots + header.averages; ++k) {
    kept.emplace_back(bytes, (header.shift * (k + 1)) % 64);  // each array aligned in its own way
    if (k <= slots) cases.read(kept.back().data(), bytes);
  }
  if (header.copy_dtype >= 0) {
    const size_t element = size_of(header.copy_dtype);
    kept.emplace_back(header.length * element, header.shift / size_of(header.dtype) * element % 64);
  }
  fastopt_tensor tensor{};
  tensor.param = kept[0].data();
  for (int32_t k = 0; k < slots; ++k) tensor.state[variant.slots[k]] = kept[k + 1].data();
  std::copy(std::begin(header.running), std::end(header.running), tensor.running);
  tensor.steps = header.before;
  if (header.averages) tensor.ema = kept[slots + 1].data();
  if (header.averages && bytes > 0) memcpy(tensor.ema, tensor.param, bytes);
  if (header.copy_dtype >= 0) {
    tensor.copy = kept.back().data();
    tensor.copy_dtype = header.copy_dtype;
  }
  tensor.length = header.length;
  tensor.dtype = header.dtype;
  const fastopt_plan plan{&tensor, 1, &group, 1};
  const fastopt_options options{header.grad_scale, header.clip_value,     header.max_norm,
                                header.ema_decay,  header.skip_nonfinite, header.zero_grad};
  const bool needs_all = header.max_norm > 0 || header.skip_nonfinite;
  for (int64_t t = 1; t <= header.steps; ++t) {
    Guarded grad(bytes, (header.shift * 7) % 64);
    cases.read(grad.data(), bytes);
    const std::vector<unsigned char> original(grad.data(), grad.data() + bytes);
    tensor.grad = grad.data();
    const int64_t before = tensor.steps;
    fastopt_report report{};
    if (mode.parts && !needs_all) {
      step_in_parts(plan, options, mode.control);
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
    check_gradients();
    check_floor();
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
