// Gradients of other dtypes than their tensor's.
#pragma once
#include "python/arrays.h"

namespace fastopt::python {

// The format of gradients of dtype `grad` for a tensor of `dtype`; 0 if they are of one dtype, -1 if no format has it.
inline int32_t grad_format_of(int32_t dtype, int32_t grad) {
  static const int32_t bfloat16 = fastopt_find_format("bfloat16"), float16 = fastopt_find_format("float16"),
                       float32 = fastopt_find_format("float32");
  if (grad == dtype) return 0;
  switch (grad) {
    case FASTOPT_FLOAT32:
      return float32;
    case FASTOPT_BFLOAT16:
      return bfloat16;
    case FASTOPT_FLOAT16:
      return float16;
    default:
      return -1;
  }
}

inline int64_t grad_size(const fastopt_tensor& tensor) {
  return tensor.grad_format == 0 ? ArrayView::size_of(tensor.dtype) : fastopt_format_at(tensor.grad_format)->size;
}

}  // namespace fastopt::python
