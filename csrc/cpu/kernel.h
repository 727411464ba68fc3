// What step.cpp and the kernels of each instruction set share: plain data and function pointers, because an inline
// function compiled under two sets of flags could end up in the wrong one.
#pragma once
#include <stdint.h>

#include "../fastopt.h"

namespace fastopt {

// The stages before the rule, in their order; each value is neutral where its stage is off.
struct StageScalars {
  double grad_scale = 1;  // unscale and maximize: the sign is its sign
  double l1 = 0;
  double l2 = 0;
  double keep = 1;  // decoupled decay: 1 - lr*weight_decay
};

// Contiguous elements of one tensor, all under the same scalars.
struct Piece {
  void* param;
  const void* grad;
  void* state[FASTOPT_MAX_SLOTS];
  int64_t length;
  const double* scalars;
  StageScalars stages;
};

// Updates a piece and says by which instruction set, so that a test can hear it from the code that ran.
using Kernel = const char* (*)(const Piece&);

// The kernels of one instruction set, each made from the same sources.
struct KernelSet {
  const char* isa;
  const Kernel* bare[2];                   // [dtype][variant]: no stage is on
  const Kernel* staged[2];                 // [dtype][variant]: any stage may be on
  Kernel floor[2][FASTOPT_MAX_SLOTS + 1];  // [dtype][slot count]
};

}  // namespace fastopt
