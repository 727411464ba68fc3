// Steps from several threads at once, while others change the settings and the process forks: the bits are those of a
// serial run.
//
//   threads ROUNDS FORKS    for a plain build and for one under the thread sanitizer
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <string>
#include <thread>
#include <vector>

#include "fastopt.h"

namespace {

[[noreturn]] void fail(const std::string& words) {
  fprintf(stderr, "threads: %s\n", words.c_str());
  _exit(1);  // other threads still run
}

void must(fastopt_status status) {
  if (status != FASTOPT_OK) fail(fastopt_status_message(status));
}

void rest() { std::this_thread::sleep_for(std::chrono::milliseconds(1)); }  // long enough for helpers to fall asleep

// What one thread steps: some tensors of one rule, in turn float32, float64, and float32 with 8-bit state.
struct Work {
  const char* rule;
  std::vector<int64_t> lengths;
};

constexpr int64_t kParallel = 24 * 1024;  // as in line.cpp: from here on a step is shared among threads that are awake
constexpr int64_t kLong = 512 * 1024;     // and from here on a step wakes threads that sleep
const Work kWork[] = {
    {"adam", {1}},
    {"adam", {150'001}},
    {"sgd", {kParallel - 1, kParallel + 1, 0, 7}},
    {"adagrad", {kParallel}},
    {"sgd", {kLong + 1}},
    {"adam", {100, 70'000, 50'005, 40'003, 3, 1024, 1025}},
};

// A plan over memory of its own, with the same content whenever it is made.
class Problem {
 public:
  explicit Problem(const Work& work) {
    group_.rule = fastopt_find_rule(work.rule);
    if (group_.rule < 0) fail(std::string("no rule named ") + work.rule);
    group_.lr = 0.01;
    group_.weight_decay = 0.1;
    group_.decoupled_weight_decay = 1;
    const fastopt_rule* rule = fastopt_rule_at(group_.rule);
    for (int32_t i = 0; i < rule->hyperparameter_count; ++i) {
      const std::string name = rule->hyperparameters[i];
      if (name == "beta1" || name == "beta2" || name == "momentum") group_.hyperparameters[i] = 0.9;
      if (name == "eps") group_.hyperparameters[i] = 1e-8;
    }
    uint32_t seed = 1;
    for (const int64_t length : work.lengths) {
      const size_t kind = tensors_.size() % 3;
      add(length, kind == 1 ? FASTOPT_FLOAT64 : FASTOPT_FLOAT32, seed);
      if (kind == 2) compress(tensors_.back(), *rule);
    }
  }
  Problem(const Problem&) = delete;
  Problem& operator=(const Problem&) = delete;

  void step(const fastopt_team* team = nullptr) {
    const fastopt_plan plan{sizeof plan,
                            tensors_.data(),
                            static_cast<int64_t>(tensors_.size()),
                            sizeof(fastopt_tensor),
                            &group_,
                            1,
                            sizeof group_,
                            1};
    fastopt_options options{};
    options.size = sizeof options;
    options.grad_scale = 0.5;
    options.max_norm = 1e3;
    options.skip_nonfinite = 1;
    options.team = team;
    must(fastopt_step(&plan, &options, nullptr));
  }

  bool operator==(const Problem& other) const { return arrays_ == other.arrays_; }

 private:
  void add(int64_t length, fastopt_dtype dtype, uint32_t& seed) {
    const auto fill = [&](auto element, bool positive) {
      using T = decltype(element);
      arrays_.emplace_back(length * sizeof(T) + 1);  // never empty: the arrays have addresses
      T* values = reinterpret_cast<T*>(arrays_.back().data());
      for (int64_t i = 0; i < length; ++i) {
        seed = seed * 1664525 + 1013904223;
        const T value = static_cast<T>(seed >> 8) / (1 << 23) - 1;
        values[i] = positive ? value * value : value;
      }
      return static_cast<void*>(values);
    };
    const auto array = [&](bool positive) {
      return dtype == FASTOPT_FLOAT64 ? fill(0.0, positive) : fill(0.0f, positive);
    };
    fastopt_tensor tensor{};
    tensor.param = array(false);
    tensor.grad = array(false);
    for (void*& slot : tensor.state) slot = array(true);
    tensor.length = length;
    tensor.dtype = dtype;
    tensors_.push_back(tensor);
  }

  // State of zeros in whole blocks.
  void compress(fastopt_tensor& tensor, const fastopt_rule& rule) {
    const int64_t blocks = tensor.length / FASTOPT_BLOCK + 1;
    const auto zeros = [&](int64_t bytes) -> void* {
      arrays_.emplace_back(bytes);
      return arrays_.back().data();
    };
    for (int32_t slot = 0; slot < rule.slot_count; ++slot) {
      const bool is_signed = rule.slot_kinds[slot] == FASTOPT_SIGNED;
      tensor.state_format[slot] = fastopt_find_format(is_signed ? "8bit" : "8bit non-negative");
      tensor.state[slot] = zeros(blocks * FASTOPT_BLOCK);
      tensor.state_extra[slot] = zeros(blocks * 4);
    }
  }

  fastopt_group group_{};
  std::vector<fastopt_tensor> tensors_;
  std::vector<std::vector<unsigned char>> arrays_;
};

std::vector<const char*> available() {
  std::vector<const char*> names;
  for (int32_t i = 0; fastopt_isa_at(i); ++i) {
    if (fastopt_isa_available(fastopt_isa_at(i))) names.push_back(fastopt_isa_at(i));
  }
  return names;
}

// Steps the whole plan on one thread, in the plainest instruction set, before any other thread exists.
void run_serially(Problem& problem, int rounds) {
  must(fastopt_set_num_threads(1));
  must(fastopt_set_isa("scalar"));
  for (int i = 0; i < rounds; ++i) problem.step();
}

void run_awake_and_asleep(Problem& problem, int rounds) {
  for (int i = 0; i < rounds; ++i) {
    problem.step();
    if (i % 8 == 7) rest();
  }
}

// Steps that call many helpers and few helpers in turn: a helper called to the first may come only to the second.
void alternate(int rounds) {
  const Work wide{"sgd", {100'001}}, narrow{"adam", {kParallel}};
  Problem expected_wide(wide), expected_narrow(narrow), found_wide(wide), found_narrow(narrow);
  run_serially(expected_wide, rounds);
  run_serially(expected_narrow, 10 * rounds);
  must(fastopt_set_num_threads(12));
  for (int i = 0; i < rounds; ++i) {
    found_wide.step();
    for (int k = 0; k < 10; ++k) found_narrow.step();
  }
  if (!(found_wide == expected_wide && found_narrow == expected_narrow))
    fail("steps of two sizes in turn differ from a serial run");
}

// Lends all threads that are asked for, two, none but the caller's, or refuses, in turn.
struct Lender {
  std::atomic<int> calls{0};
  fastopt_team team{sizeof team, [](void*) { return 5; },
                    [](void* self, int32_t threads, void (*work)(void*, int32_t), void* argument) {
                      return static_cast<Lender*>(self)->run(threads, work, argument);
                    },
                    this};

  int32_t run(int32_t threads, void (*work)(void*, int32_t), void* argument) {
    const int kind = calls.fetch_add(1) % 4;
    if (kind == 3) return 0;
    std::vector<std::thread> helpers;
    for (int i = 1; i < (kind == 0 ? threads : kind == 1 ? 2 : 1); ++i) helpers.emplace_back(work, argument, i);
    work(argument, 0);
    for (std::thread& helper : helpers) helper.join();
    return 1;
  }
};

void run_on_lent_threads(const Work& work, const Problem& expected, int rounds) {
  Lender lender;
  Problem found(work);
  for (int i = 0; i < rounds; ++i) found.step(&lender.team);
  if (!(found == expected)) fail("steps on lent threads differ from a serial run");
  int64_t elements = 0;
  for (const int64_t length : work.lengths) elements += length;
  if (elements > kLong && lender.calls.load() == 0) fail("no step took the lent threads");
}

void change_settings(const std::atomic<bool>& done) {
  const std::vector<const char*> isas = available();
  for (uint32_t i = 0; !done.load(); ++i) {
    must(fastopt_set_num_threads(static_cast<int32_t>(1 + i % 4)));
    must(fastopt_set_isa(isas[i % isas.size()]));
    if (i % 16 == 15) rest();
  }
}

constexpr int kDiffers = 3;  // a child's exit status

// A child of a process whose helpers are at work has to start its own.
void fork_and_step(const Work& work, const Problem& expected, int rounds) {
  fflush(nullptr);
  const pid_t child = fork();
  if (child < 0) fail("cannot fork");
  if (child == 0) {
    alarm(60);
    must(fastopt_set_num_threads(4));
    Problem problem(work);
    run_awake_and_asleep(problem, rounds);
    _exit(problem == expected ? 0 : kDiffers);
  }
  int status;
  if (waitpid(child, &status, 0) != child) fail("lost a child");
  if (!WIFEXITED(status)) fail("a child was ended by signal " + std::to_string(WTERMSIG(status)));
  if (WEXITSTATUS(status) == kDiffers) fail("a child's bits differ from a serial run's");
  if (WEXITSTATUS(status) != 0) fail("a child ended with status " + std::to_string(WEXITSTATUS(status)));
}

}  // namespace

int main(int count, char** arguments) {
  if (count != 3) fail("expected ROUNDS FORKS");
  const int rounds = atoi(arguments[1]), forks = atoi(arguments[2]);
  constexpr size_t kCount = sizeof kWork / sizeof kWork[0];
  std::vector<Problem*> expected, found;  // at fixed addresses
  for (const Work& work : kWork) {
    expected.push_back(new Problem(work));
    found.push_back(new Problem(work));
    run_serially(*expected.back(), rounds);
  }

  alternate(rounds);
  for (size_t i = 0; i < kCount; ++i) run_on_lent_threads(kWork[i], *expected[i], rounds);

  std::atomic<bool> done{false};
  std::thread changer(change_settings, std::cref(done));
  std::vector<std::thread> steppers;
  for (Problem* problem : found) steppers.emplace_back(run_awake_and_asleep, std::ref(*problem), rounds);
  for (size_t i = 0; i < kCount; ++i)
    steppers.emplace_back(run_on_lent_threads, std::cref(kWork[i]), std::cref(*expected[i]), rounds);
  for (int i = 0; i < forks; ++i) {
    const size_t which = i % kCount;
    fork_and_step(kWork[which], *expected[which], rounds);
  }
  for (std::thread& stepper : steppers) stepper.join();
  done.store(true);
  changer.join();

  for (size_t i = 0; i < kCount; ++i) {
    if (!(*found[i] == *expected[i])) fail("the bits of plan " + std::to_string(i) + " differ from a serial run's");
    delete expected[i];
    delete found[i];
  }
  return 0;
}
