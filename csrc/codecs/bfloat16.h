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

// The magnitude of a value with noise below the last bit that is kept; no finite value becomes Inf by it.
FASTOPT_INLINE U32 with_noise(F32 value, U32 noise) {
  const U32 size = magnitude(bits_of(value));
  const U32 sum = min(size + noise, max(size, U32::broadcast(kLargest)));
  return select(equal(value, value), sum, U32::broadcast(kNaN));
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

  // A second moment that became 0 would be divided by.
  static FASTOPT_INLINE U32 alive(F32 value, U32 half) {
    return kNonNegative ? max(half, where_nonzero(bits_of(value), U32::broadcast(1))) : half;
  }

  static FASTOPT_INLINE F32 decode(const uint16_t* from, const None*) { return floats_of(U32::load(from) << 16); }

  static FASTOPT_INLINE void encode(F32 value, U32 word, uint16_t* to, None*) {
    const U32 half = alive(value, with_noise(value, word >> 16) >> 16);
    store_low(half | sign_of(value) >> 16, to);
  }

  static FASTOPT_INLINE void round(F32 value, uint16_t* to, None*) { store_low(alive(value, to_bfloat16(value)), to); }
};

}  // namespace fastopt::FASTOPT_ISA
