// A small pool.  Helpers watch for work for kSpin after each step and then sleep; chunks are handed out one at a time, so
// that a helper whose processor is busy elsewhere takes fewer.  The caller never waits for a helper that has not begun.
// docs/threads.md has the measurements behind this and behind the constants.
#include "threads.h"

#include <pthread.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <new>
#include <system_error>
#include <thread>

#include "../fastopt.h"
#include "processors.h"

namespace fastopt {
namespace {

using Clock = std::chrono::steady_clock;
constexpr auto kSpin = std::chrono::microseconds(100);     // a helper's watch for the next step
constexpr auto kPatience = std::chrono::microseconds(20);  // the caller's watch for the last chunk
constexpr int kLine = 64;                                  // bytes that processors hand each other

inline void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Whether `ready` came true while watching for `time`; looks at the clock only now and then.
template <class Ready>
bool watch(Clock::duration time, Ready ready) {
  const auto end = Clock::now() + time;
  do {
    for (int i = 0; i < 32; ++i) {
      if (ready()) return true;
      pause();
    }
  } while (Clock::now() < end);
  return ready();
}

struct Job {
  ChunkFunction run;
  void* context;
  int64_t chunks;
  alignas(kLine) std::atomic<int64_t> next{0};
  std::atomic<int> places;  // helpers that may still join

  void work() {
    for (int64_t c; (c = next.fetch_add(1, std::memory_order_relaxed)) < chunks;) run(context, c);
  }
};

class Pool {
 public:
  // False where another step has the helpers.
  bool run(Job& job, int helpers) {
    if (busy_.exchange(true, std::memory_order_acquire)) return false;
    start(helpers);
    job.places.store(helpers, std::memory_order_relaxed);
    // Sequentially consistent, with join(): either a helper sees that the job is gone or the caller sees the helper.
    job_.store(&job);
    epoch_.fetch_add(1);
    wake(helpers);
    job.work();
    job_.store(nullptr);
    wait();
    busy_.store(false, std::memory_order_release);
    return true;
  }

 private:
  void start(int helpers) {
    try {
      for (; started_ < helpers; ++started_) std::thread(&Pool::help, this, epoch_.load()).detach();
    } catch (const std::system_error&) {
      // The process may have no more threads: those there are, and the caller, do the work.
    }
  }

  void wake(int helpers) {
    if (sleepers_.load() == 0) return;
    { std::lock_guard lock(mutex_); }  // a helper between its last look and its sleep holds this
    if (helpers >= started_) {
      bell_.notify_all();
    } else {
      for (int i = 0; i < helpers; ++i) bell_.notify_one();
    }
  }

  // Until no helper is inside the job.  It sleeps in the end, and so frees its processor for a helper that has lost its own.
  void wait() {
    const auto done = [this] { return inside_.load() == 0; };
    if (watch(kPatience, done)) return;
    std::unique_lock lock(mutex_);
    waiting_.store(true);
    done_.wait(lock, done);
    waiting_.store(false);
  }

  void join() {
    inside_.fetch_add(1);
    if (Job* job = job_.load()) {
      if (job->places.fetch_sub(1, std::memory_order_relaxed) > 0) job->work();
    }
    if (inside_.fetch_sub(1) == 1 && waiting_.load()) {
      { std::lock_guard lock(mutex_); }
      done_.notify_one();
    }
  }

  void help(uint32_t seen) {
    for (;;) {
      const auto rung = [&] { return epoch_.load() != seen; };
      if (!watch(kSpin, rung)) {
        std::unique_lock lock(mutex_);
        sleepers_.fetch_add(1);
        bell_.wait(lock, rung);
        sleepers_.fetch_sub(1);
      }
      seen = epoch_.load();
      join();
    }
  }

  alignas(kLine) std::atomic<uint32_t> epoch_{0};
  std::atomic<Job*> job_{nullptr};
  alignas(kLine) std::atomic<int> inside_{0};  // helpers that may hold a pointer to the job
  std::atomic<bool> waiting_{false};
  alignas(kLine) std::atomic<bool> busy_{false};
  int started_ = 0;  // only whoever set busy_ touches it
  std::atomic<int> sleepers_{0};
  std::mutex mutex_;
  std::condition_variable bell_, done_;
};

std::atomic<Pool*> pool{nullptr};
std::atomic<int> wanted{0};  // 0: not set

// Helpers do not outlive a fork, and a lock may be held for ever: the child begins with a new pool.  Pools are never
// freed, because a helper may still look at its own while the process ends.
void forget_pool() { pool.store(new (std::nothrow) Pool); }

Pool* get_pool() {
  static const bool ready = [] {
    forget_pool();
    pthread_atfork(nullptr, nullptr, forget_pool);
    return true;
  }();
  (void)ready;
  return pool.load();
}

int thread_count() {
  const int set = wanted.load(std::memory_order_relaxed);
  return set ? set : available_processors();
}

}  // namespace

void parallel(int64_t chunks, ChunkFunction run, void* context) {
  Job job{run, context, chunks, {}, {}};
  const int64_t helpers = chunks < thread_count() ? chunks - 1 : thread_count() - 1;
  if (helpers > 0) {
    if (Pool* p = get_pool(); p && p->run(job, static_cast<int>(helpers))) return;
  }
  job.work();
}

}  // namespace fastopt

extern "C" {

int32_t fastopt_num_threads(void) { return fastopt::thread_count(); }

fastopt_status fastopt_set_num_threads(int32_t count) {
  if (count < 1) return FASTOPT_BAD_THREADS;
  fastopt::wanted.store(count, std::memory_order_relaxed);
  return FASTOPT_OK;
}

}  // extern "C"
