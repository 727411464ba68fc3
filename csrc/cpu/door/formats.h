// Tensors with arrays in storage formats.  The common sets of formats have kernels with the codecs in them; for any
// other a step decodes a tile of each array into scratch, runs the rule's kernel there, and encodes the result.
#pragma once
#include <stdint.h>

#include "cpu/loops/kernel.h"
#include "fastopt.h"

namespace fastopt {

// Checks that the formats of a tensor exist and suit their arrays, and that what lies beside the elements is given.
fastopt_status check_formats(const fastopt_tensor& tensor, const fastopt_rule& rule, const fastopt_variant& variant);
fastopt_status check_grad_format(const fastopt_tensor& tensor);

// Which kernels update a tensor: a row of KernelSet::steps, -1 for none; and whether parameter and gradient, which have
// no kernels of their own formats then, go through scratch.
struct KernelChoice {
  int32_t row;
  bool decodes;
};
KernelChoice kernels_of(const fastopt_tensor& tensor, const fastopt_rule& rule, const fastopt_variant& variant);

// Whether a part of a tensor has to begin and end with a block.
bool has_blocks(const fastopt_tensor& tensor, const fastopt_variant& variant);

// Bytes of an element as it lies in memory.
int64_t grad_size(const fastopt_tensor& tensor);

// Elements [begin, begin + length) of an array in a format, whole blocks but for the last.
void decode_elements(int32_t format, void* data, void* extra, int64_t begin, int64_t length, float* to);

// Updates a piece, which begins with element `begin` of the tensor, by a kernel of the set.
void update_in_formats(const fastopt_tensor& tensor, const fastopt_variant& variant, const Piece& piece,
                       const KernelSet& set, Kernel kernel, bool decodes, uint64_t seed, int64_t begin);

// Elements of a gradient, in whole blocks, as the kernels take them.
class GradientTile {
 public:
  static constexpr int64_t kLength = 512;

  // Elements [begin, begin + length) in scratch, or in the gradient itself if it has no format.
  void* load(const fastopt_tensor& tensor, int64_t begin, int64_t length);
  // Puts float32 scratch back, rounded to nearest.
  void store(const fastopt_tensor& tensor, int64_t begin, int64_t length) const;

 private:
  alignas(64) float narrow_[kLength];
  alignas(64) double wide_[kLength];
};

}  // namespace fastopt
