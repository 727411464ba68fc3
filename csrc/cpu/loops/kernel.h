// Shared by the door and the kernels of each instruction set: plain data and function pointers alone, because an inline
// function compiled under two sets of flags could end up in the wrong one.
#pragma once
#include <stdint.h>

#include "codecs/formats.h"
#include "fastopt.h"
#include "step/stage_scalars.h"

namespace fastopt {

// Contiguous elements of one tensor, all under the same scalars.
struct Piece {
  void* param;
  void* grad;
  void* state[FASTOPT_MAX_SLOTS];
  void* ema;   // or nullptr
  void* copy;  // or nullptr
  int32_t copy_dtype;
  bool stream;  // the copy is larger than the caches
  int64_t length;
  const double* scalars;
  const StageScalars* stages;
  // Only for arrays in formats:
  void* param_extra;
  void* state_extra[FASTOPT_MAX_SLOTS];
  uint32_t noise;  // start of the first element's noise (codecs/noise.h)
  uint32_t param_turn, state_turns[FASTOPT_MAX_SLOTS];
  bool stochastic;  // the parameter rounds stochastically
};

using Kernel = void (*)(const Piece&);

// Fills `param` and `direction`, arrays of the arithmetic's dtype, from a piece.  The piece's own arrays stay as they
// are.
using DirectionKernel = void (*)(const Piece& piece, void* param, void* direction);

// Gradients of one tensor from the start of a block on, and the arrays that take the results of each block.
struct Sweep {
  const void* grad;
  int64_t length;
  double grad_scale, clip_value;
  double* squares;  // sums
  double* largest;  // absolute values; for float64 only, whose squares may leave its range
};

// Returns whether all scaled elements are finite.
using SweepKernel = bool (*)(const Sweep&);

// Elements in a storage format: their data and, if the format has them, the block words or corrections beside it.
struct Elements {
  void* data;
  void* extra;
};

// A format: a row of codecs/formats.h, compiled.
struct Format {
  int32_t size, extra_size, extra_span;  // bytes of an element, and of the extra data of `extra_span` elements
  void (*decode)(const Elements& from, float* to, int64_t length);
  // Rounds stochastically, with words of noise for whole blocks; `round` rounds to nearest.
  void (*encode)(const float* from, const Elements& to, int64_t length, const uint32_t* noise, uint32_t turn);
  void (*round)(const float* from, const Elements& to, int64_t length);
};

struct FloorKernels;

// The kernels of one instruction set, each made from the same sources.
struct KernelSet {
  const char* isa;                                     // named by the header that the kernels were compiled with
  const Kernel* const* steps[kStageLevels];            // [format set][variant]; the first sets are the dtypes
  const DirectionKernel* directions[kStageLevels][2];  // [dtype][variant]; nullptr if the rule has no factor
  SweepKernel sweep[2];                                // [dtype]
  Kernel clip[2];                                      // [dtype]: the stages of gradients, in place
  const Format* formats[kFormats];                     // the first is nullptr
  void (*noise)(uint32_t start, int64_t count, uint32_t* words);
  void (*widen)(const float* from, double* to, int64_t length);
  const FloorKernels* floor;
};

}  // namespace fastopt
