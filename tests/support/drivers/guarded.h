// Watches over the drivers' calls: the caller's floating-point control, and arrays in poisoned memory.
#pragma once
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <memory>
#include <string>

#include "fastopt.h"

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(address, size) (static_cast<void>(address), static_cast<void>(size))
#define ASAN_UNPOISON_MEMORY_REGION(address, size) (static_cast<void>(address), static_cast<void>(size))
#endif

namespace {

[[noreturn]] void fail(const std::string& words) {
  fprintf(stderr, "replay: %s\n", words.c_str());
  exit(1);
}

void expect(bool holds, const char* words) {
  if (!holds) fail(words);
}

void expect(bool holds, const std::string& words) {
  if (!holds) fail(words);
}

void must(fastopt_status status) { expect(status == FASTOPT_OK, fastopt_status_message(status)); }

fastopt_plan plan_of(fastopt_tensor* tensors, int64_t tensor_count, const fastopt_group* groups, int64_t group_count,
                     uint64_t seed) {
  return {sizeof(fastopt_plan),  tensors, tensor_count, sizeof(fastopt_tensor), groups, group_count,
          sizeof(fastopt_group), seed};
}

// ---- Floating-point control ---------------------------------------------------------------------------------------

enum class Control { kKeep, kFlush, kUpward };

#if defined(__x86_64__)
uint64_t get_control() { return _mm_getcsr() & ~uint32_t{0x3F}; }  // without the sticky exception flags
void set_control(uint64_t value) { _mm_setcsr(static_cast<uint32_t>(value)); }
constexpr uint64_t kFlushBits = 0x8040;  // FTZ, DAZ
constexpr uint64_t kUpwardBits = 0x4000;
#elif defined(__aarch64__)
uint64_t get_control() {
  uint64_t value;
  asm volatile("mrs %0, fpcr" : "=r"(value));
  return value;
}
void set_control(uint64_t value) { asm volatile("msr fpcr, %0" : : "r"(value)); }
constexpr uint64_t kFlushBits = uint64_t{1} << 24;   // FZ
constexpr uint64_t kUpwardBits = uint64_t{1} << 22;  // RMode
#endif

// Sets the caller's floating-point control around one call.  The call must leave the control as it was.
class CallersControl {
 public:
  explicit CallersControl(Control control) : before_(get_control()), set_(before_) {
    if (control == Control::kFlush) set_ |= kFlushBits;
    if (control == Control::kUpward) set_ |= kUpwardBits;
    set_control(set_);
  }
  ~CallersControl() {
    const uint64_t after = get_control();
    set_control(before_);
    expect(after == set_, "a call changed its caller's floating-point control");
  }
  CallersControl(const CallersControl&) = delete;
  CallersControl& operator=(const CallersControl&) = delete;

 private:
  const uint64_t before_;
  uint64_t set_;
};

// ---- Arrays in poison ---------------------------------------------------------------------------------------------

// An array at `shift` bytes past a cache line.  Nobody may touch the pattern before and after the array.
class Guarded {
 public:
  Guarded(size_t bytes, size_t shift)
      : bytes_(bytes), begin_(kGuard + shift), size_((begin_ + bytes + 2 * kGuard) / 64 * 64) {
    memory_.reset(static_cast<unsigned char*>(aligned_alloc(64, size_)));
    expect(memory_ != nullptr, "out of memory");
    memset(memory_.get(), kPattern, size_);
    hide();
  }
  Guarded(Guarded&&) = default;
  ~Guarded() {
    if (memory_) show();
  }

  unsigned char* data() const { return memory_.get() + begin_; }
  size_t bytes() const { return bytes_; }

  void check_padding() const {
    show();
    const unsigned char* all = memory_.get();
    for (size_t i = 0; i < size_; ++i) {
      if (i == begin_) i += bytes_;
      if (i < size_ && all[i] != kPattern) {
        const auto place = static_cast<int64_t>(i) - static_cast<int64_t>(begin_);
        fail("byte " + std::to_string(place) + " of an array of " + std::to_string(bytes_) + " bytes was written");
      }
    }
    hide();
  }

 private:
  static constexpr size_t kGuard = 128;  // bytes: two of the widest vectors
  static constexpr unsigned char kPattern = 0xA5;

  struct Free {
    void operator()(unsigned char* memory) const { free(memory); }
  };

  // The pattern catches stray writes.  The address sanitizer, to which the padding is hidden, also catches stray reads.
  void hide() const {
    ASAN_POISON_MEMORY_REGION(memory_.get(), begin_);
    ASAN_POISON_MEMORY_REGION(data() + bytes_, size_ - begin_ - bytes_);
  }
  void show() const { ASAN_UNPOISON_MEMORY_REGION(memory_.get(), size_); }

  size_t bytes_, begin_, size_;
  std::unique_ptr<unsigned char, Free> memory_;
};

}  // namespace
