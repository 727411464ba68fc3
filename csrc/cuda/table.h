// Structures that the host writes and the kernels read, in the layout of C.  python/fastopt/_cuda/table.py has the
// same.
#pragma once
#include <stdint.h>

#include "fastopt.h"
#include "step/exact_sum.h"

namespace fastopt::cuda {

// A row of hyperparameters, whose lr may be an array of one element on the device.
struct Group {
  fastopt_group values;
  const void* lr;  // or nullptr
  int32_t lr_is_double;
};

// Results that kernels leave for each other and for the host.
struct Control {
  double norm;
  double norm_factor;  // the factor of max_norm
  int32_t finite;
  int32_t skipped;  // whether the current step is skipped
  int64_t completed, skipped_steps;
  // Found so far by the current measurement:
  uint32_t infinite, nan;  // flags: the sum of a block's squares was Inf, or NaN
  uint32_t not_finite;     // flag: a gradient was Inf or NaN
  uint64_t limbs[kSumLimbs];
  uint64_t done;  // thread blocks that have ended, counted from the launch's ticket; set to 0 when groups are sent
};

// One launch, over the tensors that need the same kernel.  The tensors lie in one line of tiles of FASTOPT_BLOCK
// elements, and each begins at a multiple of kLongest tiles.
struct Launch {
  fastopt_tensor* tensors;     // the plan's, all but the gradients
  const int32_t* indices;      // the launch's tensors in the plan; nullptr if the launch has all
  void* const* grads;          // a pointer for each tensor of the plan, or nullptr
  void* grad;                  // if `grads` is nullptr.  Without a gradient a tensor and its count stay as they are
  const int64_t* first_tiles;  // each tensor's first tile, and the end of the last tensor
  const Group* groups;
  Control* control;
  int64_t tensor_count;  // the launch's
  int64_t begin_tile, end_tile;
  int64_t span;        // tiles that a thread block takes in a row, a multiple of its warps; 0: one for each warp
  int64_t begin, end;  // elements of each tensor, for a part of a step
  uint64_t seed;
  uint64_t ticket;  // start of Control::done for this launch, beyond all that the plan's earlier launches could count
  fastopt_options options;
  int32_t measured;  // whether a sweep came before
  int32_t counts;    // whether to count the tensors' steps
  int32_t ends;      // whether this launch is the last of the step or of the sweep
};

constexpr int kLongest = 4;  // the most tiles that a thread block takes at once

}  // namespace fastopt::cuda
