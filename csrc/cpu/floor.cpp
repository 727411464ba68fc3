// fastopt_floor: the yardstick.  It shares the threads with the step but neither its tiles nor its chunks: each thread
// passes over one contiguous part.
#include <stddef.h>

#include <algorithm>

#include "../fastopt.h"
#include "isa.h"
#include "threads.h"

namespace fastopt {
namespace {

struct FloorJob {
  const fastopt_tensor& tensor;
  Kernel kernel;
  int32_t slots;
  int64_t part;  // elements of each thread
};

void run_part(void* context, int64_t index) {
  const FloorJob& job = *static_cast<const FloorJob*>(context);
  const fastopt_tensor& tensor = job.tensor;
  const int64_t begin = index * job.part, end = std::min(begin + job.part, tensor.length);
  const size_t size = tensor.dtype == FASTOPT_FLOAT64 ? sizeof(double) : sizeof(float);
  const auto at = [&](void* array) -> void* { return static_cast<char*>(array) + begin * size; };
  Piece piece{at(tensor.param), at(tensor.grad), {}, end - begin, nullptr, {}};
  for (int k = 0; k < job.slots; ++k) piece.state[k] = at(tensor.state[k]);
  job.kernel(piece);
}

}  // namespace
}  // namespace fastopt

extern "C" fastopt_status fastopt_floor(const fastopt_tensor* tensor, int32_t slot_count) {
  if (tensor->dtype != FASTOPT_FLOAT32 && tensor->dtype != FASTOPT_FLOAT64) return FASTOPT_BAD_DTYPE;
  if (tensor->length < 0) return FASTOPT_BAD_LENGTH;
  if (slot_count < 0 || slot_count > FASTOPT_MAX_SLOTS) return FASTOPT_BAD_RULE;
  if (tensor->length == 0) return FASTOPT_OK;
  if (!tensor->param || !tensor->grad) return FASTOPT_NULL_POINTER;
  for (int32_t k = 0; k < slot_count; ++k) {
    if (!tensor->state[k]) return FASTOPT_NULL_POINTER;
  }
  // In whole lines, and on one thread where handing over would cost more than the pass.
  constexpr int64_t kLine = 64, kParallel = 32 * 1024;
  const int64_t threads = tensor->length < kParallel ? 1 : fastopt_num_threads();
  const int64_t part = ((tensor->length + threads - 1) / threads + kLine - 1) / kLine * kLine;
  fastopt::FloorJob job{*tensor, fastopt::active_kernels().floor[tensor->dtype][slot_count], slot_count, part};
  fastopt::parallel((tensor->length + part - 1) / part, fastopt::run_part, &job, true);
  return FASTOPT_OK;
}
