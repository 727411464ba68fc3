// Replays steps written down by Python through the C door, and watches what no binding can see: the memory around
// every array, the instruction set that ran, the caller's floating-point control.
//
//   replay isas     names the instruction sets that this machine runs
//   replay check    tests the error statuses of every function
//   replay run CASES RESULTS ISA THREADS whole|parts keep|flush|upward
//
// `flush` and `upward` are what the caller has set when it steps: denormals flushed to zero, rounding towards infinity.
// CASES is little-endian: an int64 count, then for each case a CaseHeader, the parameter, the state arrays and one
// gradient a step, as elements of the case's dtype.  RESULTS gets each case's parameter and state arrays.
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "../../csrc/fastopt.h"

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(address, size) (static_cast<void>(address), static_cast<void>(size))
#define ASAN_UNPOISON_MEMORY_REGION(address, size) (static_cast<void>(address), static_cast<void>(size))
#endif

namespace {

[[noreturn]] void fail(const std::string& words) {
  fprintf(stderr, "replay: %s\n", words.c_str());
  exit(1);
}

void expect(bool holds, const char* words) {
  if (!holds) fail(words);
}

void expect(bool holds, const std::string& words) {
  if (!holds) fail(words);
}

// ---- Floating-point control ---------------------------------------------------------------------------------------

enum class Control { kKeep, kFlush, kUpward };

#if defined(__x86_64__)
uint64_t get_control() { return _mm_getcsr() & ~uint32_t{0x3F}; }  // without the sticky exception flags
void set_control(uint64_t value) { _mm_setcsr(static_cast<uint32_t>(value)); }
constexpr uint64_t kFlushBits = 0x8040;  // FTZ, DAZ
constexpr uint64_t kUpwardBits = 0x4000;
#elif defined(__aarch64__)
uint64_t get_control() {
  uint64_t value;
  asm volatile("mrs %0, fpcr" : "=r"(value));
  return value;
}
void set_control(uint64_t value) { asm volatile("msr fpcr, %0" : : "r"(value)); }
constexpr uint64_t kFlushBits = uint64_t{1} << 24;   // FZ
constexpr uint64_t kUpwardBits = uint64_t{1} << 22;  // RMode
#endif

// The caller's setting around one call; the call must leave it as it found it.
class CallersControl {
 public:
  explicit CallersControl(Control control) : before_(get_control()), set_(before_) {
    if (control == Control::kFlush) set_ |= kFlushBits;
    if (control == Control::kUpward) set_ |= kUpwardBits;
    set_control(set_);
  }
  ~CallersControl() {
    const uint64_t after = get_control();
    set_control(before_);
    expect(after == set_, "a call changed its caller's floating-point control");
  }
  CallersControl(const CallersControl&) = delete;
  CallersControl& operator=(const CallersControl&) = delete;

 private:
  const uint64_t before_;
  uint64_t set_;
};

// ---- Arrays in poison ---------------------------------------------------------------------------------------------

// An array at `shift` bytes past a cache line, with a pattern before and after it that nobody may touch.
class Guarded {
 public:
  Guarded(size_t bytes, size_t shift)
      : bytes_(bytes), begin_(kGuard + shift), size_((begin_ + bytes + 2 * kGuard) / 64 * 64) {
    memory_.reset(static_cast<unsigned char*>(aligned_alloc(64, size_)));
    expect(memory_ != nullptr, "out of memory");
    memset(memory_.get(), kPattern, size_);
    hide();
  }
  Guarded(Guarded&&) = default;
  ~Guarded() {
    if (memory_) show();
  }

  unsigned char* data() const { return memory_.get() + begin_; }
  size_t bytes() const { return bytes_; }

  void check_padding() const {
    show();
    const unsigned char* all = memory_.get();
    for (size_t i = 0; i < size_; ++i) {
      if (i == begin_) i += bytes_;
      if (i < size_ && all[i] != kPattern) {
        const auto place = static_cast<int64_t>(i) - static_cast<int64_t>(begin_);
        fail("byte " + std::to_string(place) + " of an array of " + std::to_string(bytes_) + " bytes was written");
      }
    }
    hide();
  }

 private:
  static constexpr size_t kGuard = 128;  // bytes: two vectors of the widest set
  static constexpr unsigned char kPattern = 0xA5;

