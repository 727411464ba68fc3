#include "cpu/door/rows.h"

#include "step/derive.h"

namespace fastopt {

Row::Row(const fastopt_group& values, const fastopt_tensor& tensor, const fastopt_options& options)
    : group(tensor.group),
      t(tensor.steps + 1),
      rule(rule_row(values.rule)),
      stages(derive_stages(values, options, tensor.steps)) {
  memcpy(before, tensor.running, sizeof before);
  memcpy(after, tensor.running, sizeof after);
  const int32_t chosen = rule->variant(values);
  variant = &rule->info.variants[chosen];
  kernel = rule->first_kernel + chosen;
  rule->derive(values, t, after, scalars);
  const bool penalties = stages.grad_scale != 1 || stages.l1 != 0 || stages.l2 != 0 || stages.keep != 1;
  level = stages.clip_value != 0 || stages.zero_grad ? kWhole : penalties ? kPenalties : kBare;
}

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
