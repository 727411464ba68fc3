// Tensors with arrays in storage formats.  The common sets of formats have kernels that contain the codecs.  For any
// other set, a step decodes a tile of each array into scratch, runs the rule's kernel there and encodes the result.
#pragma once
#include <stdint.h>

#include "cpu/loops/kernel.h"
#include "fastopt.h"

namespace fastopt {

// Checks that the formats of a tensor exist and suit their arrays, and that no extra array is missing.
fastopt_status check_formats(const fastopt_tensor& tensor, const fastopt_rule& rule, const fastopt_variant& variant);
fastopt_status check_grad_format(const fastopt_tensor& tensor);

// The kernels that update a tensor: a row of KernelSet::steps, or -1 if none do.  If `decodes`, no kernel has the
// formats of parameter and gradient, and both go through scratch.
struct KernelChoice {
  int32_t row;
  bool decodes;
};
KernelChoice kernels_of(const fastopt_tensor& tensor, const fastopt_rule& rule, const fastopt_variant& variant);

// Whether a part of a tensor must begin and end with a block.
bool has_blocks(const fastopt_tensor& tensor, const fastopt_variant& variant);

// Bytes of a gradient's element in memory.
int64_t grad_size(const fastopt_tensor& tensor);

// Decodes elements [begin, begin + length) of an array in a format: whole blocks, except for the last.
void decode_elements(int32_t format, void* data, void* extra, int64_t begin, int64_t length, float* to);

// Updates a piece, which begins with element `begin` of the tensor, with a kernel of the set.
void update_in_formats(const fastopt_tensor& tensor, const fastopt_variant& variant, const Piece& piece,
                       const KernelSet& set, Kernel kernel, bool decodes, uint64_t seed, int64_t begin);

// Elements of a gradient, in whole blocks, as the kernels take them.
class GradientTile {
 public:
  static constexpr int64_t kLength = 512;

  // Elements [begin, begin + length): in scratch, or in the gradient's own memory if the gradient has no format.
  void* load(const fastopt_tensor& tensor, int64_t begin, int64_t length);
  // Encodes float32 scratch back into the gradient, rounded to nearest.
  void store(const fastopt_tensor& tensor, int64_t begin, int64_t length) const;

 private:
  alignas(64) float narrow_[kLength];
  alignas(64) double wide_[kLength];
};

}  // namespace fastopt