  struct Free {
    void operator()(unsigned char* memory) const { free(memory); }
  };

  // The pattern catches stray writes; hidden from the address sanitizer, the padding also catches stray reads.
  void hide() const {
    ASAN_POISON_MEMORY_REGION(memory_.get(), begin_);
    ASAN_POISON_MEMORY_REGION(data() + bytes_, size_ - begin_ - bytes_);
  }
  void show() const { ASAN_UNPOISON_MEMORY_REGION(memory_.get(), size_); }

  size_t bytes_, begin_, size_;
  std::unique_ptr<unsigned char, Free> memory_;
};

// ---- Replay -------------------------------------------------------------------------------------------------------

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

void must(fastopt_status status) { expect(status == FASTOPT_OK, fastopt_status_message(status)); }

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

// ---- Errors -------------------------------------------------------------------------------------------------------

// Two good tensors of amsgrad, whose variant has the most state; each test breaks one thing in the second, so that the
// first shows whether anything was written.
struct Scene {
  static constexpr int kLength = 5, kArrays = 5;
  float arrays[2][kArrays][kLength];
  fastopt_group group{};
  fastopt_tensor tensors[2]{};
  fastopt_plan plan{tensors, 2, &group, 1};
  fastopt_options options{1, 0, 0, 0, 0, 0};

