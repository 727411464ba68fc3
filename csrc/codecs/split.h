// Split master weights: a 16-bit parameter, which is the master rounded to nearest, and a signed correction of 8 or 16
// bits.  The master's magnitude is a whole number that a rounding cuts in two, so that every master has its pair.
#pragma once
#include "codecs/bits.h"

namespace fastopt::FASTOPT_ISA {

// The master's bits: the parameter in the upper half of a word, plus the correction.  A parameter of 0 takes no
// negative correction, since someone may have set the parameter to 0 after the last step.
template <int kBits> FASTOPT_INLINE U32 joined(U32 param, U32 correction) {
  return param + positive_where_zero(param + param, correction << (16 - kBits));
}

// The master is the upper 24 bits of a float32, or all of them.
template <class Correction> struct SplitBfloat16 {
  using Data = uint16_t;
  using Extra = Correction;
  static constexpr bool kRounds = false;
  static constexpr int kBits = 8 * sizeof(Correction);

  static FASTOPT_INLINE F32 decode(const uint16_t* from, const Correction* extra) {
    return floats_of(joined<kBits>(U32::load(from) << 16, U32::load_signed(extra)));
  }

  static FASTOPT_INLINE void encode(F32 value, U32 word, uint16_t* to, Correction* extra) {
    U32 bits;
    if constexpr (kBits == 8) {
      bits = noisy_bits<8>(value, word);
    } else {
      bits = select(equal(value, value), bits_of(value), U32::broadcast(kNaN));
    }
    store_high(bits + U32::broadcast(0x8000), to);
    // The low bits of the master are those of its difference from the parameter.
    if constexpr (kBits == 8) {
      store_second(bits, extra);
    } else {
      store_low(bits, extra);
    }
  }
};

// The master: a float16 with 8 or 16 more bits of mantissa.
struct MasterOfFloat16 {
  static constexpr uint32_t kBias = 0x38000000;  // difference of the exponents' biases, in float32's bits

  template <int kBits> static FASTOPT_INLINE F32 decode(U32 master) {
    const U32 normal = kBits == 8 ? master << 5 : master >> 3;
    const U32 inf = U32::broadcast(0x7C00U << kBits), bias = U32::broadcast(kBias);
    const U32 is_finite = U32::broadcast(0) - ((master - inf) >> 31);
    const U32 bits = normal + bias + (bias & (is_finite ^ U32::broadcast(~0U)));
    const F32 tiny =
        to_float(min(master, U32::broadcast(0x400U << kBits))) * F32::broadcast(1.0 / (1ULL << (24 + kBits)));
    return select(less(tiny, F32::broadcast(0x1p-14)), tiny, floats_of(bits));
  }

  template <int kBits> static FASTOPT_INLINE U32 encode(F32 value, U32 word) {
    constexpr int kBelow = kBits == 8 ? 13 : 5;  // bits to drop from a multiple of 2^-45
    const U32 size = magnitude(bits_of(value));
    const F32 number = floats_of(size);
    const auto is_tiny = less(number, F32::broadcast(0x1p-14)), is_finite = less(number, F32::broadcast(65536));
    const U32 rebased = size - U32::broadcast(kBias);
    const U32 cut = kBits == 8 ? (rebased + (word >> 27)) >> 5 : rebased << 3;
    const U32 normal = min(cut, U32::broadcast((0x7C00U << kBits) - 1));
    const F32 units = select(is_tiny, number, F32::broadcast(0)) * F32::broadcast(0x1p45);
    const U32 tiny = (to_int(units) + (word >> (32 - kBelow))) >> kBelow;
    const U32 inf = U32::broadcast(0x7C00U << kBits), nan = U32::broadcast(0x7E00U << kBits);
    return select(is_tiny, tiny, select(is_finite, normal, select(equal(value, value), inf, nan)));
  }
};

template <class Correction> struct SplitFloat16 {
  using Data = uint16_t;
  using Extra = Correction;
  static constexpr bool kRounds = false;
  static constexpr int kBits = 8 * sizeof(Correction);

  static FASTOPT_INLINE F32 decode(const uint16_t* from, const Correction* extra) {
    const U32 param = U32::load(from) << 16, sign = param & U32::broadcast(kSign);
    const U32 master = joined<kBits>(param ^ sign, U32::load_signed(extra)) >> (16 - kBits);
    return floats_of(bits_of(MasterOfFloat16::decode<kBits>(master)) | sign);
  }

  static FASTOPT_INLINE void encode(F32 value, U32 word, uint16_t* to, Correction* extra) {
    const U32 master = MasterOfFloat16::encode<kBits>(value, word);
    const U32 param = (master + U32::broadcast(1U << (kBits - 1))) >> kBits;
    store_low(param | sign_of(value) >> 16, to);
    store_low(master, extra);  // as in SplitBfloat16
  }
};

// The master is a whole float32, and the parameter its rounding.
template <class Half> struct FullCopy {
  using Data = uint16_t;
  using Extra = float;
  static constexpr bool kRounds = false;

  static FASTOPT_INLINE F32 decode(const uint16_t*, const float* extra) { return F32::load(extra); }

  static FASTOPT_INLINE void encode(F32 value, U32, uint16_t* to, float* extra) {
    Half::round(value, to, nullptr);
    value.store(extra);
  }
};

}  // namespace fastopt::FASTOPT_ISA
