#include "guests/openmp.h"

#include <stdexcept>
#include <string>

#if defined(__linux__)

#include <dlfcn.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <vector>

namespace fastopt::guests {
namespace {

// A child's runtime waits for threads that it has not: those of its parent.
std::atomic<bool> forked{false};
[[maybe_unused]] const int registered = pthread_atfork(nullptr, nullptr, [] { forked.store(true); });

// The helpers that a runtime gave this thread when it asked for `asked` threads: each thread has a team of its own.
struct Helpers {
  const OpenMp* of = nullptr;
  unsigned asked = 0;
  std::vector<pid_t> threads;
};
thread_local Helpers helpers;

enum class Seen { kAwake, kAsleep, kGone };

// A thread that spins uses up time between two looks at its clock; one that sleeps, or waits for a processor, does not.
Seen look_at(pid_t thread) {
  const auto clock =
      static_cast<clockid_t>((~static_cast<unsigned>(thread) << 3) | 6);  // its own, as Linux numbers them
  timespec before, after;
  if (clock_gettime(clock, &before) != 0 || clock_gettime(clock, &after) != 0) return Seen::kGone;
  return before.tv_sec == after.tv_sec && before.tv_nsec == after.tv_nsec ? Seen::kAsleep : Seen::kAwake;
}

// All are awake if the first and the last are.
Seen look_at(const std::vector<pid_t>& threads) {
  if (threads.empty()) return Seen::kAsleep;
  const Seen last = look_at(threads.back());
  return last != Seen::kAwake || threads.size() == 1 ? last : look_at(threads.front());
}

struct Region {
  void (*work)(void*, int32_t);
  void* argument;
  int32_t wanted;
  int (*thread_number)();
  std::vector<pid_t>* threads;  // where to note them by their numbers, or nullptr

  static void enter(void* self) {
    const Region& region = *static_cast<Region*>(self);
    const int number = region.thread_number();
    if (region.threads) (*region.threads)[number] = static_cast<pid_t>(syscall(SYS_gettid));
    if (number < region.wanted) region.work(region.argument, number);
  }
};

template <class Function> void find(void* library, const char* name, Function*& function) {
  function = reinterpret_cast<Function*>(dlsym(library, name));
  if (!function)
    throw std::runtime_error(std::string("the library has no function ") + name + ", nor has what it was linked with");
}

}  // namespace

OpenMp::OpenMp(const char* library, const char* threads) : library_(dlopen(library, RTLD_LAZY | RTLD_NOLOAD)) {
  if (!library_) throw std::runtime_error(std::string("not loaded: ") + library);
  try {
    find(library_, threads, thread_count_);
    find(library_, "omp_in_parallel", in_parallel_);
    find(library_, "omp_get_thread_num", thread_number_);
    find(library_, "GOMP_parallel", parallel_);
  } catch (...) {
    dlclose(library_);
    throw;
  }
  team_ = {sizeof team_, [](void* self) -> int32_t { return static_cast<OpenMp*>(self)->thread_count_(); },
           [](void* self, int32_t threads, void (*work)(void*, int32_t), void* argument) {
             return static_cast<OpenMp*>(self)->run(threads, work, argument);
           },
           this};
}

OpenMp::~OpenMp() { dlclose(library_); }

// The region has as many threads as the runtime's others have, since for fewer it would end some.
int32_t OpenMp::run(int32_t threads, void (*work)(void*, int32_t), void* argument) const {
  const auto count = static_cast<unsigned>(thread_count_());
  if (forked.load(std::memory_order_relaxed) || count < 2 || in_parallel_()) return 0;
  const bool known = helpers.of == this && helpers.asked == count;
  const Seen seen = known ? look_at(helpers.threads) : Seen::kGone;
  if (seen == Seen::kAsleep) return 0;
  std::vector<pid_t> found(seen == Seen::kAwake ? 0 : count);
  Region region{work, argument, threads, thread_number_, seen == Seen::kAwake ? nullptr : &found};
  regions_.fetch_add(1, std::memory_order_relaxed);
  parallel_(&Region::enter, &region, count, 0);
  if (seen == Seen::kAwake) return 1;
  helpers = {this, count, {}};
  for (size_t i = 1; i < found.size(); ++i) {
    if (found[i] != 0) helpers.threads.push_back(found[i]);  // the runtime may have given fewer
  }
  return 1;
}

}  // namespace fastopt::guests

#else

namespace fastopt::guests {

OpenMp::OpenMp(const char*, const char*) {
  throw std::runtime_error("other libraries' threads can be lent on Linux alone");
}
OpenMp::~OpenMp() = default;

}  // namespace fastopt::guests

#endif
