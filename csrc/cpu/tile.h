// The loop over one piece: decode to V, stages, rule, encode.  A tail goes through the same lines in a padded copy.
namespace fastopt::FASTOPT_ISA {

template <class Variant, class V, bool kStaged> struct TileLoop {
  using Codec = Native<V>;
  using T = typename Codec::Storage;
  static constexpr int kSlots = Variant::slots;
  static constexpr int kArrays = 2 + kSlots;  // param, grad, state

  const typename Variant::template Scalars<V> scalars;
  const Stages<V> stages;

  FASTOPT_INLINE void tile(T* const* arrays, int64_t at) const {
    V p = Codec::decode(arrays[0] + at);
    V g = Codec::decode(arrays[1] + at);
    V state[kSlots + 1];
    for (int k = 0; k < kSlots; ++k) state[k] = Codec::decode(arrays[2 + k] + at);
    if constexpr (kStaged) stages.apply(p, g);
    if constexpr (kSlots == 0) Variant::update(scalars, p, g);
    if constexpr (kSlots == 1) Variant::update(scalars, p, g, state[0]);
    if constexpr (kSlots == 2) Variant::update(scalars, p, g, state[0], state[1]);
    if constexpr (kSlots == 3) Variant::update(scalars, p, g, state[0], state[1], state[2]);
    if constexpr (kSlots == 4) Variant::update(scalars, p, g, state[0], state[1], state[2], state[3]);
    Codec::encode(p, arrays[0] + at);
    for (int k = 0; k < kSlots; ++k) Codec::encode(state[k], arrays[2 + k] + at);
  }

  FASTOPT_INLINE void padded_tile(T* const* arrays, int64_t at, int64_t count) const {
    T padded[kArrays][V::width] = {};
    T* pointers[kArrays];
    for (int a = 0; a < kArrays; ++a) {
      pointers[a] = padded[a];
      for (int64_t i = 0; i < count; ++i) padded[a][i] = arrays[a][at + i];
    }
    tile(pointers, 0);
    for (int a = 0; a < kArrays; ++a) {
      if (a == 1) continue;  // the gradient is only read
      for (int64_t i = 0; i < count; ++i) arrays[a][at + i] = padded[a][i];
    }
  }

  // The elements before the first whole vector of `param` in memory.  Vectors that straddle cache lines cost a quarter
  // of the time where the caches hold the arrays; a piece of a few vectors is sooner done without looking.
  static int64_t head(const T* param, int64_t length) {
    constexpr int64_t bytes = V::width * sizeof(T);
    const int64_t past = static_cast<int64_t>(reinterpret_cast<uintptr_t>(param) % bytes);
    return past == 0 || length < 32 * V::width ? 0 : (bytes - past) / static_cast<int64_t>(sizeof(T));
  }

  static const char* run(const Piece& piece) {
    const TileLoop loop{typename Variant::template Scalars<V>(piece.scalars), Stages<V>(piece.stages)};
    T* arrays[kArrays] = {static_cast<T*>(piece.param), static_cast<T*>(const_cast<void*>(piece.grad))};
    for (int k = 0; k < kSlots; ++k) arrays[2 + k] = static_cast<T*>(piece.state[k]);
    int64_t at = head(arrays[0], piece.length);
    if (at > 0) loop.padded_tile(arrays, 0, at);
    for (; at + V::width <= piece.length; at += V::width) loop.tile(arrays, at);
    if (at < piece.length) loop.padded_tile(arrays, at, piece.length - at);
    return FASTOPT_ISA_NAME;
  }
};

}  // namespace fastopt::FASTOPT_ISA
