// What the host writes and the kernels read, in the layout of C; python/fastopt/_cuda/table.py has the same.
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

// What kernels leave for each other and for the host.
struct Control {
  double norm;
  double norm_factor;  // max_norm's
  int32_t finite;
  int32_t skipped;  // the step that is under way
  int64_t completed, skipped_steps;
  // What the measurement that is under way has found so far:
  uint32_t infinite, nan;  // sums of squares
  uint32_t not_finite;     // gradients
  uint64_t limbs[kSumLimbs];
  uint64_t done;  // thread blocks that have ended, counted from the launch's ticket; groups are sent with a 0 for it
};

// One launch, over the tensors that need the same kernel.  They lie in one line of tiles of FASTOPT_BLOCK elements,
// each from a multiple of kLongest tiles on.
struct Launch {
  fastopt_tensor* tensors;     // of the plan, all but the gradients
  const int32_t* indices;      // of the launch's tensors in the plan; nullptr if it has all
  void* const* grads;          // a pointer for each tensor; or nullptr, and for a single tensor
  void* grad;                  // this one.  Without a gradient a tensor and its count stay as they are
  const int64_t* first_tiles;  // of each tensor of the launch, and the end of the last
  const Group* groups;
  Control* control;
  int64_t tensor_count;  // of the launch
  int64_t begin_tile, end_tile;
  int64_t span;        // tiles that a block of threads takes in a row, a multiple of its warps; 0: one a warp
  int64_t begin, end;  // elements of each tensor, for a part of a step
  uint64_t seed;
  uint64_t ticket;  // where Control::done begins for this launch, beyond all that earlier ones of the plan could count
  fastopt_options options;
  int32_t measured;  // a sweep came before
  int32_t counts;    // the tensors' steps
  int32_t ends;      // the last launch of the step, or of the sweep
};

constexpr int kLongest = 4;  // tiles that a block of threads takes at once, at most

}  // namespace fastopt::cuda
