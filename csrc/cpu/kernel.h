// What step.cpp and the kernels of each instruction set share: plain data and function pointers, because an inline
// function compiled under two sets of flags could end up in the wrong one.
#pragma once
#include <stdint.h>

#include "../fastopt.h"

namespace fastopt {

// How much of the stages a kernel has: they cost some arithmetic even where they are off, which shows in the caches.
enum StageLevel { kBare, kPenalties, kWhole, kStageLevels };

// The stages around the rule; each value is neutral where its stage is off.
struct StageScalars {
  double grad_scale = 1;  // unscale and maximize: the sign is its sign; this, L1, L2 and decay are kPenalties
  double l1 = 0;
  double l2 = 0;
  double keep = 1;          // decoupled decay: 1 - lr*weight_decay
  double clip_value = 0;    // 0: none
  double norm_factor = 1;   // max_norm's
  double ema_gain = 0;      // the new parameter's share in the average
  bool ema_starts = false;  // the average takes the parameter as it is
  bool zero_grad = false;
};

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

// The kernels of one instruction set, each made from the same sources.
struct KernelSet {
  const char* isa;
  const Kernel* steps[kStageLevels][2];    // [dtype][variant]
  SweepKernel sweep[2];                    // [dtype]
  Kernel clip[2];                          // [dtype]: the first three stages, of gradients in place
  Kernel floor_read[2];                    // [dtype]
  Kernel floor[2][FASTOPT_MAX_SLOTS + 1];  // [dtype][slot count]
  Kernel staged_floor[2][FASTOPT_MAX_SLOTS + 1];
};

}  // namespace fastopt