  Scene() {
    group.rule = fastopt_find_rule("adam");
    group.lr = 0.1;
    const fastopt_rule* rule = fastopt_rule_at(group.rule);
    for (int32_t i = 0; i < rule->hyperparameter_count; ++i) {
      if (strcmp(rule->hyperparameters[i], "amsgrad") == 0) group.hyperparameters[i] = 1;
    }
    for (int t = 0; t < 2; ++t) {
      for (int a = 0; a < kArrays; ++a) {
        for (int i = 0; i < kLength; ++i) arrays[t][a][i] = static_cast<float>(1 + t + a + i);
      }
      tensors[t].param = arrays[t][0];
      tensors[t].grad = arrays[t][1];
      for (int k = 0; k < 3; ++k) tensors[t].state[k] = arrays[t][2 + k];
      tensors[t].length = kLength;
      tensors[t].dtype = FASTOPT_FLOAT32;
    }
  }
};

template <class Break> void refuses(fastopt_status expected, const char* what, Break break_it) {
  const Scene good;
  Scene scene;
  break_it(scene);
  const int64_t before[2] = {scene.tensors[0].steps, scene.tensors[1].steps};
  const auto untouched = [&](fastopt_status status, const char* call) {
    const std::string words = std::string(what) + ": " + call;
    expect(status == expected, words + " gave \"" + fastopt_status_message(status) + '"');
    expect(memcmp(scene.arrays, good.arrays, sizeof good.arrays) == 0, words + " wrote");
    expect(scene.tensors[0].steps == before[0] && scene.tensors[1].steps == before[1], words + " counted");
  };
  untouched(fastopt_step(&scene.plan, &scene.options, nullptr), "fastopt_step");
  untouched(fastopt_step_part(&scene.plan, &scene.options, 1, 0, 2), "fastopt_step_part");
}

void bad_part(int64_t tensor, int64_t begin, int64_t end) {
  const Scene good;
  Scene scene;
  expect(fastopt_step_part(&scene.plan, &scene.options, tensor, begin, end) == FASTOPT_BAD_RANGE,
         "a bad part was taken");
  expect(memcmp(scene.arrays, good.arrays, sizeof good.arrays) == 0, "a bad part was written");
}

void check_needs_all() {
  for (int stage = 0; stage < 2; ++stage) {
    const Scene good;
    Scene scene;
    (stage == 0 ? scene.options.max_norm : scene.options.grad_scale) = 1;
    scene.options.skip_nonfinite = stage;
    expect(fastopt_step_part(&scene.plan, &scene.options, 0, 0, 2) == FASTOPT_NEEDS_ALL,
           "a part without all gradients");
    expect(memcmp(scene.arrays, good.arrays, sizeof good.arrays) == 0, "a refused part was written");
  }
}

void check_plans() {
  Scene good;
  must(fastopt_step(&good.plan, &good.options, nullptr));
  refuses(FASTOPT_BAD_RULE, "rule -1", [](Scene& s) { s.group.rule = -1; });
  refuses(FASTOPT_BAD_RULE, "rule past the end", [](Scene& s) { s.group.rule = fastopt_rule_count(); });
  refuses(FASTOPT_BAD_GROUP, "group -1", [](Scene& s) { s.tensors[1].group = -1; });
  refuses(FASTOPT_BAD_GROUP, "group past the end", [](Scene& s) { s.tensors[1].group = 1; });
  refuses(FASTOPT_BAD_GROUP, "no groups", [](Scene& s) { s.plan.groups = nullptr, s.plan.group_count = 0; });
  refuses(FASTOPT_BAD_DTYPE, "dtype -1", [](Scene& s) { s.tensors[1].dtype = -1; });
  refuses(FASTOPT_BAD_DTYPE, "dtype 2", [](Scene& s) { s.tensors[1].dtype = 2; });
  refuses(FASTOPT_BAD_LENGTH, "length -1", [](Scene& s) { s.tensors[1].length = -1; });
  refuses(FASTOPT_BAD_LENGTH, "offset -1", [](Scene& s) { s.tensors[1].offset = -1; });
  refuses(FASTOPT_BAD_LENGTH, "steps -1", [](Scene& s) { s.tensors[1].steps = -1; });
  refuses(FASTOPT_NULL_POINTER, "no parameter", [](Scene& s) { s.tensors[1].param = nullptr; });
  for (int k = 0; k < 3; ++k)
    refuses(FASTOPT_NULL_POINTER, "no state", [k](Scene& s) { s.tensors[1].state[k] = nullptr; });
  refuses(FASTOPT_BAD_OPTION, "an infinite scale", [](Scene& s) { s.options.grad_scale = INFINITY; });
  refuses(FASTOPT_BAD_OPTION, "clip_value -1", [](Scene& s) { s.options.clip_value = -1; });
  refuses(FASTOPT_BAD_OPTION, "max_norm NaN", [](Scene& s) { s.options.max_norm = NAN; });
  refuses(FASTOPT_BAD_OPTION, "ema_decay 1", [](Scene& s) { s.options.ema_decay = 1; });
  refuses(FASTOPT_BAD_DTYPE, "a copy of dtype 4", [](Scene& s) {
    s.tensors[1].copy = s.tensors[1].grad;
    s.tensors[1].copy_dtype = 4;
  });
  check_needs_all();
  bad_part(-1, 0, 1);
  bad_part(2, 0, 1);
  bad_part(0, -1, 1);
  bad_part(0, 3, 2);
  bad_part(0, 0, Scene::kLength + 1);
  bad_part(0, INT64_MIN, INT64_MAX);
}

void check_gradients() {
  const Scene good;
  Scene scene;
  scene.tensors[1].grad = nullptr;
  must(fastopt_step(&scene.plan, &scene.options, nullptr));
  expect(scene.tensors[0].steps == 1 && memcmp(scene.arrays[0], good.arrays[0], sizeof good.arrays[0]) != 0,
         "a tensor was left out");
  expect(scene.tensors[1].steps == 0 && memcmp(scene.arrays[1], good.arrays[1], sizeof good.arrays[1]) == 0,
         "a tensor without a gradient was not left alone");
  expect(fastopt_step_part(&scene.plan, &scene.options, 1, 0, 1) == FASTOPT_BAD_RANGE,
         "a part without a gradient was taken");
  expect(fastopt_count(&scene.plan, -1) == FASTOPT_BAD_RANGE && fastopt_count(&scene.plan, 2) == FASTOPT_BAD_RANGE,
         "a tensor that is not there was counted");
  const fastopt_plan empty{nullptr, 0, nullptr, 0};
  must(fastopt_step(&empty, &scene.options, nullptr));
  fastopt_tensor nothing{};  // no elements, and so no arrays
  const fastopt_plan zero{&nothing, 1, &scene.group, 1};
  must(fastopt_step(&zero, &scene.options, nullptr));
}

void check_floor() {
  Scene scene;
  const auto floor = [&](auto break_it, int32_t slots) {
    fastopt_tensor tensor = scene.tensors[0];
    break_it(tensor);
    return fastopt_floor(&tensor, slots, &scene.options);
  };
  const auto keep = [](fastopt_tensor&) {};
  expect(floor(keep, -1) == FASTOPT_BAD_RULE && floor(keep, FASTOPT_MAX_SLOTS + 1) == FASTOPT_BAD_RULE,
         "floor: bad slot count");
  expect(floor([](fastopt_tensor& t) { t.dtype = 2; }, 3) == FASTOPT_BAD_DTYPE, "floor: bad dtype");
  expect(floor([](fastopt_tensor& t) { t.length = -1; }, 3) == FASTOPT_BAD_LENGTH, "floor: bad length");
  expect(floor([](fastopt_tensor& t) { t.param = nullptr; }, 3) == FASTOPT_NULL_POINTER, "floor: no parameter");
  expect(floor([](fastopt_tensor& t) { t.grad = nullptr; }, 3) == FASTOPT_NULL_POINTER, "floor: no gradient");
  expect(floor(keep, 4) == FASTOPT_NULL_POINTER, "floor: no state");
  expect(memcmp(scene.arrays, Scene().arrays, sizeof scene.arrays) == 0, "a refused floor wrote");
  must(floor(keep, 3));
}

void check_names() {
  expect(fastopt_rule_count() > 0, "there are no rules");
  for (int32_t i = 0; i < fastopt_rule_count(); ++i) {
    const fastopt_rule* rule = fastopt_rule_at(i);
    expect(rule && fastopt_find_rule(rule->name) == i, "a rule is not found by its name");
  }
  expect(!fastopt_rule_at(-1) && !fastopt_rule_at(fastopt_rule_count()), "there is a rule outside the table");
  expect(fastopt_find_rule("none") == -1 && fastopt_find_rule(nullptr) == -1, "a rule without a name was found");
  fastopt_group group{};
  double scalars[64];
  double running[FASTOPT_MAX_RUNNING] = {};
  const auto derive = [&](const fastopt_group* of, int64_t t) { return fastopt_derive(of, t, running, scalars); };
  expect(derive(&group, 0) == FASTOPT_BAD_LENGTH, "step 0 was derived");
  group.rule = fastopt_find_rule("nadam");
  expect(fastopt_derive(&group, 1, nullptr, scalars) == FASTOPT_NULL_POINTER, "derived without a running scalar");
  group.rule = fastopt_rule_count();
  expect(derive(&group, 1) == FASTOPT_BAD_RULE && derive(nullptr, 1) == FASTOPT_BAD_RULE,
         "a rule outside the table was derived");
  expect(fastopt_variant_of(&group) == -1 && fastopt_variant_of(nullptr) == -1, "a bad group has a variant");

  int32_t sets = 0;
  for (; fastopt_isa_at(sets); ++sets) {
    const bool runs = fastopt_isa_available(fastopt_isa_at(sets));
    expect(fastopt_set_isa(fastopt_isa_at(sets)) == (runs ? FASTOPT_OK : FASTOPT_BAD_ISA),
           "availability and choice differ");
    expect(!runs || strcmp(fastopt_isa(), fastopt_isa_at(sets)) == 0,
           "the chosen instruction set is not the active one");
  }
  expect(sets > 0 && strcmp(fastopt_isa_at(sets - 1), "scalar") == 0, "the last instruction set is not scalar");
  expect(!fastopt_isa_at(-1) && !fastopt_isa_at(sets + 1), "there is an instruction set outside the table");
  const std::string active = fastopt_isa();
  expect(fastopt_set_isa("sse") == FASTOPT_BAD_ISA && fastopt_set_isa(nullptr) == FASTOPT_BAD_ISA,
         "a bad instruction set was taken");
  expect(fastopt_isa_available(nullptr) == 0 && active == fastopt_isa(),
         "a refused instruction set changed the active one");
  expect(fastopt_num_threads() >= 1, "fewer than one thread");
  const int32_t threads = fastopt_num_threads();
  expect(fastopt_set_num_threads(0) == FASTOPT_BAD_THREADS && fastopt_set_num_threads(-1) == FASTOPT_BAD_THREADS,
         "0 threads were taken");
  expect(fastopt_num_threads() == threads, "a refused number of threads changed it");
  for (int status = FASTOPT_OK; status <= FASTOPT_BAD_THREADS + 1; ++status) {
    const char* message = fastopt_status_message(static_cast<fastopt_status>(status));
    const bool known = strcmp(message, "unknown status") != 0;
    expect(known == (status <= FASTOPT_BAD_THREADS) && *message, "a status has no message of its own");
  }
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
