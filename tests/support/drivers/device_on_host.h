// CUDA's words for a C++ compiler, so that a kernel runs on the host.  tests/support/kernels_on_host.py puts this file
// before the kernel's source.
//
// The threads of a thread block are fibers that take turns.  A fiber runs until a barrier, then the first one that can;
// thread blocks run one after another.  If a kernel leaves accesses to memory unordered, its result depends on the
// fibers' order, which shows the fault.
#pragma once
#undef _FORTIFY_SOURCE  // its longjmp refuses to jump from a stack to another
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

#define __CUDACC__
#define __device__
#define __global__
#define __forceinline__ inline
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(...)
#define __shared__ static
#define FASTOPT_PREFETCH(at) static_cast<void>(at)

// Marks the emulation's own variables: what is left in the section that the linker calls .bss is the kernel's shared
// memory.
#define EMULATED_OWN __attribute__((section("emulated_own"))) static
extern "C" __attribute__((visibility("hidden"))) char __bss_start[], _end[];

namespace emulated {

struct Index {
  unsigned x, y, z;
};

// Operations that the lanes of a warp do together.
enum Operation { kNone, kSync, kShuffle, kVote, kBlock };
constexpr const char* kOperations[] = {"nothing", "__syncwarp", "__shfl_xor_sync", "__any_sync or __all_sync",
                                       "__syncthreads"};

constexpr unsigned kWarpSize = 32, kWarps = 32, kEvery = ~0U;
constexpr size_t kStack = 64 << 10, kCanary = 64;
constexpr char kUntouched = 0x5A;

struct Fiber {
  jmp_buf at;
  char* stack;
  unsigned index;
  Operation waits;
};

// A word of each lane.  Two operations in a row use different words, so that one barrier each is enough.
struct Words {
  uint64_t lanes[2][kWarpSize];
  unsigned arrived, turn;
};

}  // namespace emulated

EMULATED_OWN emulated::Index threadIdx, blockIdx, blockDim, gridDim;

namespace emulated {

EMULATED_OWN Fiber* fibers[kWarps * kWarpSize];
EMULATED_OWN Words words[kWarps];
EMULATED_OWN unsigned ready[kWarps];  // lanes that can run
EMULATED_OWN unsigned born, arrived;
EMULATED_OWN Fiber* current;
EMULATED_OWN jmp_buf home;
EMULATED_OWN void (*kernel)();
EMULATED_OWN bool descending;
EMULATED_OWN char failure[512];

static unsigned warp_count() { return blockDim.x / kWarpSize; }

// The first fiber that can run, in the chosen order.
static Fiber* next() {
  for (unsigned i = 0; i < warp_count(); ++i) {
    const unsigned warp = descending ? warp_count() - 1 - i : i;
    if (!ready[warp]) continue;
    const int lane = descending ? 31 - __builtin_clz(ready[warp]) : __builtin_ctz(ready[warp]);
    return fibers[warp * kWarpSize + static_cast<unsigned>(lane)];
  }
  return nullptr;
}

[[noreturn]] static void go(Fiber* to) {
  if (!to) _longjmp(home, 1);
  current = to;
  threadIdx.x = to->index;
  _longjmp(to->at, 1);
}

// Lets `to` run; the current fiber rests here until another one goes to it.
__attribute__((noinline)) static void rest(Fiber* to) {
  if (to == current) return;
  if (_setjmp(current->at) == 0) go(to);
}

// Ends the launch.  Its fibers are left as they are.
[[noreturn]] static void fail(const char* what) {
  snprintf(failure, sizeof failure, "thread %u of block %u: %s", threadIdx.x, blockIdx.x, what);
  born = 0;
  go(nullptr);
}

static void on_signal(int, siginfo_t*, void*) { fail("an access to memory that is not there"); }

static void live() {
  for (Fiber* to = nullptr;; to = next()) {
    rest(to);
    kernel();
    current->waits = kNone;
    ready[current->index / kWarpSize] &= ~(1U << current->index % kWarpSize);
  }
}

static void give_birth(unsigned index) {
  if (!fibers[index]) {
    fibers[index] = static_cast<Fiber*>(calloc(1, sizeof(Fiber)));
    fibers[index]->stack = static_cast<char*>(malloc(kStack));
  }
  current = fibers[index];
  current->index = index;
  memset(current->stack, kUntouched, kCanary);
  ucontext_t start;
  getcontext(&start);
  start.uc_stack.ss_sp = current->stack;
  start.uc_stack.ss_size = kStack;
  start.uc_link = nullptr;
  makecontext(&start, live, 0);
  if (_setjmp(home) == 0) setcontext(&start);
}

// Waits until all lanes of the warp are here, for the same operation.
static void meet(Operation operation) {
  const unsigned warp = threadIdx.x / kWarpSize, lane = threadIdx.x % kWarpSize;
  Words& shared = words[warp];
  current->waits = operation;
  ready[warp] &= ~(1U << lane);
  if (++shared.arrived == kWarpSize) {
    for (unsigned i = 0; i < kWarpSize; ++i) {
      if (fibers[warp * kWarpSize + i]->waits != operation) fail("the lanes of its warp are at different operations");
    }
    shared.arrived = 0;
    shared.turn ^= 1;
    ready[warp] = kEvery;
  }
  rest(next());
}

// Gives every lane the words of all lanes.
static const uint64_t* exchange(Operation operation, unsigned mask, uint64_t word) {
  if (mask != kEvery) fail("a mask without all lanes");
  Words& shared = words[threadIdx.x / kWarpSize];
  uint64_t* const lanes = shared.lanes[shared.turn];
  lanes[threadIdx.x % kWarpSize] = word;
  meet(operation);
  return lanes;
}

// The reason why nothing can run although some fibers have not ended; nullptr if all have.
static const char* unfinished() {
  for (unsigned i = 0; i < blockDim.x; ++i) {
    const Operation waits = fibers[i]->waits;
    if (waits == kNone) continue;
    snprintf(failure, sizeof failure, "thread %u of block %u waits for ever at %s, where others do not come", i,
             blockIdx.x, kOperations[waits]);
    born = 0;
    return failure;
  }
  return nullptr;
}

static const char* run_block() {
  for (unsigned warp = 0; warp < warp_count(); ++warp) {
    words[warp].arrived = 0;
    ready[warp] = kEvery;
  }
  arrived = 0;
  failure[0] = 0;
  // Fills shared memory with NaNs and bad pointers: a thread block must not rely on what another left there.
  memset(__bss_start, 0xFF, _end - __bss_start);
  if (_setjmp(home) == 0) go(next());
  if (failure[0]) return failure;
  if (const char* why = unfinished()) return why;
  for (unsigned i = 0; i < blockDim.x; ++i) {
    for (size_t k = 0; k < kCanary; ++k) {
      if (fibers[i]->stack[k] != kUntouched) return "a fiber has left its stack";
    }
  }
  return nullptr;
}

static const char* run_blocks(unsigned blocks, unsigned threads, void (*body)()) {
  if (threads == 0 || threads % kWarpSize != 0 || threads > kWarps * kWarpSize) return "threads: expected whole warps";
  kernel = body;
  gridDim = {blocks, 1, 1};
  blockDim = {threads, 1, 1};
  threadIdx = {0, 0, 0};
  for (; born < threads; ++born) give_birth(born);
  struct sigaction ours = {}, before[2];
  ours.sa_sigaction = on_signal;
  ours.sa_flags = SA_SIGINFO | SA_NODEFER;  // the handler leaves by a jump
  sigaction(SIGSEGV, &ours, &before[0]);
  sigaction(SIGBUS, &ours, &before[1]);
  const char* why = nullptr;
  for (unsigned i = 0; i < blocks && !why; ++i) {
    blockIdx = {descending ? blocks - 1 - i : i, 0, 0};
    why = run_block();
  }
  sigaction(SIGSEGV, &before[0], nullptr);
  sigaction(SIGBUS, &before[1], nullptr);
  return why;
}

}  // namespace emulated

