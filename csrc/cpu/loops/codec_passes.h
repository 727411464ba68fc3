// A codec's functions for arrays of any length: the tail goes through the same lines in a padded copy.
#pragma once
#include <stdint.h>

#include "codecs/bits.h"
#include "codecs/block8.h"
#include "codecs/noise.h"
#include "codecs/rounding.h"
#include "cpu/loops/kernel.h"
#include "fastopt.h"
#include "simd/vec.h"

namespace fastopt::FASTOPT_ISA {

// Words without noise, for encoding to nearest.
alignas(64) constexpr uint32_t kNoWords[FASTOPT_BLOCK] = {};

template <class Codec> struct CodecPasses {
  using Data = typename Codec::Data;
  using Extra = typename Codec::Extra;
  static constexpr bool kBare = kIsNone<Extra>;

  static void decode(const Elements& from, float* to, int64_t length) {
    const auto* data = static_cast<const Data*>(from.data);
    const auto* extra = static_cast<const Extra*>(from.extra);
    int64_t at = 0;
    for (; at + U32::width <= length; at += U32::width) Codec::decode(data + at, beside(extra, at)).store(to + at);
    if (at == length) return;
    Data padded[U32::width] = {};
    Extra more[U32::width] = {};
    for (int64_t i = at; i < length; ++i) {
      padded[i - at] = data[i];
      if constexpr (!kBare) more[i - at] = extra[i];
    }
    float values[U32::width];
    Codec::decode(padded, more).store(values);
    for (int64_t i = at; i < length; ++i) to[i] = values[i - at];
  }

  // Calls `unit`, which encodes the vector at an index, for each vector.
  template <class Unit>
  static FASTOPT_INLINE void each(const float* from, const Elements& to, int64_t length, const Unit& unit) {
    auto* data = static_cast<Data*>(to.data);
    auto* extra = static_cast<Extra*>(to.extra);
    int64_t at = 0;
    for (; at + U32::width <= length; at += U32::width) unit(F32::load(from + at), data + at, beside(extra, at), at);
    if (at == length) return;
    Data padded[U32::width];
    Extra more[U32::width];
    float values[U32::width] = {};
    for (int64_t i = at; i < length; ++i) values[i - at] = from[i];
    unit(F32::load(values), padded, more, at);
    for (int64_t i = at; i < length; ++i) {
      data[i] = padded[i - at];
      if constexpr (!kBare) extra[i] = more[i - at];
    }
  }

  static void encode(const float* from, const Elements& to, int64_t length, const uint32_t* words, uint32_t turn) {
    const U32 turns = U32::broadcast(turn);
    each(from, to, length, [&](F32 value, Data* data, Extra* extra, int64_t at) {
      Codec::encode(value, U32::load(words + at) + turns, data, extra);
    });
  }

  static void round(const float* from, const Elements& to, int64_t length) {
    each(from, to, length, [](F32 value, Data* data, Extra* extra, int64_t) {
      if constexpr (Codec::kRounds) {
        Codec::round(value, data, extra);
      } else {
        Codec::encode(value, U32::broadcast(kHalfTurn), data, extra);
      }
    });
  }

  static constexpr Format format = {sizeof(Data), kBare ? 0 : sizeof(Extra), 1, decode, encode, round};
};

template <bool kNonNegative> struct CodecPasses<Block8<kNonNegative>> {
  using Codec = Block8<kNonNegative>;
  static constexpr int kBlock = FASTOPT_BLOCK;

  static void decode_block(const uint8_t* from, uint32_t word, float* to) {
    const typename Codec::Map map(word);
    for (int i = 0; i < kBlock; i += U32::width) Codec::decode(from + i, map).store(to + i);
  }

  static void decode(const Elements& from, float* to, int64_t length) {
    const auto* data = static_cast<const uint8_t*>(from.data);
    const auto* words = static_cast<const uint32_t*>(from.extra);
    int64_t at = 0;
    for (; at + kBlock <= length; at += kBlock) decode_block(data + at, words[at / kBlock], to + at);
    if (at == length) return;
    uint8_t padded[kBlock] = {};
    float values[kBlock];
    for (int64_t i = at; i < length; ++i) padded[i - at] = data[i];
    decode_block(padded, words[at / kBlock], values);
    for (int64_t i = at; i < length; ++i) to[i] = values[i - at];
  }

  static void encode_block(const float* from, const uint32_t* words, uint32_t turn, uint8_t* to, uint32_t* extra) {
    typename Codec::Extremes extremes;
    for (int i = 0; i < kBlock; i += U32::width) extremes.add(F32::load(from + i));
    Codec::encode(from, extremes, words, turn, to, extra);
  }

  static void encode(const float* from, const Elements& to, int64_t length, const uint32_t* words, uint32_t turn) {
    auto* data = static_cast<uint8_t*>(to.data);
    auto* extra = static_cast<uint32_t*>(to.extra);
    int64_t at = 0;
    for (; at + kBlock <= length; at += kBlock)
      encode_block(from + at, words + at, turn, data + at, extra + at / kBlock);
    if (at == length) return;
    uint8_t padded[kBlock];
    float values[kBlock] = {};
    for (int64_t i = at; i < length; ++i) values[i - at] = from[i];
    encode_block(values, words + at, turn, padded, extra + at / kBlock);
    for (int64_t i = at; i < length; ++i) data[i] = padded[i - at];
  }

  static void round(const float* from, const Elements& to, int64_t length) {
    auto* data = static_cast<uint8_t*>(to.data);
    auto* extra = static_cast<uint32_t*>(to.extra);
    for (int64_t at = 0; at < length; at += kBlock) {
      const int64_t left = length - at < kBlock ? length - at : kBlock;
      encode(from + at, {data + at, extra + at / kBlock}, left, kNoWords, kHalfTurn);
    }
  }

  static constexpr Format format = {1, sizeof(uint32_t), kBlock, decode, encode, round};
};

// Writes the words of `count` elements, up to a whole number of vectors.
inline void noise_pass(uint32_t start, int64_t count, uint32_t* words) {
  Noise noise(start);
  for (int64_t at = 0; at < count; at += U32::width) noise.words().store(words + at);
}

// Widens float32 values.
inline void widen_pass(const float* from, double* to, int64_t length) {
  for (int64_t i = 0; i < length; ++i) to[i] = static_cast<double>(from[i]);
}

}  // namespace fastopt::FASTOPT_ISA
