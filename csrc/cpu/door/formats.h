// Tensors whose arrays lie in storage formats.  For the common combinations there are kernels with the codecs in them;
// for any other a step decodes a tile of each array into scratch, runs the rule's kernel there, and encodes what it
// left.
#pragma once
#include <stdint.h>

#include "cpu/loops/kernel.h"
#include "fastopt.h"

namespace fastopt {

// Whether the formats of a tensor exist and suit their arrays, and what they have beside the elements is there.
fastopt_status check_formats(const fastopt_tensor& tensor, const fastopt_rule& rule, const fastopt_variant& variant);
fastopt_status check_grad_format(const fastopt_tensor& tensor);

// Which kernels update a tensor: a row of KernelSet::steps, -1 for none; and whether parameter and gradient, which have
// no kernels of their own formats then, go through scratch.
struct KernelChoice {
  int32_t row;
  bool decodes;
};
KernelChoice kernels_of(const fastopt_tensor& tensor, const fastopt_rule& rule, const fastopt_variant& variant);

// Whether a part of it has to begin and end with a block.
bool has_blocks(const fastopt_tensor& tensor, const fastopt_variant& variant);

// Bytes of an element as it lies in memory.
int64_t grad_size(const fastopt_tensor& tensor);

// Updates a piece, which begins with element `begin` of the tensor, by one of those kernels.
void update_in_formats(const fastopt_tensor& tensor, const fastopt_variant& variant, const Piece& piece,
                       const KernelSet& set, Kernel kernel, bool decodes, uint64_t seed, int64_t begin);

// Elements of a gradient, in whole blocks, as the kernels take them.
class GradientTile {
 public:
  static constexpr int64_t kLength = 512;

  // Of elements [begin, begin + length): a pointer to scratch, or into the gradient where it has no format.
  void* load(const fastopt_tensor& tensor, int64_t begin, int64_t length);
  // Puts float32 scratch back, rounded to nearest.
  void store(const fastopt_tensor& tensor, int64_t begin, int64_t length) const;

 private:
  alignas(64) float narrow_[kLength];
  alignas(64) double wide_[kLength];
};

}  // namespace fastopt
