// The codecs over tiles.
#pragma once
#include <stdint.h>

#include "codecs/bfloat16.h"
#include "codecs/block8.h"
#include "codecs/float16.h"
#include "codecs/float32.h"
#include "codecs/formats.h"
#include "codecs/noise.h"
#include "codecs/split.h"
#include "cuda/tile.h"
#include "cuda/warp.h"
#include "step/noise_key.h"

namespace fastopt::cuda {

using F64 = Vec<double>;

// The arithmetic's own format in float64.  In float32 that is Float32.
struct Float64 {
  using Data = double;
  using Extra = None;
  static FASTOPT_INLINE F64 decode(const double* from, const None*) { return {*from}; }
};

template <class T> struct Own;
template <> struct Own<float> {
  using Codec = Float32;
};
template <> struct Own<double> {
  using Codec = Float64;
};

// The codec at an index of fastopt_format_at; 0 is the arithmetic's own.
template <int kIndex, class First, class... Rest> struct At {
  using Codec = typename At<kIndex - 1, Rest...>::Codec;
};
template <class First, class... Rest> struct At<0, First, Rest...> {
  using Codec = First;
};
#define FASTOPT_CODEC(NAME, CODEC, ROLES) , CODEC
template <class T, int kFormat>
using CodecOf = typename At<kFormat, typename Own<T>::Codec FASTOPT_FORMATS(FASTOPT_CODEC)>::Codec;

template <class V> constexpr int kRunOf = kBytes / sizeof(typename V::Element);

FASTOPT_INLINE void widen_to(F32 from, F32& to) { to = from; }
FASTOPT_INLINE void widen_to(F32 from, F64& to) { to = {static_cast<double>(from.x)}; }
FASTOPT_INLINE void widen_to(F64 from, F64& to) { to = from; }

template <class V, class Codec> FASTOPT_INLINE V decoded(const typename Codec::Data& from) {
  V value;
  widen_to(Codec::decode(&from, nullptr), value);
  return value;
}

template <class T> FASTOPT_INLINE T* offset(void* array, int64_t by) { return static_cast<T*>(array) + by; }
template <> FASTOPT_INLINE None* offset<None>(void*, int64_t) { return nullptr; }

// The noise of a tile's elements.
struct TileNoise {
  uint64_t first;  // index of the first element
  uint32_t key, high;

  FASTOPT_INLINE TileNoise(uint32_t key, uint64_t first)
      : first(first), key(key), high(noise_start(key, first) - low()) {}
  FASTOPT_INLINE uint32_t low() const { return static_cast<uint32_t>(first); }
  FASTOPT_INLINE uint32_t word(int i) const {
    const uint64_t index = first + static_cast<uint64_t>(i);
    const bool same = index >> 32 == first >> 32;
    return Noise(same ? high + static_cast<uint32_t>(index) : noise_start(key, index)).words().x;
  }
};

// A tile of a slot, encoded element by element.
template <class V, class Codec, int kEach> struct SlotTile {
  using Data = typename Codec::Data;
  Tile<Data, kRunOf<V>, kEach> tile;

  FASTOPT_INLINE void fetch(void* data, void*, int64_t at, Window window) {
    tile.fetch(offset<Data>(data, at), window);
  }
  FASTOPT_INLINE void take(void* data, void*, int64_t at, Window window, Exchange& exchange) {
    tile.take(offset<Data>(data, at), window, exchange);
  }
  FASTOPT_INLINE V load(int k) const { return decoded<V, Codec>(tile.values[k]); }
  FASTOPT_INLINE void store(int k, F64 value, uint32_t, uint32_t) { tile.values[k] = value.x; }
  FASTOPT_INLINE void store(int k, F32 value, uint32_t word, uint32_t turn) {
    Codec::encode(value, U32::broadcast(word + turn), &tile.values[k], nullptr);
  }
  FASTOPT_INLINE void put(void* data, void*, int64_t at, Window window, const TileNoise&, uint32_t,
                          Exchange& exchange) {
    tile.put(offset<Data>(data, at), window, exchange);
  }
};

// A tile of a slot that is encoded only when the whole block is known.  Its padding is in memory too.
template <bool kNonNegative, int kEach> struct SlotTile<F32, Block8<kNonNegative>, kEach> {
  static_assert(kEach * kLanes == kBlock);
  using Codec = Block8<kNonNegative>;
  using Map = typename Codec::Map;
  Tile<uint8_t, kRunOf<F32>, kEach> tile;
  uint32_t values[kEach];  // bits of the new values
  uint32_t word;           // the block's

  static FASTOPT_INLINE uint32_t* word_of(void* extra, int64_t at) {
    return static_cast<uint32_t*>(extra) + at / kBlock;
  }

  FASTOPT_INLINE void fetch(void* data, void* extra, int64_t at, Window) {
    word = *word_of(extra, at);
    tile.fetch(offset<uint8_t>(data, at), {0, kBlock});
  }
  FASTOPT_INLINE void take(void* data, void*, int64_t at, Window, Exchange& exchange) {
    tile.take(offset<uint8_t>(data, at), {0, kBlock}, exchange);
  }
  FASTOPT_INLINE F32 load(int k) const { return Codec::decode(&tile.values[k], Map(word)); }
  FASTOPT_INLINE void store(int k, F32 value, uint32_t, uint32_t) { values[k] = bits_of(value).x; }
  FASTOPT_INLINE void put(void* data, void* extra, int64_t at, Window, const TileNoise& noise, uint32_t turn,
                          Exchange& exchange) {
    typename Codec::Survey survey;
#pragma unroll
    for (int k = 0; k < kEach; ++k) survey.add(values[k]);
    survey.least = reduced(survey.least, [](uint32_t a, uint32_t b) { return a < b ? a : b; });
    survey.most = reduced(survey.most, [](uint32_t a, uint32_t b) { return a < b ? b : a; });
    survey.special = __any_sync(kEveryLane, survey.special);
    const Map map = survey.map();
#pragma unroll
    for (int k = 0; k < kEach; ++k) {
      tile.values[k] = Codec::code_of(values[k], noise.word(element<kRunOf<F32>>(k)) + turn, map);
    }
    tile.put(offset<uint8_t>(data, at), {0, kBlock}, exchange);
    if (lane() == 0) *word_of(extra, at) = map.word();
  }
};

}  // namespace fastopt::cuda
