// The scalars that a rule takes beside the gradient and its state, and the direction that it returns.
#pragma once
#include "simd/vec.h"

namespace fastopt::FASTOPT_ISA {

// The scalars of one step, each broadcast to a V; generated from the rule's row.
template <class Rule, class V> struct Scalars;

// The update of an element: the loop makes the parameter p - step*value, with one rounding.
template <class V> struct Direction {
  V step, value;
};

}  // namespace fastopt::FASTOPT_ISA