// ---- What kernels call --------------------------------------------------------------------------------------------

static void __syncthreads() {
  using namespace emulated;
  current->waits = kBlock;
  ready[threadIdx.x / kWarpSize] &= ~(1U << threadIdx.x % kWarpSize);
  if (++arrived == blockDim.x) {
    arrived = 0;
    for (unsigned warp = 0; warp < warp_count(); ++warp) ready[warp] = kEvery;
  }
  rest(next());
}

[[maybe_unused]] static void __syncwarp(unsigned mask = emulated::kEvery) {
  emulated::exchange(emulated::kSync, mask, 0);
}

template <class T> static T __shfl_xor_sync(unsigned mask, T value, int apart) {
  static_assert(sizeof(T) <= sizeof(uint64_t) && __is_trivially_copyable(T));
  uint64_t word = 0;
  memcpy(&word, &value, sizeof value);
  const unsigned lane = (threadIdx.x % emulated::kWarpSize) ^ static_cast<unsigned>(apart);
  memcpy(&value, emulated::exchange(emulated::kShuffle, mask, word) + lane, sizeof value);
  return value;
}

[[maybe_unused]] static int __any_sync(unsigned mask, int predicate) {
  const uint64_t* const lanes = emulated::exchange(emulated::kVote, mask, predicate != 0);
  int any = 0;
  for (unsigned i = 0; i < emulated::kWarpSize; ++i) any |= lanes[i] != 0;
  return any;
}

[[maybe_unused]] static int __all_sync(unsigned mask, int predicate) { return !__any_sync(mask, !predicate); }

template <class T, class Value> static T atomicAdd(T* at, Value value) {
  const T before = *at;
  *at = before + static_cast<T>(value);
  return before;
}

template <class T, class Value> static T atomicMax(T* at, Value value) {
  const T before = *at;
  if (static_cast<T>(value) > before) *at = static_cast<T>(value);
  return before;
}

template <class T, class Value> static T atomicOr(T* at, Value value) {
  const T before = *at;
  *at = before | static_cast<T>(value);
  return before;
}

[[maybe_unused]] static void __threadfence() {}

// ---- What the host calls ------------------------------------------------------------------------------------------

// 0: thread blocks, warps and lanes run in ascending order; 1: in descending order.
extern "C" __attribute__((visibility("default"))) void set_order(int order) { emulated::descending = order != 0; }

// Runs a kernel to its end.  Returns nullptr, or what the kernel did that a GPU would not bear.
#define EMULATED_ENTRY                                                                                        \
  EMULATED_OWN const Parameters* emulated_parameters;                                                         \
  extern "C" __attribute__((visibility("default"))) const char* run_kernel(unsigned blocks, unsigned threads, \
                                                                           const void* parameters) {          \
    emulated_parameters = static_cast<const Parameters*>(parameters);                                         \
    return emulated::run_blocks(blocks, threads, [] { fastopt_kernel(*emulated_parameters); });               \
  }

// Called by the compiler's check of each access (-fsanitize=alignment), in place of its library.
struct EmulatedAccess {
  const char* file;
  uint32_t line, column;
};
extern "C" void __ubsan_handle_type_mismatch_v1(EmulatedAccess* access, uintptr_t address) {
  char words[256];
  snprintf(words, sizeof words, "%s:%u: address %#lx is not aligned", access->file, access->line,
           static_cast<unsigned long>(address));
  emulated::fail(words);
}
