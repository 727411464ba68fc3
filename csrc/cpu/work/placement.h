// Chooses where a helper thread runs.  Schedulers, those of virtual machines above all, may wake a helper on the
// processor of the very thread that waits for it, and leave the next one idle for milliseconds; moving the helper costs
// microseconds (docs/threads.md has both measured).  Elsewhere than on Linux nothing is moved.
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
// work.  Its processors are those of the process, as they are now: whoever started the thread may itself be pinned to
// one.
class Placement {
 public:
  void begin() {
    thread_.store(static_cast<pid_t>(syscall(SYS_gettid)));
    free();
  }

  // Keeps a sleeping thread from waking on `processor`, if it may run elsewhere.
  void avoid(int processor) {
    cpu_set_t rest;
    if (avoided_.load() == processor || !allows(processor, rest)) return;
    CPU_CLR(processor, &rest);
    if (CPU_COUNT(&rest) == 0) return;
    sched_setaffinity(thread_.load(), sizeof rest, &rest);
    avoided_.store(processor);
  }

  // Brings the thread onto `processor`, if it may run there.
  void take(int processor) {
    cpu_set_t one;
    if (!allows(processor, one)) return;
    CPU_ZERO(&one);
    CPU_SET(processor, &one);
    sched_setaffinity(thread_.load(), sizeof one, &one);
    taken_.store(true);  // after it, so that a release() in between is followed by another
  }

  // Lets the thread run everywhere again, if it had been taken; whether it had.
  bool release() {
    if (!taken_.exchange(false)) return false;
    free();
    avoided_.store(-1);
    return true;
  }

 private:
  // Whether the thread has begun and the process may run on `processor`; all of its processors.
  bool allows(int processor, cpu_set_t& all) const {
    return thread_.load() != 0 && processor >= 0 && processor < CPU_SETSIZE &&
           sched_getaffinity(getpid(), sizeof all, &all) == 0 && CPU_ISSET(processor, &all);
  }

  static void free() {
    cpu_set_t all;
    if (sched_getaffinity(getpid(), sizeof all, &all) == 0) sched_setaffinity(0, sizeof all, &all);
  }

  std::atomic<pid_t> thread_{0};
  std::atomic<bool> taken_{false};
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
