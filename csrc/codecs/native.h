// The codec of the arithmetic's own format: memory holds the elements of V.
#pragma once
#include "simd/target.h"

namespace fastopt::FASTOPT_ISA {

template <class V> struct Native {
  using Data = typename V::Element;
  static FASTOPT_INLINE V decode(const Data* from) { return V::load(from); }
  static FASTOPT_INLINE void encode(V value, Data* to) { value.store(to); }
};

}  // namespace fastopt::FASTOPT_ISA
