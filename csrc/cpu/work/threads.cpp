// A small pool.  Helpers watch for work for kSpin after each step and then sleep; chunks are handed out one at a time,
// so that a helper whose processor is busy elsewhere takes fewer; nobody waits for a helper that has not begun.
// docs/threads.md has the measurements behind this and behind the constants.
#include "cpu/work/threads.h"

#include <pthread.h>
#include <signal.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <memory>
#include <mutex>
#include <new>
#include <thread>
#include <vector>

#include "cpu/work/placement.h"
#include "cpu/work/processors.h"
#include "fastopt.h"

namespace fastopt {
namespace {

using Clock = std::chrono::steady_clock;
constexpr auto kSpin = std::chrono::microseconds(100);  // a helper's watch for the next step
constexpr int kLine = 64;                               // bytes that processors hand each other
constexpr int kPatience = 4;                            // chunks' time that the caller watches for the last ones

inline void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Whether `ready` came true while watching for `time`; looks at the clock only now and then.
template <class Ready> bool watch(Clock::duration time, Ready ready) {
  const auto end = Clock::now() + time;
  do {
    for (int i = 0; i < 32; ++i) {
      if (ready()) return true;
      pause();
    }
  } while (Clock::now() < end);
  return ready();
}

// A thread's share of the chunks.
struct alignas(kLine) Share {
  int64_t begin, end;
  std::atomic<int64_t> taken;
};

// Memory for the shares of a job, which a thread keeps for its next one.
Share* shares(int count) {
  static thread_local std::unique_ptr<Share[]> memory;
  static thread_local int kept = 0;
  if (kept < count) {
    kept = 0;
    memory = std::make_unique<Share[]>(count);
    kept = count;
  }
  return memory.get();
}

// Chunks in shares that lie side by side, so that a thread has the same memory in every step: on machines with several
// memory nodes it stays near the thread that touched it first.
class Job {
 public:
  Job(const Work& work, int threads) : work_(work), threads_(threads), shares_(shares(threads)), open_(threads) {
    for (int i = 0; i < threads; ++i) {
      shares_[i].begin = work.chunks * i / threads;
      shares_[i].end = work.chunks * (i + 1) / threads;
      shares_[i].taken.store(0, std::memory_order_relaxed);
    }
  }

  int threads() const { return threads_; }

  // Takes the chunks of the thread's share, then those that are left of the others', beginning with its neighbour's;
  // returns how many it took.
  int64_t run(int thread) {
    int64_t done = 0;
    for (int i = 0; i < threads_ && open_.load(std::memory_order_relaxed) > 0; ++i)
      done += run(shares_[(thread + i) % threads_]);
    return done;
  }

 private:
  int64_t run(Share& share) {
    const int64_t count = share.end - share.begin;
    int64_t done = 0;
    for (int64_t i; (i = share.taken.fetch_add(1, std::memory_order_relaxed)) <= count; ++done) {
      if (i == count) {  // by the first that finds nothing left
        open_.fetch_sub(1, std::memory_order_relaxed);
        break;
      }
      work_.run(work_.context, work_.backwards ? share.end - 1 - i : share.begin + i);
    }
    return done;
  }

  const Work& work_;
  const int threads_;
  Share* const shares_;
  std::atomic<int> open_;  // shares that nobody has found empty
};

struct alignas(kLine) Helper {
  std::atomic<uint32_t> calls{0};   // raised to call it to the pool's job
  std::atomic<bool> inside{false};  // it may hold a pointer to that job
  std::atomic<bool> asleep{false};
  std::mutex mutex;  // held between the last look at `calls` and sleep
  std::condition_variable bell;
  Placement placement;
};

class Pool {
 public:
  // False if another step has the helpers.
  bool run(Job& job, int wanted, bool long_job) {
    if (busy_.exchange(true, std::memory_order_acquire)) return false;
    // A short step does not repay a wake-up, but one that follows closely on another is one of a loop of them, through
    // which the helpers had better stay awake.
    const Clock::time_point begin = Clock::now();
    const bool wake = long_job || begin - last_ < kSpin;
    if (wake) start(wanted);
    const int count = std::min<int>(wanted, static_cast<int>(helpers_.size()));
    job_.store(&job);
    for (int i = 0; i < count; ++i) helpers_[i]->calls.fetch_add(1);
    if (wake) ring(count);
    const int64_t own = job.run(0);
    // Sequentially consistent, with help(): either a helper sees that the job is gone or wait() sees it inside.
    job_.store(nullptr);
    last_ = Clock::now();
    wait(own > 0 ? kPatience * (last_ - begin) / own : kSpin);
    busy_.store(false, std::memory_order_release);
    return true;
  }

