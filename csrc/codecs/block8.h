// 8bit: a float32 cut to few bits and counted from its block's base (docs/formats.md).
#pragma once
#include "codecs/bits.h"
#include "fastopt.h"

namespace fastopt::FASTOPT_ISA {

template <bool kNonNegative> struct Block8 {
  using Data = uint8_t;
  using Extra = uint32_t;
  static constexpr int kBlock = FASTOPT_BLOCK;
  static constexpr uint32_t kTop = kNonNegative ? 255 : 127;
  static constexpr int kLeastShift = 16, kMostShift = 21;
  static constexpr uint32_t kHuge = 0x7F000000;  // from here on rounding up might reach Inf

  // The meaning of a block's word.
  struct Map {
    uint32_t base, highest;  // the largest code
    int shift;
    bool special;  // the two codes above the highest stand for Inf and NaN

    FASTOPT_INLINE explicit Map(uint32_t word)
        : base(word >> 8 & 0xFFFF),
          highest(word & 8 ? kTop - 2 : kTop),
          shift(kLeastShift + static_cast<int>(word & 7)),
          special(word & 8) {}

    // The map for finite magnitudes up to `most`.  All but zeros are at least `least`.
    FASTOPT_INLINE Map(uint32_t least, uint32_t most, bool special)
        : base(0), highest(special ? kTop - 2 : kTop), shift(kLeastShift), special(special) {
      while (shift < kMostShift && up(most) - (least >> shift) > highest - 1) ++shift;
      const uint32_t top = up(most);
      base = top > highest ? top - highest : 0;
      highest = top - base;
    }

    FASTOPT_INLINE uint32_t up(uint32_t most) const {
      const uint32_t sum = most + (1U << shift) - 1;
      return (sum < kLargest ? sum : kLargest) >> shift;
    }

    FASTOPT_INLINE uint32_t word() const {
      return static_cast<uint32_t>(shift - kLeastShift) | (special ? 8U : 0U) | base << 8;
    }
  };

  // The extremes of a block's magnitudes.  A negative value in a non-negative slot counts as huge and takes the slow
  // path.
  struct Extremes {
    U32 least = U32::broadcast(~0U), most = U32::broadcast(0);

    FASTOPT_INLINE void add(F32 value) {
      const U32 size = size_of(value);
      least = min(least, size);
      most = max(most, size);
    }
  };

  static FASTOPT_INLINE U32 size_of(F32 value) { return kNonNegative ? bits_of(value) : magnitude(bits_of(value)); }

  static FASTOPT_INLINE F32 decode(const uint8_t* from, const Map& map) {
    const U32 code = U32::load(from), size = kNonNegative ? code : code & U32::broadcast(kTop);
    U32 bits = where_nonzero(size, (size + U32::broadcast(map.base)) << map.shift);
    if (__builtin_expect(map.special, 0)) {
      const U32 highest = U32::broadcast(map.highest), above = max(size, highest) - highest;  // 1: Inf, 2: NaN
      const U32 finite = where_nonzero(above, U32::broadcast(~0U)) ^ U32::broadcast(~0U);
      bits = (bits & finite) | where_nonzero(above, U32::broadcast(kInf)) | (above >> 1) << 22;
    }
    return floats_of(kNonNegative ? bits : bits | (code ^ size) << 24);
  }

  static FASTOPT_INLINE uint32_t lane(U32 words, bool largest) {
    uint32_t lanes[U32::width];
    words.store(lanes);
    for (int k = 1; k < U32::width; ++k) {
      if ((lanes[k] > lanes[0]) == largest) lanes[0] = lanes[k];
    }
    return lanes[0];
  }

  // Encodes a whole block of values whose extremes are known.
  static __attribute__((noinline)) void encode(const float* from, const Extremes& extremes, const uint32_t* words,
                                               uint32_t turn, uint8_t* to, uint32_t* extra) {
    const uint32_t most = lane(extremes.most, true);
    uint32_t least = lane(extremes.least, false);
    if (most >= kHuge) return encode_huge(from, words, turn, to, extra);
    const bool has_zeros = least == 0;
    if (has_zeros) least = least_nonzero(from);
    const Map map = most == 0 ? Map(0) : Map(least, most, false);
    *extra = map.word();
    const U32 base = U32::broadcast(map.base);
    // If all codes are at least 1, no value needs to be raised.
    if (!has_zeros && (least >> map.shift) > map.base) {
      encode_codes(from, words, turn, map.shift, to, [&](U32, U32 kept) { return kept - base; });
    } else {
      encode_codes(from, words, turn, map.shift, to, [&](U32 size, U32 kept) {
        if constexpr (!kNonNegative) return max(kept, base) - base;
        return where_nonzero(size, max(kept, base + U32::broadcast(1)) - base);
      });
    }
  }

  template <class Code>
  static FASTOPT_INLINE void encode_codes(const float* from, const uint32_t* words, uint32_t turn, int shift,
                                          uint8_t* to, Code code) {
    const U32 turns = U32::broadcast(turn);
    for (int i = 0; i < kBlock; i += 4 * U32::width) {
      U32 codes[4];
      for (int k = 0; k < 4; ++k) {
        const int at = i + k * U32::width;
        const F32 value = F32::load(from + at);
        const U32 size = size_of(value);
        codes[k] = code(size, (size + ((U32::load(words + at) + turns) >> (32 - shift))) >> shift);
        if constexpr (!kNonNegative) codes[k] = codes[k] | sign_of(value) >> 24;
      }
      store_low(codes, to + i);
    }
  }

  static uint32_t least_nonzero(const float* from) {
    U32 most = U32::broadcast(0);  // of the negated sizes: 0 stays 0, the least
    for (int i = 0; i < kBlock; i += U32::width) most = max(most, U32::broadcast(0) - size_of(F32::load(from + i)));
    return 0 - lane(most, true);
  }

  // The values that determine a block's map, gathered one element at a time.
  struct Survey {
    uint32_t least = ~0U, most = 0;  // of the finite magnitudes except zeros
    bool special = false;            // has Inf or NaN

    FASTOPT_INLINE void add(uint32_t bits) {
      const uint32_t size = bits & ~kSign;
      special = special || size >= kInf;
      if (size >= kInf || size == 0) return;
      most = size > most ? size : most;
      least = size < least ? size : least;
    }

    FASTOPT_INLINE Map map() const { return most == 0 ? Map(special ? 8 : 0) : Map(least, most, special); }
  };

  // The code of any value.
  static FASTOPT_INLINE uint8_t code_of(uint32_t bits, uint32_t word, const Map& map) {
    const uint32_t size = bits & ~kSign, inf = (map.special ? kTop - 2 : kTop) + 1;
    const uint32_t lowest = map.base + (kNonNegative && size != 0);
    const uint32_t kept = (size + (word >> (32 - map.shift))) >> map.shift;
    uint32_t code = (kept > lowest ? kept : lowest) - map.base;
    if (code > map.highest) code = map.highest;
    if (size >= kInf) code = size == kInf ? inf : inf + 1;
    const bool has_sign = !kNonNegative && size <= kInf;  // a NaN has no sign
    return static_cast<uint8_t>(has_sign ? code | (bits >> 24 & 0x80) : code);
  }

  // Encodes a block with Inf, NaN or a value that might round up to Inf.  Such blocks are rare, so one element at a
  // time.
  static void encode_huge(const float* from, const uint32_t* words, uint32_t turn, uint8_t* to, uint32_t* extra) {
    Survey survey;
    for (int i = 0; i < kBlock; ++i) survey.add(float_bits(from[i]));
    const Map map = survey.map();
    *extra = map.word();
    for (int i = 0; i < kBlock; ++i) to[i] = code_of(float_bits(from[i]), words[i] + turn, map);
  }
};

}  // namespace fastopt::FASTOPT_ISA
