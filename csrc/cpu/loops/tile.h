// The loop over one piece: decode to V, stages, rule, stages, encode.  A tail goes through the same lines in a padded
// copy.
#pragma once
#include <stdint.h>

#include "codecs/copy.h"
#include "codecs/native.h"
#include "cpu/loops/kernel.h"
#include "simd/vec.h"
#include "step/stages.h"
#include "step/variant.h"

namespace fastopt::FASTOPT_ISA {

template <class Variant, class V, StageLevel kLevel> struct TileLoop {
  using Codec = Native<V>;
  using T = typename Codec::Data;
  static constexpr int kSlots = Variant::slots;
  static constexpr bool kIsWhole = kLevel == kWhole;
  static constexpr int kArrays = 2 + kSlots + kIsWhole;  // param, grad, state, the average
  static constexpr int kEma = 2 + kSlots;
  static constexpr int kCopyBytes = 8;  // of the widest element

  const typename Variant::template ScalarsOf<V> scalars;
  const Stages<V, kLevel> stages;
  const Piece& piece;

  FASTOPT_INLINE void tile(T* const* arrays, void* copy, int64_t at, bool stream) const {
    V p = Codec::decode(arrays[0] + at);
    V g = Codec::decode(arrays[1] + at);
    V state[kSlots + 1];
    for (int k = 0; k < kSlots; ++k) state[k] = Codec::decode(arrays[2 + k] + at);
    if constexpr (kLevel != kBare) stages.before(p, g);
    apply_rule<Variant>(scalars, p, g, state);
    Codec::encode(p, arrays[0] + at);
    for (int k = 0; k < kSlots; ++k) Codec::encode(state[k], arrays[2 + k] + at);
    if constexpr (kIsWhole) {
      if (piece.ema) {
        T* ema = arrays[kEma] + at;
        Codec::encode(stages.average(Codec::decode(ema), p), ema);
      }
      if (piece.copy) copy_to(p, piece.copy_dtype, copy, at, stream);
      if (piece.stages->zero_grad) Codec::encode(V::broadcast(0), arrays[1] + at);
    }
  }

  FASTOPT_INLINE void padded_tile(T* const* arrays, int64_t at, int64_t count) const {
    T padded[kArrays][V::width] = {};
    T* pointers[kArrays];
    for (int a = 0; a < kArrays; ++a) {
      pointers[a] = padded[a];
      for (int64_t i = 0; arrays[a] && i < count; ++i) padded[a][i] = arrays[a][at + i];
    }
    alignas(kCopyBytes) char copy[V::width * kCopyBytes];
    tile(pointers, copy, 0, false);
    for (int a = 0; a < kArrays; ++a) {
      if (a == 1 && !(kIsWhole && piece.stages->zero_grad)) continue;  // the gradient is only read
      for (int64_t i = 0; arrays[a] && i < count; ++i) arrays[a][at + i] = padded[a][i];
    }
    if (kIsWhole && piece.copy) {
      const int64_t size = copy_size(piece.copy_dtype);
      for (int64_t i = 0; i < count * size; ++i) static_cast<char*>(piece.copy)[at * size + i] = copy[i];
    }
  }

  // The number of elements before the first whole vector of `param` in memory.  Vectors that straddle cache lines cost
  // a quarter of the time if the caches hold the arrays.  A piece of a few vectors is done sooner without this.
  static int64_t head(const T* param, int64_t length) {
    constexpr int64_t bytes = V::width * sizeof(T);
    const auto past = static_cast<int64_t>(reinterpret_cast<uintptr_t>(param) % bytes);
    return past == 0 || length < 32 * V::width ? 0 : (bytes - past) / static_cast<int64_t>(sizeof(T));
  }

  static bool is_whole(const uint16_t* to) {
    return reinterpret_cast<uintptr_t>(to) % (V::width * sizeof(uint16_t)) == 0;
  }

  static void run(const Piece& piece) {
    const TileLoop loop{typename Variant::template ScalarsOf<V>(piece.scalars), Stages<V, kLevel>(*piece.stages),
                        piece};
    T* arrays[kArrays] = {static_cast<T*>(piece.param), static_cast<T*>(piece.grad)};
    for (int k = 0; k < kSlots; ++k) arrays[2 + k] = static_cast<T*>(piece.state[k]);
    if constexpr (kIsWhole) arrays[kEma] = static_cast<T*>(piece.ema);
    int64_t at = head(arrays[0], piece.length);
    if (at > 0) loop.padded_tile(arrays, 0, at);
    const bool stream = kIsWhole && piece.stream && copy_size(piece.copy_dtype) == sizeof(uint16_t) &&
                        is_whole(static_cast<uint16_t*>(piece.copy) + at);
    for (; at + V::width <= piece.length; at += V::width) loop.tile(arrays, piece.copy, at, stream);
    if (at < piece.length) loop.padded_tile(arrays, at, piece.length - at);
    if (stream) drain();
  }
};

}  // namespace fastopt::FASTOPT_ISA
