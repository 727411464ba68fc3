// The loop over one piece with arrays in formats, a block at a time: decode to V, stages, rule, stages, encode.  The
// tail of a piece goes through the same lines in a padded copy.
#pragma once
#include <stdint.h>

#include "codecs/bits.h"
#include "codecs/block8.h"
#include "codecs/copy.h"
#include "codecs/noise.h"
#include "codecs/rounding.h"
#include "cpu/loops/kernel.h"
#include "fastopt.h"
#include "simd/vec.h"
#include "step/stages.h"
#include "step/variant.h"

namespace fastopt::FASTOPT_ISA {

constexpr int kBlockLength = FASTOPT_BLOCK;

// Memory for a slot that is encoded only when its block is whole.
template <bool kWhole> using BlockValues = float[kWhole ? kBlockLength : 1];

using Size = decltype(sizeof 0);

// A block of one slot that is encoded element by element.
template <class Codec> struct SlotBlock {
  using Data = typename Codec::Data;
  static constexpr bool kWhole = false;  // needs memory for a whole block
  Data* data;
  U32 turn;

  FASTOPT_INLINE SlotBlock(void* data, void*, uint32_t turn, float*)
      : data(static_cast<Data*>(data)), turn(U32::broadcast(turn)) {}
  FASTOPT_INLINE F32 load(int i) const { return Codec::decode(data + i, nullptr); }
  FASTOPT_INLINE void store(int i, F32 value, U32 word) { Codec::encode(value, word + turn, data + i, nullptr); }
  FASTOPT_INLINE void finish(const uint32_t*) {}
};

// A block of one slot that is encoded only when all its values are known.
template <bool kNonNegative> struct SlotBlock<Block8<kNonNegative>> {
  using Codec = Block8<kNonNegative>;
  using Data = uint8_t;
  static constexpr bool kWhole = true;
  uint8_t* codes;
  uint32_t* word;
  const typename Codec::Map map;
  typename Codec::Extremes extremes;
  uint32_t turn;
  float* values;  // of the whole block

  FASTOPT_INLINE SlotBlock(void* data, void* extra, uint32_t turn, float* values)
      : codes(static_cast<uint8_t*>(data)),
        word(static_cast<uint32_t*>(extra)),
        map(*word),
        turn(turn),
        values(values) {}
  FASTOPT_INLINE F32 load(int i) const { return Codec::decode(codes + i, map); }
  FASTOPT_INLINE void store(int i, F32 value, U32) {
    value.store(values + i);
    extremes.add(value);
  }
  FASTOPT_INLINE void finish(const uint32_t* words) { Codec::encode(values, extremes, words, turn, codes, word); }
};

// The blocks of a variant's slots from `kSlot` on.
template <class Variant, template <bool> class Codec, int kSlot = 0, bool kEnd = kSlot == Variant::slots>
struct SlotBlocks {
  using First = SlotBlock<Codec<Variant::non_negative(kSlot)>>;
  First first;
  SlotBlocks<Variant, Codec, kSlot + 1> rest;

