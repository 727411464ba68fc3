// A type for each variant of each rule, so that a loop can be compiled for each.
#pragma once
#include "step/direction.h"

namespace fastopt::FASTOPT_ISA {

template <int... kIndex> struct Indices {};
template <int kCount, int... kIndex> struct Counted {
  using Type = typename Counted<kCount - 1, kCount - 1, kIndex...>::Type;
};
template <int... kIndex> struct Counted<0, kIndex...> {
  using Type = Indices<kIndex...>;
};

// The two signatures of a rule's function: it returns a direction or, if two updates need two roundings, updates the
// parameter itself.
template <class Function> struct Form {
  static_assert(sizeof(Function*) == 0,
                "a rule's function is Direction<V> f(const Scalars<rule, V>&, V g, V&... state), or "
                "void f(const Scalars<rule, V>&, V& p, V g, V&... state)");
};
template <class S, class V, class... State> struct Form<Direction<V>(const S&, V, State&...)> {
  static constexpr bool has_direction = true;
  static constexpr int slots = sizeof...(State);
};
template <class S, class V, class... State> struct Form<void(const S&, V&, V, State&...)> {
  static constexpr bool has_direction = false;
  static constexpr int slots = sizeof...(State);
};

template <class Variant, class V, int... kSlot>
FASTOPT_INLINE V direction_of(const typename Variant::template ScalarsOf<V>& s, V g, [[maybe_unused]] V* state,
                              Indices<kSlot...>) {
  return Variant::call(s, g, state[kSlot]...).value;
}

// The direction of an element.  `state` takes the new state, which the caller drops.
template <class Variant, class V>
FASTOPT_INLINE V direction_of(const typename Variant::template ScalarsOf<V>& s, V g, V* state) {
  return direction_of<Variant>(s, g, state, typename Counted<Variant::slots>::Type{});
}

template <class Variant, class V, int... kSlot>
FASTOPT_INLINE void apply_rule(const typename Variant::template ScalarsOf<V>& s, V& p, V g, [[maybe_unused]] V* state,
                               Indices<kSlot...>) {
  using F = typename Variant::template FormOf<V>;
  static_assert(F::slots == Variant::slots, "the rule's function has another number of slots than the variant's row");
  if constexpr (F::has_direction) {
    const Direction<V> direction = Variant::call(s, g, state[kSlot]...);
    V step = direction.step;
    if constexpr (Variant::template ScalarsOf<V>::has_factor) step = step * s.factor;
    p = fnma(step, direction.value, p);
  } else {
    static_assert(!Variant::template ScalarsOf<V>::has_factor, "a rule with a factor returns its direction");
    Variant::call(s, p, g, state[kSlot]...);
  }
  // A decaying average would end at a denormal and stay there for ever.  With denormals each step takes several times
  // as long.
  ((state[kSlot] = flushed(state[kSlot])), ...);
}

// Updates one element and its state by the rule.  The stages before the rule have seen the element.
template <class Variant, class V>
FASTOPT_INLINE void apply_rule(const typename Variant::template ScalarsOf<V>& s, V& p, V g, V* state) {
  apply_rule<Variant>(s, p, g, state, typename Counted<Variant::slots>::Type{});
}

}  // namespace fastopt::FASTOPT_ISA

#define FASTOPT_VARIANT(RULE, VARIANT, SLOTS, NON_NEGATIVE)                                                         \
  struct RULE##_##VARIANT {                                                                                         \
    static constexpr int slots = SLOTS;                                                                             \
    static constexpr bool non_negative(int slot) { return NON_NEGATIVE >> slot & 1; }                               \
    template <class V> using ScalarsOf = Scalars<RULE, V>;                                                          \
    template <class V> using FormOf = Form<decltype(RULE::VARIANT<V>)>;                                             \
    template <class... Arguments> static FASTOPT_INLINE auto call(Arguments&&... a) { return RULE::VARIANT(a...); } \
  };
