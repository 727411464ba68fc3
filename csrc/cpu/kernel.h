// What step.cpp and the kernels of each instruction set share: plain data and function pointers, because an inline
// function compiled under two sets of flags could end up in the wrong one.
#pragma once
#include <stdint.h>

#include "../codecs/formats.h"
#include "../fastopt.h"
#include "../stage_scalars.h"

namespace fastopt {

// Contiguous elements of one tensor, all under the same scalars.
struct Piece {
  void* param;
  void* grad;
  void* state[FASTOPT_MAX_SLOTS];
  void* ema;   // or nullptr
  void* copy;  // or nullptr
  int32_t copy_dtype;
  bool stream;  // the copy is of more than the caches hold
  int64_t length;
  const double* scalars;
  const StageScalars* stages;
  // Of arrays in storage formats alone.
  void* param_extra;
  void* state_extra[FASTOPT_MAX_SLOTS];
  uint32_t noise;  // that of the first element begins there (codecs/noise.h)
  uint32_t param_turn, state_turns[FASTOPT_MAX_SLOTS];
  bool stochastic;  // the parameter's rounding
};

// Updates a piece and says by which instruction set, so that a test can hear it from the code that ran.
using Kernel = const char* (*)(const Piece&);

// Gradients of one tensor from the start of a block, and where to put what is found in each block.
struct Sweep {
  const void* grad;
  int64_t length;
  double grad_scale, clip_value;
  double* squares;  // sums
  double* largest;  // absolute values; of float64 only, whose squares may leave its range
};

// Whether all elements, scaled, are finite.
using SweepKernel = bool (*)(const Sweep&);

// Elements in a storage format: their data, and the block words or corrections beside it where the format has such.
struct Coded {
  void* data;
  void* extra;
};

// A storage format as its row in codecs/formats.h makes it.
struct Format {
  int32_t size, extra_size, extra_span;  // bytes of an element, and of what `extra_span` elements have beside it
  void (*decode)(const Coded& from, float* to, int64_t length);
  // With the noise of stochastic rounding, words in whole blocks; to nearest.
  void (*encode)(const float* from, const Coded& to, int64_t length, const uint32_t* noise, uint32_t turn);
  void (*round)(const float* from, const Coded& to, int64_t length);
};

// The kernels of one instruction set, each made from the same sources.
struct KernelSet {
  const char* isa;
  const Kernel* const* steps[kStageLevels];  // [storage][variant]; the first storages are the dtypes
  SweepKernel sweep[2];                      // [dtype]
  Kernel clip[2];                            // [dtype]: the first three stages, of gradients in place
  const Format* formats[kFormats];           // the first is nullptr
  void (*noise)(uint32_t start, int64_t count, uint32_t* words);
  void (*widen)(const float* from, double* to, int64_t length);
  Kernel floor_read[2];                    // [dtype]
  Kernel floor[2][FASTOPT_MAX_SLOTS + 1];  // [dtype][slot count]
  Kernel staged_floor[2][FASTOPT_MAX_SLOTS + 1];
  float (*touch)(void* data, int64_t bytes, bool written);
};

}  // namespace fastopt
