#include "cpu/door/isa.h"

#include <stdlib.h>
#include <string.h>

#include <atomic>

namespace fastopt {

namespace scalar {
extern const KernelSet kernel_set;
}
#if defined(__x86_64__)
namespace avx2 {
extern const KernelSet kernel_set;
}
namespace avx512 {
extern const KernelSet kernel_set;
}
#elif defined(__aarch64__)
namespace neon {
extern const KernelSet kernel_set;
}
#endif

namespace {

bool always() { return true; }
#if defined(__x86_64__)
bool has_avx2() {
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
}
bool has_avx512() { return __builtin_cpu_supports("avx512f"); }
#endif

struct Entry {
  const char* name;
  const KernelSet* kernels;
  bool (*available)();
};

constexpr Entry kEntries[] = {
#if defined(__x86_64__)
    {"avx512", &avx512::kernel_set, has_avx512},
    {"avx2", &avx2::kernel_set, has_avx2},
#elif defined(__aarch64__)
    {"neon", &neon::kernel_set, always},  // part of every ARMv8 processor
#endif
    {"scalar", &scalar::kernel_set, always},
};

const Entry* find(const char* name) {
  for (const Entry& entry : kEntries) {
    if (name && strcmp(entry.name, name) == 0) return &entry;
  }
  return nullptr;
}

const KernelSet* best() {
  for (const Entry& entry : kEntries) {
    if (entry.available()) return entry.kernels;
  }
  return &scalar::kernel_set;
}

std::atomic<const KernelSet*>& chosen() {
  static std::atomic<const KernelSet*> kernels{best()};
  return kernels;
}

std::atomic<const char*> last_run{nullptr};

}  // namespace

const KernelSet& active_kernels() { return *chosen().load(std::memory_order_relaxed); }

void note_run(const KernelSet& set) {
  // If every chunk stored this, the threads would fight for its cache line.
  if (last_run.load(std::memory_order_relaxed) != set.isa) last_run.store(set.isa, std::memory_order_relaxed);
}

}  // namespace fastopt

extern "C" {

const char* fastopt_isa_at(int32_t index) {
  constexpr int32_t count = sizeof fastopt::kEntries / sizeof fastopt::kEntries[0];
  return index >= 0 && index < count ? fastopt::kEntries[index].name : nullptr;
}

int32_t fastopt_isa_available(const char* name) {
  const fastopt::Entry* entry = fastopt::find(name);
  return entry && entry->available();
}

const char* fastopt_isa(void) { return fastopt::active_kernels().isa; }

fastopt_status fastopt_set_isa(const char* name) {
  if (!fastopt_isa_available(name)) return FASTOPT_BAD_ISA;
  fastopt::chosen().store(fastopt::find(name)->kernels, std::memory_order_relaxed);
  return FASTOPT_OK;
}

const char* fastopt_isa_last_run(void) { return fastopt::last_run.load(std::memory_order_relaxed); }

}  // extern "C"
