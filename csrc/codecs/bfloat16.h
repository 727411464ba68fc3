// bfloat16: the upper half of a float32.
namespace fastopt::FASTOPT_ISA {

constexpr uint32_t kInf = 0x7F800000, kLargest = 0x7F7FFFFF, kSign = 0x80000000, kNaN = 0x7FC00000;

// Of a format that has nothing beside its elements.
struct None {};
template <class Extra> constexpr bool kIsNone = false;
template <> constexpr bool kIsNone<None> = true;

// What elements from `at` on have beside them.
template <class Extra> FASTOPT_INLINE Extra* beside(Extra* extra, int64_t at) { return extra + at; }
FASTOPT_INLINE const None* beside(const None* extra, int64_t) { return extra; }
FASTOPT_INLINE None* beside(None* extra, int64_t) { return extra; }

FASTOPT_INLINE uint32_t float_bits(float value) {
  uint32_t bits;
  __builtin_memcpy(&bits, &value, sizeof bits);
  return bits;
}

FASTOPT_INLINE U32 magnitude(U32 bits) { return bits & U32::broadcast(~kSign); }

// A value's bits with noise below those that are kept, whose lowest is bit `kDropped`: no finite value becomes Inf by
// it. A NaN is one of no sign.
template <int kDropped> FASTOPT_INLINE U32 noisy_bits(F32 value, U32 word) {
  const U32 bits = bits_of(value), limit = U32::broadcast(2 * (kInf - (1U << kDropped)));
  const U32 noise = where_below(bits + bits, limit, word >> (32 - kDropped));
  return select(equal(value, value), bits + noise, U32::broadcast(kNaN));
}

FASTOPT_INLINE U32 sign_of(F32 value) { return bits_of(value) & U32::broadcast(kSign); }

// To nearest even.
FASTOPT_INLINE U32 to_bfloat16(F32 value) {
  const U32 bits = bits_of(value), high = bits >> 16;
  const U32 rounded = (bits + U32::broadcast(0x7FFF) + (high & U32::broadcast(1))) >> 16;
  return select(equal(value, value), rounded, high | U32::broadcast(0x40));
}

template <bool kNonNegative> struct Bfloat16 {
  using Data = uint16_t;
  using Extra = None;
  static constexpr bool kRounds = true;  // has a rounding to nearest of its own

  // The lowest bit that is kept, where `value` is not 0: a second moment that became 0 would be divided by.
  static FASTOPT_INLINE U32 alive(F32 value, U32 lowest) { return where_nonzero(bits_of(value), lowest); }

  static FASTOPT_INLINE F32 decode(const uint16_t* from, const None*) { return floats_of(U32::load(from) << 16); }

  static FASTOPT_INLINE void encode(F32 value, U32 word, uint16_t* to, None*) {
    const U32 bits = noisy_bits<16>(value, word);
    store_high(kNonNegative ? max(bits, alive(value, U32::broadcast(0x10000))) : bits, to);
  }

  static FASTOPT_INLINE void round(F32 value, uint16_t* to, None*) {
    const U32 half = to_bfloat16(value);
    store_low(kNonNegative ? max(half, alive(value, U32::broadcast(1))) : half, to);
  }
};

}  // namespace fastopt::FASTOPT_ISA