 private:
  void start(int wanted) {
    if (static_cast<int>(helpers_.size()) >= wanted) return;
    // Signals are the program's own threads' business.
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    try {
      helpers_.reserve(wanted);  // so that nothing throws once the thread has the helper's address
      while (static_cast<int>(helpers_.size()) < wanted) {
        auto helper = std::make_unique<Helper>();
        std::thread(&Pool::help, this, helper.get(), static_cast<int>(helpers_.size()) + 1).detach();
        helpers_.push_back(std::move(helper));
      }
    } catch (const std::exception&) {
      // Without more threads or memory the helpers so far and the caller do the work.
    }
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
  }

  // Wakes those of the called helpers that sleep.
  void ring(int count) {
    for (int i = 0; i < count; ++i) {
      Helper& helper = *helpers_[i];
      if (!helper.asleep.load()) continue;
      helper.placement.avoid(current_processor());
      {
        const std::scoped_lock lock(helper.mutex);
      }
      helper.bell.notify_one();
    }
  }

  // Waits until no helper is inside the job.  All are looked at, because one that an earlier job called may have come
  // late and joined this one.  A helper that takes long has lost its processor, and gets the caller's.
  void wait(Clock::duration patience) {
    const auto done = [&] {
      return std::none_of(helpers_.begin(), helpers_.end(), [](const auto& helper) { return helper->inside.load(); });
    };
    if (watch(patience, done)) return;
    std::unique_lock lock(mutex_);
    waiting_.store(true);
    for (const auto& helper : helpers_) {
      if (helper->inside.load()) helper->placement.take(current_processor());
    }
    done_.wait(lock, done);
    waiting_.store(false);
  }

  void help(Helper* self, int thread) {
    self->placement.begin();
    uint32_t seen = 0;
    const auto called = [&] { return self->calls.load() != seen; };
    for (;;) {
      // A helper that was taken sleeps at once: its processor is the caller's, who has more use for it.
      const bool taken = self->placement.release();
      if (taken || !watch(kSpin, called)) {
        std::unique_lock lock(self->mutex);
        self->asleep.store(true);
        self->bell.wait(lock, called);
        self->asleep.store(false);
      }
      seen = self->calls.load();
      self->inside.store(true);
      if (Job* job = job_.load()) job->run(thread % job->threads());
      self->inside.store(false);
      if (waiting_.load()) {
        {
          const std::scoped_lock lock(mutex_);
        }
        done_.notify_one();
      }
    }
  }

  alignas(kLine) std::atomic<Job*> job_{nullptr};
  alignas(kLine) std::atomic<bool> waiting_{false};
  std::mutex mutex_;  // held between the last look at the helpers and the caller's sleep
  std::condition_variable done_;
  alignas(kLine) std::atomic<bool> busy_{false};
  // Only whoever set busy_ touches these.
  std::vector<std::unique_ptr<Helper>> helpers_;
  Clock::time_point last_;
};

std::atomic<Pool*> pool{nullptr};
std::atomic<int> wanted{0};  // 0: not set

// Helpers do not outlive a fork, and a lock may be held for ever: the child begins with a new pool.  Pools are never
// freed, because a helper may still look at its own while the process ends.
void renew_pool() { pool.store(new (std::nothrow) Pool); }

// Set when the library is loaded, so that no fork can come in between.  Without the fork handler no pool is made.
const bool has_pool = [] {
  if (pthread_atfork(nullptr, nullptr, renew_pool) != 0) return false;
  renew_pool();
  return true;
}();

// Whether a team did the job.
bool lent(const fastopt_team& team, int threads, Job& job) {
  return team.run(
             team.context, threads, [](void* argument, int32_t thread) { static_cast<Job*>(argument)->run(thread); },
             &job) != 0;
}

}  // namespace

int thread_count(const fastopt_team* team) {
  const int set = wanted.load(std::memory_order_relaxed);
  const int count = set ? set : available_processors();
  return team ? std::clamp(team->threads(team->context), 1, count) : count;
}

void parallel(const Work& work) {
  const int threads = static_cast<int>(std::min<int64_t>(work.chunks, thread_count(work.team)));
  if (threads < 1) return;
  Job job(work, threads);
  const bool shared = threads > 1 && work.team && lent(*work.team, threads, job);
  if (threads > 1 && !shared) {
    if (Pool* p = pool.load(); has_pool && p && p->run(job, threads - 1, work.long_job)) return;
  }
  job.run(0);  // all of it, or nothing is left
}

}  // namespace fastopt

extern "C" {

int32_t fastopt_num_threads(void) { return fastopt::thread_count(nullptr); }

fastopt_status fastopt_set_num_threads(int32_t count) {
  if (count < 1 || count > 4096) return FASTOPT_BAD_THREADS;
  fastopt::wanted.store(count, std::memory_order_relaxed);
  return FASTOPT_OK;
}

}  // extern "C"
