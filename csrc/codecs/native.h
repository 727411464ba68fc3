// The storage format that needs no decoding: memory holds the elements of V.
#pragma once
#include "simd/target.h"

namespace fastopt::FASTOPT_ISA {

template <class V> struct Native {
  using Storage = typename V::Element;
  static FASTOPT_INLINE V decode(const Storage* from) { return V::load(from); }
  static FASTOPT_INLINE void encode(V value, Storage* to) { value.store(to); }
};

}  // namespace fastopt::FASTOPT_ISA
