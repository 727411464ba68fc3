#include "cpu/door/rows.h"

namespace fastopt {

Piece piece_of(const fastopt_tensor& tensor, const Row& row, int64_t begin, int64_t end) {
  const int64_t size = element_size(tensor.dtype);
  const auto at = [&](void* array) -> void* { return array ? static_cast<char*>(array) + begin * size : nullptr; };
  Piece piece{};
  piece.param = at(tensor.param);
  piece.grad = at(tensor.grad);
  piece.ema = row.stages.ema_gain > 1 ? nullptr : at(tensor.ema);  // ema_decay is below 0
  piece.copy_dtype = tensor.copy_dtype;
  piece.length = end - begin;
  piece.scalars = row.scalars;
  piece.stages = &row.stages;
  for (int32_t k = 0; k < row.variant->slot_count; ++k) piece.state[k] = at(tensor.state[row.variant->slots[k]]);
  if (tensor.copy) piece.copy = static_cast<char*>(tensor.copy) + begin * element_size(tensor.copy_dtype);
  return piece;
}

}  // namespace fastopt
