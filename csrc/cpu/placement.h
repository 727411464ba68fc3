// Where a helper thread runs.  Schedulers, those of virtual machines above all, may wake a helper on the processor of
// the very thread that waits for it, and leave the next one idle for milliseconds; moving the helper costs microseconds
// (docs/threads.md has both measured).  Elsewhere than on Linux nothing is moved.
#pragma once

#include <atomic>
#include <cstdint>

#if defined(__linux__)
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace fastopt {

#if defined(__linux__)

inline int current_processor() { return sched_getcpu(); }

// The placement of one thread.  begin() and release() are for the thread itself, the rest for the one that gives it
// work.
class Placement {
 public:
  void begin() {
    thread_ = static_cast<pid_t>(syscall(SYS_gettid));
    // The process's processors: whoever started the thread may itself be pinned to one.
    known_.store(sched_getaffinity(getpid(), sizeof allowed_, &allowed_) == 0 &&
                 sched_setaffinity(0, sizeof allowed_, &allowed_) == 0);
  }

  // Keeps a sleeping thread from waking on `processor`, if it may run elsewhere.
  void avoid(int processor) {
    if (avoided_.load() == processor || !known_.load() || !valid(processor)) return;
    cpu_set_t rest = allowed_;
    CPU_CLR(processor, &rest);
    if (CPU_COUNT(&rest) == 0) return;
    sched_setaffinity(thread_, sizeof rest, &rest);
    avoided_.store(processor);
  }

  // Brings the thread onto `processor`, if it may run there.
  void take(int processor) {
    if (!known_.load() || !valid(processor) || !CPU_ISSET(processor, &allowed_)) return;
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(processor, &one);
    sched_setaffinity(thread_, sizeof one, &one);
    taken_.store(true);  // after it, so that a release() in between is followed by another
  }

  // Lets the thread run again on all processors that it was given, if it had been taken; whether it had.
  bool release() {
    if (!taken_.exchange(false)) return false;
    sched_setaffinity(0, sizeof allowed_, &allowed_);
    avoided_.store(-1);
    return true;
  }

 private:
  static bool valid(int processor) { return processor >= 0 && processor < CPU_SETSIZE; }

  pid_t thread_ = 0;
  cpu_set_t allowed_;
  std::atomic<bool> known_{false}, taken_{false};
  std::atomic<int> avoided_{-1};
};

#else

inline int current_processor() { return -1; }

class Placement {
 public:
  void begin() {}
  void avoid(int) {}
  void take(int) {}
  bool release() { return false; }
};

#endif

}  // namespace fastopt
