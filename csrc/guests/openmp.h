// The threads of an OpenMP runtime that another library of this process uses, lent to steps while they are awake.
#pragma once
#include <stdint.h>

#include <atomic>

#include "fastopt.h"

namespace fastopt::guests {

// The team of the runtime that a loaded library uses.  After a parallel region GNU's and LLVM's threads spin for some
// milliseconds, and a helper of our own on one of their processors gets half of it (docs/threads.md).  So a step that
// follows takes its helpers from those threads.  When they sleep, waking them takes longer than waking ours.
class OpenMp {
 public:
  // `library`: the path of a library that this process has loaded; `threads`: the name of a function without arguments
  // that tells how many threads the library gives the calling thread's work, such as omp_get_max_threads.  Throws
  // std::runtime_error if the library is not loaded, or if neither it nor what it was linked with has that function and
  // such a runtime.
  OpenMp(const char* library, const char* threads);
  ~OpenMp();
  OpenMp(const OpenMp&) = delete;
  OpenMp& operator=(const OpenMp&) = delete;

  const fastopt_team* team() const { return &team_; }

  int64_t regions() const { return regions_.load(std::memory_order_relaxed); }  // that it ran for steps

 private:
  int32_t run(int32_t threads, void (*work)(void*, int32_t), void* argument) const;

  void* library_;
  int (*thread_count_)();
  int (*in_parallel_)();
  int (*thread_number_)();
  void (*parallel_)(void (*)(void*), void*, unsigned, unsigned);
  mutable std::atomic<int64_t> regions_{0};
  fastopt_team team_;
};

}  // namespace fastopt::guests
