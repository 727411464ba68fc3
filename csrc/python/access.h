// Who may use a plan, and when.
#pragma once
#include <stdint.h>

#include <memory>
#include <mutex>

#include "python/forks.h"

namespace fastopt::python {

// One thread at a time has a plan, no step begins inside another, and none continues what a fork has torn.
class Access {
 public:
  using Lock = std::unique_lock<std::recursive_mutex>;

  // Raises a flag for a scope.
  class Raised {
   public:
    explicit Raised(bool& flag) : flag_(flag) { flag_ = true; }
    ~Raised() { flag_ = false; }
    Raised(const Raised&) = delete;
    Raised& operator=(const Raised&) = delete;

   private:
    bool& flag_;
  };

  // To be called with the GIL.  Whoever has the mutex may be waiting for the GIL, and waits for ever while the
  // interpreter ends: this waits for neither while it has the other.
  Lock lock() {
    if (forks_ != fork_count()) after_fork();
    Lock lock(*mutex_, std::try_to_lock);
    if (!lock) wait(lock);
    return lock;
  }

  [[nodiscard]] Raised looking() { return Raised(looking_); }  // at gradients, which may run Python code
  [[nodiscard]] Raised writing() { return Raised(writing_); }  // kernels are at work

  void check_steppable() const {
    if (looking_ || torn_) refuse();
  }
  void check_whole() const {
    if (torn_) refuse_torn();
  }

  // All that a fork may have torn has been written anew.
  void mend() { torn_ = false; }

 private:
  static void wait(Lock& lock);
  void after_fork();
  void refuse() const;
  static void refuse_torn();

  // Recursive, since a gradient's own Python code may ask the plan for something while a step looks at that gradient.
  std::unique_ptr<std::recursive_mutex> mutex_ = std::make_unique<std::recursive_mutex>();
  uint32_t forks_ = fork_count();
  bool looking_ = false, writing_ = false;
  bool torn_ = false;  // a fork came in between: some elements have had their step
};

}  // namespace fastopt::python
