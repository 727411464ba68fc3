// Floating-point control of the running thread: IEEE defaults while an object of this class lives, then what was there.
// A caller that has set flush-to-zero or another rounding would otherwise have it in one of the step's threads only.
#pragma once
#include <stdint.h>
#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace fastopt {

class FloatControl {
 public:
  FloatControl() : saved_(get()) { change(kDefault); }
  ~FloatControl() { change(saved_); }
  FloatControl(const FloatControl&) = delete;
  FloatControl& operator=(const FloatControl&) = delete;

 private:
#if defined(__x86_64__)
  using Register = uint32_t;
  static constexpr Register kDefault = 0x1F80;  // MXCSR: all exceptions masked, nearest, denormals kept
  static Register get() { return _mm_getcsr(); }
  static void set(Register value) { _mm_setcsr(value); }
#elif defined(__aarch64__)
  using Register = uint64_t;
  static constexpr Register kDefault = 0;  // FPCR
  static Register get() {
    Register value;
    asm volatile("mrs %0, fpcr" : "=r"(value));
    return value;
  }
  static void set(Register value) { asm volatile("msr fpcr, %0" : : "r"(value)); }
#elif defined(__i386__)
#error "the x87 unit's extra precision would change the bits"
#else
  using Register = int;
  static constexpr Register kDefault = 0;
  static Register get() { return 0; }
  static void set(Register) {}
#endif
  // The compiler knows nothing of the register, but keeps loads and stores, and so what is computed between them, in
  // place.
  static void change(Register value) {
    asm volatile("" : : : "memory");
    set(value);
    asm volatile("" : : : "memory");
  }
  const Register saved_;
};

}  // namespace fastopt