  FASTOPT_INLINE SlotBlocks(void* const* data, void* const* extra, const uint32_t* turns,
                            BlockValues<First::kWhole>* values)
      : first(data[kSlot], extra[kSlot], turns[kSlot], values[kSlot]), rest(data, extra, turns, values) {}
  FASTOPT_INLINE void load(F32* state, int i) const {
    state[kSlot] = first.load(i);
    rest.load(state, i);
  }
  FASTOPT_INLINE void store(const F32* state, int i, U32 word) {
    first.store(i, state[kSlot], word);
    rest.store(state, i, word);
  }
  FASTOPT_INLINE void finish(const uint32_t* words) {
    first.finish(words);
    rest.finish(words);
  }
};

template <class Variant, template <bool> class Codec, int kSlot> struct SlotBlocks<Variant, Codec, kSlot, true> {
  template <class Values> FASTOPT_INLINE SlotBlocks(void* const*, void* const*, const uint32_t*, Values*) {}
  FASTOPT_INLINE void load(F32*, int) const {}
  FASTOPT_INLINE void store(const F32*, int, U32) {}
  FASTOPT_INLINE void finish(const uint32_t*) {}
};

template <class Variant, StageLevel kLevel, class P, class G, template <bool> class S> struct BlockLoop {
  static constexpr int kSlots = Variant::slots;
  using State = SlotBlock<S<false>>;
  using StateData = typename State::Data;
  using ParamExtra = typename P::Extra;
  static constexpr bool kIsWhole = kLevel == kWhole;
  static constexpr bool kNoisy = !kIsNone<ParamExtra> || kSlots > 0;

  const typename Variant::template ScalarsOf<F32> scalars;
  const Stages<F32, kLevel> stages;
  const Piece& piece;

  // Pointers to the first element of a block.
  struct Block {
    void *param, *extra, *grad, *ema, *copy;
    void* state[kSlots + 1];
    void* state_extra[kSlots + 1];
  };

  __attribute__((noinline)) void run_block(const Block& block, uint32_t start) const {
    alignas(64) uint32_t words[kBlockLength];
    auto* const param = static_cast<typename P::Data*>(block.param);
    auto* const extra = static_cast<ParamExtra*>(block.extra);
    const auto* const grad = static_cast<const typename G::Data*>(block.grad);
    alignas(64) BlockValues<State::kWhole> values[kSlots + 1];
    SlotBlocks<Variant, S> slots(block.state, block.state_extra, piece.state_turns, values);
    // Local copies: a store of bytes might change values behind a pointer, but not these.
    const auto scalars = this->scalars;
    const auto stages = this->stages;
    const bool stochastic = piece.stochastic;
    const U32 param_turn = U32::broadcast(piece.param_turn);
    Noise noise(start);
    for (int i = 0; i < kBlockLength; i += F32::width) {
      U32 word = U32::broadcast(0);
      if constexpr (kNoisy) word = noise.words();
      if constexpr (State::kWhole && kSlots > 0) word.store(words + i);
      F32 p = P::decode(param + i, beside(extra, i));
      F32 g = G::decode(grad + i, nullptr);
      F32 state[kSlots + 1];
      slots.load(state, i);
      if constexpr (kLevel != kBare) stages.before(p, g);
      apply_rule<Variant>(scalars, p, g, state);
      encode_parameter<P>(p, word + param_turn, stochastic, param + i, beside(extra, i));
      slots.store(state, i, word);
      if constexpr (kIsWhole) {
        if (block.ema) {
          float* const ema = static_cast<float*>(block.ema) + i;
          stages.average(F32::load(ema), p).store(ema);
        }
        if (block.copy) copy_to(p, piece.copy_dtype, block.copy, i, false);
      }
    }
    slots.finish(words);
  }

  // Stands in for an array of fewer elements than a block: a copy in memory for a whole block, copied back at the end.
  struct Padded {
    void*& place;
    void* const own;
    const int64_t bytes;
    alignas(64) char copy[kBlockLength * sizeof(double)] = {};

    Padded(void*& array, int64_t bytes) : place(array), own(array), bytes(array ? bytes : 0) {
      if (!own) return;
      __builtin_memcpy(copy, own, static_cast<Size>(bytes));
      place = copy;
    }
    ~Padded() {
      if (own) __builtin_memcpy(own, copy, static_cast<Size>(bytes));
    }
    Padded(const Padded&) = delete;
    Padded& operator=(const Padded&) = delete;
  };

  // 8-bit state needs no padding here: its blocks are whole in memory (fastopt.h).
  void run_padded(Block block, uint32_t start, int64_t length) const {
    const Padded param(block.param, length * static_cast<int64_t>(sizeof(typename P::Data)));
    const Padded extra(block.extra, kIsNone<ParamExtra> ? 0 : length * static_cast<int64_t>(sizeof(ParamExtra)));
    const Padded ema(block.ema, length * static_cast<int64_t>(sizeof(float)));
    const Padded copy(block.copy, kIsWhole ? length * copy_size(piece.copy_dtype) : 0);
    alignas(64) char grad[kBlockLength * sizeof(typename G::Data)] = {};
    __builtin_memcpy(grad, block.grad, static_cast<Size>(length) * sizeof(typename G::Data));
    block.grad = grad;
    run_padded_states(block, start, length);
  }

  template <int kSlot = 0> void run_padded_states(Block& block, uint32_t start, int64_t length) const {
    if constexpr (State::kWhole || kSlot == kSlots) {
      run_block(block, start);
    } else {
      const Padded state(block.state[kSlot], length * static_cast<int64_t>(sizeof(StateData)));
      run_padded_states<kSlot + 1>(block, start, length);
    }
  }

  static void run(const Piece& piece) {
    const BlockLoop loop{typename Variant::template ScalarsOf<F32>(piece.scalars), Stages<F32, kLevel>(*piece.stages),
                         piece};
    for (int64_t at = 0; at < piece.length; at += kBlockLength) {
      const auto move = [&](void* array, int64_t size) -> void* {
        return array ? static_cast<char*>(array) + at * size : nullptr;
      };
      Block block{};
      block.param = move(piece.param, sizeof(typename P::Data));
      block.extra = move(piece.param_extra, kIsNone<ParamExtra> ? 0 : sizeof(ParamExtra));
      block.grad = move(piece.grad, sizeof(typename G::Data));
      block.ema = kIsWhole ? move(piece.ema, sizeof(float)) : nullptr;
      block.copy = kIsWhole ? move(piece.copy, copy_size(piece.copy_dtype)) : nullptr;
      for (int k = 0; k < kSlots; ++k) {
        block.state[k] = move(piece.state[k], sizeof(StateData));
        block.state_extra[k] = move(piece.state_extra[k], sizeof(uint32_t));
        if (State::kWhole) block.state_extra[k] = static_cast<uint32_t*>(piece.state_extra[k]) + at / kBlockLength;
      }
      const uint32_t start = piece.noise + static_cast<uint32_t>(at);
      const int64_t left = piece.length - at;
      left < kBlockLength ? loop.run_padded(block, start, left) : loop.run_block(block, start);
      if (kIsWhole && piece.stages->zero_grad) {
        const int64_t length = left < kBlockLength ? left : kBlockLength;
        __builtin_memset(move(piece.grad, sizeof(typename G::Data)), 0,
                         static_cast<Size>(length) * sizeof(typename G::Data));
      }
    }
  }
};

}  // namespace fastopt::FASTOPT_ISA
