// The keys of stochastic rounding's noise (docs/formats.md).
#pragma once
#include <stdint.h>

#include "fastopt.h"
#include "step/portable.h"

namespace fastopt {

FASTOPT_PORTABLE uint32_t mixed(uint32_t x) {
  x = (x ^ x >> 16) * 0x7FEB352D;
  x = (x ^ x >> 15) * 0x846CA68B;
  return x ^ x >> 16;
}

FASTOPT_PORTABLE uint32_t mixed(uint64_t x, uint32_t with) {
  return mixed(static_cast<uint32_t>(x) ^ mixed(static_cast<uint32_t>(x >> 32) ^ with));
}

// The key of one step of one tensor.
FASTOPT_PORTABLE uint32_t noise_key(uint64_t seed, int64_t step) {
  return mixed(static_cast<uint64_t>(step), mixed(seed, 0x9E3779B9));
}

// The start of the noise of the element at an index (codecs/noise.h).
FASTOPT_PORTABLE uint32_t noise_start(uint32_t key, uint64_t index) {
  return mixed(static_cast<uint32_t>(index >> 32) ^ key) + static_cast<uint32_t>(index);
}

// The number that a step adds to the words of a stream, which is a slot's or the parameter's.
FASTOPT_PORTABLE uint32_t noise_turn(int32_t stream, int64_t step) {
  const uint32_t turn = stream == FASTOPT_PARAMETER_STREAM ? 0xB408AD77
                        : stream == 0                      ? 0x9E3779B9
                        : stream == 1                      ? 0x6A09E667
                        : stream == 2                      ? 0xBB67AE85
                        : stream == 3 ? 0x94C583AD
                                      : mixed(static_cast<uint32_t>(stream)) | 1;  // odd: all words have their turn
  return static_cast<uint32_t>(step) * turn;
}

}  // namespace fastopt
