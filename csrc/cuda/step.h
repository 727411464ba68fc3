// The update: a warp takes a tile of every array, decodes it, runs the stages and the rule, encodes it.
#pragma once
#include <stdint.h>

#include "codecs/copy.h"
#include "codecs/rounding.h"
#include "cuda/codecs.h"
#include "cuda/grid.h"
#include "cuda/table.h"
#include "cuda/tile.h"
#include "cuda/warp.h"
#include "fastopt.h"
#include "step/derive.h"
#include "step/noise_key.h"
#include "step/stages.h"
#include "step/variant.h"

namespace fastopt::cuda {

// A learning rate that lies on the device.
FASTOPT_INLINE double lr_of(const Group& group) {
  return group.lr_is_double ? *static_cast<const double*>(group.lr)
                            : static_cast<double>(*static_cast<const float*>(group.lr));
}

// Copies words.  Called by all threads of the thread block.
template <class T> FASTOPT_INLINE void copy_words(const T& from, T& to) {
  constexpr unsigned kWords = sizeof(T) / sizeof(uint32_t);
  for (unsigned i = threadIdx.x; i < kWords; i += blockDim.x) {
    reinterpret_cast<uint32_t*>(&to)[i] = reinterpret_cast<const uint32_t*>(&from)[i];
  }
}

// The tiles of a variant's slots from number `kSlot` on.
template <class V, class Rule, int kEach, int kSlot = 0, bool kEnd = kSlot == Rule::slots> struct SlotTiles {
  static constexpr int kIndex = Rule::slot(kSlot);  // among the rule's slots
  using First = SlotTile<V, CodecOf<typename V::Element, Rule::format(kSlot)>, kEach>;
  using Rest = SlotTiles<V, Rule, kEach, kSlot + 1>;
  First first;
  Rest rest;

  FASTOPT_INLINE void fetch(const fastopt_tensor& t, int64_t at, Window window) {
    first.fetch(t.state[kIndex], t.state_extra[kIndex], at, window);
    rest.fetch(t, at, window);
  }
  FASTOPT_INLINE void take(const fastopt_tensor& t, int64_t at, Window window, Exchange& exchange) {
    first.take(t.state[kIndex], t.state_extra[kIndex], at, window, exchange);
    rest.take(t, at, window, exchange);
  }
  FASTOPT_INLINE void load(V* state, int k) const {
    state[kSlot] = first.load(k);
    rest.load(state, k);
  }
  FASTOPT_INLINE void store(const V* state, int k, uint32_t word, int64_t step) {
    first.store(k, state[kSlot], word, noise_turn(kIndex, step));
    rest.store(state, k, word, step);
  }
  FASTOPT_INLINE void put(const fastopt_tensor& t, int64_t at, Window window, const TileNoise& noise, int64_t step,
                          Exchange& exchange) {
    first.put(t.state[kIndex], t.state_extra[kIndex], at, window, noise, noise_turn(kIndex, step), exchange);
    rest.put(t, at, window, noise, step, exchange);
  }
};

template <class V, class Rule, int kEach, int kSlot> struct SlotTiles<V, Rule, kEach, kSlot, true> {
  FASTOPT_INLINE void fetch(const fastopt_tensor&, int64_t, Window) {}
  FASTOPT_INLINE void take(const fastopt_tensor&, int64_t, Window, Exchange&) {}
  FASTOPT_INLINE void load(V*, int) const {}
  FASTOPT_INLINE void store(const V*, int, uint32_t, int64_t) {}
  FASTOPT_INLINE void put(const fastopt_tensor&, int64_t, Window, const TileNoise&, int64_t, Exchange&) {}
};

// T is the arithmetic's type.
template <class Rule, class T, int kParamFormat, int kGradFormat> struct GridLoop {
  using V = Vec<T>;
  using P = CodecOf<T, kParamFormat>;
  using G = CodecOf<T, kGradFormat>;
  using ParamData = typename P::Data;
  using ParamExtra = typename P::Extra;
  using GradData = typename G::Data;
  static_assert(!Rule::template ScalarsOf<V>::has_factor, "no kernel on a GPU measures a tensor's norms yet");
  static constexpr int kRun = kRunOf<V>;
  static constexpr bool kIsDouble = sizeof(T) == sizeof(double);
  // Elements that a lane takes at once: its share of a block, so that enough bytes are under way.  In float64 half as
  // many elements have as many bytes.
  static constexpr int kAll = kBlock / kLanes, kEach = kIsDouble ? kAll / 2 : kAll;

  // The data of a thread block's current tensor, in shared memory and read at each use: in registers the data would
  // leave room for fewer warps.
  struct Place {
    fastopt_tensor tensor;
    void* grad;
    fastopt_group group;
    // The scalars were derived for these.  Tensors that agree in them share the scalars.
    int32_t known_group;  // -1: none yet
    int64_t known_steps;
    double known_running[FASTOPT_MAX_RUNNING];
    double derived[FASTOPT_MAX_SCALARS];
    typename Rule::template ScalarsOf<V> scalars;
    Stages<V, kWhole> stages;
    uint32_t noise;  // key
  };

  static FASTOPT_INLINE void encode(F64 p, uint32_t, bool, double* to, None*) { *to = p.x; }
  static FASTOPT_INLINE void encode(F32 p, uint32_t word, bool stochastic, ParamData* to, ParamExtra* extra) {
    encode_parameter<P>(p, U32::broadcast(word), stochastic, to, extra);
  }

  template <class Element>
  static FASTOPT_INLINE void put_as(const V* p, int32_t dtype, void* to, int64_t at, Window window,
                                    Exchange& exchange) {
    Tile<Element, kRun, kEach> copy;
#pragma unroll
    for (int k = 0; k < kEach; ++k) copy_to(p[k], dtype, copy.values, k, false);
    copy.put(offset<Element>(to, at), window, exchange);
  }

  static FASTOPT_INLINE void put_copy(const V* p, int32_t dtype, void* to, int64_t at, Window window,
                                      Exchange& exchange) {
    if (dtype == FASTOPT_FLOAT64) return put_as<double>(p, FASTOPT_FLOAT64, to, at, window, exchange);
    if (dtype == FASTOPT_FLOAT32) return put_as<float>(p, FASTOPT_FLOAT32, to, at, window, exchange);
    put_as<uint16_t>(p, dtype, to, at, window, exchange);
  }

  static FASTOPT_INLINE void put_zeros(const Place& place, int64_t at, Window window, Exchange& exchange) {
    Tile<GradData, kRun, kEach> zeros;
    zeros.fill(0);
    zeros.put(offset<GradData>(place.grad, at), window, exchange);
  }

  static FASTOPT_INLINE void update(const Place& place, const fastopt_options& options, int64_t at, Window window,
                                    Exchange& exchange) {
    const fastopt_tensor& tensor = place.tensor;
    const bool averages = tensor.ema && options.ema_decay >= 0;
    Tile<ParamData, kRun, kEach> param;
    Tile<ParamExtra, kRun, kEach> extra;
    Tile<GradData, kRun, kEach> grad;
    SlotTiles<V, Rule, kEach> slots;
    Tile<T, kRun, kEach> average;
    param.fetch(offset<ParamData>(tensor.param, at), window);
    extra.fetch(offset<ParamExtra>(tensor.param_extra, at), window);
    grad.fetch(offset<GradData>(place.grad, at), window);
    slots.fetch(tensor, at, window);
    if (averages) average.fetch(offset<T>(tensor.ema, at), window);
    param.take(offset<ParamData>(tensor.param, at), window, exchange);
    extra.take(offset<ParamExtra>(tensor.param_extra, at), window, exchange);
    grad.take(offset<GradData>(place.grad, at), window, exchange);
    slots.take(tensor, at, window, exchange);
    if (averages) average.take(offset<T>(tensor.ema, at), window, exchange);
    const TileNoise noise(place.noise, static_cast<uint64_t>(tensor.offset) + static_cast<uint64_t>(at));
    V news[kEach];
#pragma unroll
    for (int k = 0; k < kEach; ++k) {
      V& p = news[k];
      if constexpr (kIsDouble) {
        p = {param.values[k]};
      } else {
        p = P::decode(&param.values[k], &extra.values[k]);
      }
      V g = decoded<V, G>(grad.values[k]);
      V state[Rule::slots + 1];
      slots.load(state, k);
      place.stages.before(p, g);
      apply_rule<Rule>(place.scalars, p, g, state);
      const uint32_t word = kIsDouble ? 0 : noise.word(element<kRun>(k));
      encode(p, word + noise_turn(FASTOPT_PARAMETER_STREAM, tensor.steps + 1), tensor.stochastic, &param.values[k],
             &extra.values[k]);
      slots.store(state, k, word, tensor.steps + 1);
      if (averages) average.values[k] = place.stages.average({average.values[k]}, p).x;
    }
    param.put(offset<ParamData>(tensor.param, at), window, exchange);
    extra.put(offset<ParamExtra>(tensor.param_extra, at), window, exchange);
    if (averages) average.put(offset<T>(tensor.ema, at), window, exchange);
    if (tensor.copy) put_copy(news, tensor.copy_dtype, tensor.copy, at, window, exchange);
    slots.put(tensor, at, window, noise, tensor.steps + 1, exchange);
    if (options.zero_grad) put_zeros(place, at, window, exchange);
  }

  // Fills `place` for a tensor.  Called by all threads of the thread block.
  static FASTOPT_INLINE void enter(const Launch& launch, int64_t index, Place& place) {
    __syncthreads();  // no thread still reads the previous tensor's
    copy_words(launch.tensors[index], place.tensor);
    if (threadIdx.x == 0) place.grad = gradient_of(launch, index);
    __syncthreads();
    if (!place.grad || is_known(place)) return;
    __syncthreads();  // all threads have seen that the scalars are not known
    const Group& group = launch.groups[place.tensor.group];
    copy_words(group.values, place.group);
    __syncthreads();
    if (threadIdx.x == 0) derive(launch, group, place);
    __syncthreads();
  }

  static FASTOPT_INLINE bool is_known(const Place& place) {
    bool same = place.known_group == place.tensor.group && place.known_steps == place.tensor.steps;
    for (int i = 0; i < Rule::running; ++i) same = same && place.known_running[i] == place.tensor.running[i];
    return same;
  }

  static FASTOPT_INLINE void derive(const Launch& launch, const Group& group, Place& place) {
    if (group.lr) place.group.lr = lr_of(group);
    const int64_t steps = place.tensor.steps;
    place.known_group = place.tensor.group;
    place.known_steps = steps;
    for (int i = 0; i < Rule::running; ++i) place.known_running[i] = place.tensor.running[i];
    Rule::derive(place.group, steps + 1, place.tensor.running, place.derived);
    StageScalars stages = derive_stages(place.group, launch.options, steps);
    if (launch.measured) stages.norm_factor = launch.control->norm_factor;
    place.scalars = typename Rule::template ScalarsOf<V>(place.derived);
    place.stages = Stages<V, kWhole>(stages);
    place.noise = noise_key(launch.seed, steps + 1);
  }

  // Counts the step of each tensor that had a gradient.
  static FASTOPT_INLINE void count(const Launch& launch, bool skipped) {
    for (int64_t i = threadIdx.x; i < launch.tensor_count && !skipped; i += blockDim.x) {
      const int64_t index = index_of(launch, i);
      if (!gradient_of(launch, index)) continue;
      fastopt_tensor& tensor = launch.tensors[index];
      if constexpr (Rule::running > 0) {
        double scalars[FASTOPT_MAX_SCALARS];
        Rule::derive(launch.groups[tensor.group].values, tensor.steps + 1, tensor.running, scalars);
      }
      ++tensor.steps;
    }
    if (launch.ends && threadIdx.x == 0) ++(skipped ? launch.control->skipped_steps : launch.control->completed);
  }

  static FASTOPT_INLINE void run(const Launch& launch) {
    __shared__ Exchange exchanges[kLongest];
    alignas(16) __shared__ char memory[sizeof(Place)];
    Place& place = *reinterpret_cast<Place*>(memory);
    Exchange& exchange = exchanges[warp()];
    if (threadIdx.x == 0) place.known_group = -1;
    const bool skipped = launch.measured && launch.control->skipped;
    const auto enter_tensor = [&](int64_t index) { enter(launch, index, place); };
    for_each_tile(launch, enter_tensor, [&](int64_t start, Window window) {
#pragma unroll 1
      for (int at = 0; at < kBlock; at += kEach * kLanes) {
        const Window part{window.begin - at, window.end - at};
        if (part.begin >= kEach * kLanes || part.end <= 0) continue;
        if (skipped) {
          if (launch.options.zero_grad) put_zeros(place, start + at, part, exchange);
        } else {
          update(place, launch.options, start + at, part, exchange);
        }
      }
    });
    if (launch.counts && is_last(launch)) count(launch, skipped);
  }
};

}  // namespace fastopt::cuda
