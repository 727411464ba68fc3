// A sum of non-negative numbers without rounding, so that the order of terms does not matter: fixed point over the
// whole range of exponents, after Neal, Fast exact summation using small and large superaccumulators
// (arXiv:1505.05571).
#pragma once
#include <stdint.h>

#include "step/portable.h"

namespace fastopt {

constexpr int kSumBias = 3328, kSumLimbs = (2 * kSumBias) / 32 + 4;

// A finite term, value * 2^exponent, as the parts that it adds to three neighbouring limbs of 32 bits.  A sum may have
// up to 2^32 terms, with values of 2^-1074 to 2^1024 and exponents of up to 2,200 either way.
struct SumTerm {
  int limb;
  uint32_t parts[3];
};

FASTOPT_PORTABLE SumTerm sum_term(double value, int exponent) {
  int power;
  const double fraction = frexp(value, &power);
  const auto digits = static_cast<uint64_t>(fraction * 9007199254740992.0);  // 53 of them
  const int place = power - 53 + exponent + kSumBias;                        // of the last digit
  const int shift = place % 32;
  return {place / 32,
          {static_cast<uint32_t>(digits << shift), static_cast<uint32_t>(digits >> (32 - shift)),
           shift == 0 ? 0 : static_cast<uint32_t>(digits >> (64 - shift))}};
}

// The square root of a sum, rounded to 52 digits or more.  Carries the limbs in place.
FASTOPT_PORTABLE double sum_root(uint64_t* limbs) {
  uint64_t carry = 0;
  for (int i = 0; i < kSumLimbs; ++i) {
    carry += limbs[i];
    limbs[i] = static_cast<uint32_t>(carry);
    carry >>= 32;
  }
  int top = kSumLimbs - 1;
  while (top >= 0 && limbs[top] == 0) --top;
  if (top < 0) return 0;
  // The top three limbs hold at least 65 digits; the limbs below can only break ties.
  bool rest = false;
  for (int i = 0; i < top - 2; ++i) rest = rest || limbs[i] != 0;
  unsigned __int128 head = 0;
  for (int i = top; i > top - 3; --i) head = head << 32 | (i >= 0 ? limbs[i] : 0);
  const int exponent = 32 * (top - 2) - kSumBias;
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

}  // namespace fastopt
