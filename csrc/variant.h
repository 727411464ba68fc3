// A type for each variant of each rule, so that the loops can be made for it.
#define FASTOPT_VARIANT(RULE, VARIANT, SLOTS, NON_NEGATIVE)                                                          \
  struct RULE##_##VARIANT {                                                                                          \
    static constexpr int slots = SLOTS;                                                                              \
    static constexpr bool non_negative(int slot) { return NON_NEGATIVE >> slot & 1; }                                \
    template <class V> using Scalars = RULE##_scalars<V>;                                                            \
    template <class V> static FASTOPT_INLINE void apply(const Scalars<V>& s, V& p, V g, [[maybe_unused]] V* state) { \
      if constexpr (SLOTS == 0) RULE::VARIANT(s, p, g);                                                              \
      if constexpr (SLOTS == 1) RULE::VARIANT(s, p, g, state[0]);                                                    \
      if constexpr (SLOTS == 2) RULE::VARIANT(s, p, g, state[0], state[1]);                                          \
      if constexpr (SLOTS == 3) RULE::VARIANT(s, p, g, state[0], state[1], state[2]);                                \
      if constexpr (SLOTS == 4) RULE::VARIANT(s, p, g, state[0], state[1], state[2], state[3]);                      \
    }                                                                                                                \
  };
