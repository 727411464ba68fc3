#include "python/forks.h"

#include <pthread.h>

#include <atomic>

namespace fastopt::python {
namespace {

std::atomic<uint32_t> count{0};

// When the library is loaded, so that no fork can come in between.
[[maybe_unused]] const int registered =
    pthread_atfork(nullptr, nullptr, [] { count.fetch_add(1, std::memory_order_relaxed); });

}  // namespace

uint32_t fork_count() { return count.load(std::memory_order_relaxed); }

}  // namespace fastopt::python
