// A sum of non-negative numbers without rounding, so that the order of terms does not matter: fixed point over the
// whole range of exponents, after Neal, Fast exact summation using small and large superaccumulators
// (arXiv:1505.05571).
#pragma once
#include <math.h>
#include <stdint.h>

namespace fastopt {

class ExactSum {
 public:
  // Adds value * 2^exponent, for up to 2^32 values of 2^-1074 to 2^1024 each and exponents of up to 2,200 either way.
  void add(double value, int exponent = 0) {
    if (!(value - value == 0)) {
      special_ += value;  // Inf or NaN
      return;
    }
    int power;
    const double fraction = frexp(value, &power);
    const auto digits = static_cast<uint64_t>(fraction * kTwo53);
    const int place = power - 53 + exponent + kBias;  // of the last digit
    uint64_t* limb = limbs_ + place / 32;
    const unsigned __int128 wide = static_cast<unsigned __int128>(digits) << (place % 32);
    limb[0] += static_cast<uint32_t>(wide);
    limb[1] += static_cast<uint32_t>(wide >> 32);
    limb[2] += static_cast<uint32_t>(wide >> 64);
  }

  void add(const ExactSum& other) {
    special_ += other.special_;
    for (int i = 0; i < kLimbs; ++i) limbs_[i] += other.limbs_[i];
  }

  // The square root of the sum rounded to 52 digits or more.
  double root() const {
    if (!(special_ == 0)) return special_;
    uint32_t digits[kLimbs];
    uint64_t carry = 0;
    for (int i = 0; i < kLimbs; ++i) {
      carry += limbs_[i];
      digits[i] = static_cast<uint32_t>(carry);
      carry >>= 32;
    }
    int top = kLimbs - 1;
    while (top >= 0 && digits[top] == 0) --top;
    if (top < 0) return 0;
    // The top three limbs hold at least 65 digits; what is below can only break ties.
    bool rest = false;
    for (int i = 0; i < top - 2; ++i) rest = rest || digits[i] != 0;
    unsigned __int128 head = 0;
    for (int i = top; i > top - 3; --i) head = head << 32 | (i >= 0 ? digits[i] : 0);
    int exponent = 32 * (top - 2) - kBias;
    // An even exponent and 53 or 52 digits, rounded to nearest even.
    int shift = 0;
    while (head >> shift >> 53) ++shift;
    if ((exponent + shift) % 2 != 0) ++shift;
    auto kept = static_cast<uint64_t>(head >> shift);
    if (shift > 0) {
      const unsigned __int128 half = static_cast<unsigned __int128>(1) << (shift - 1),
                              dropped = head - (static_cast<unsigned __int128>(kept) << shift);
      if (dropped > half || (dropped == half && (rest || (kept & 1)))) ++kept;
    }
    return ldexp(sqrt(static_cast<double>(kept)), (exponent + shift) / 2);
  }

 private:
  static constexpr double kTwo53 = 9007199254740992.0;
  static constexpr int kBias = 3328, kLimbs = (2 * kBias) / 32 + 4;
  uint64_t limbs_[kLimbs] = {};
  double special_ = 0;
};

}  // namespace fastopt
