// fastopt_floor: the yardstick.  It shares the threads with the step but neither its tiles nor its chunks: each thread
// passes over one contiguous part.
#include <stddef.h>

#include <algorithm>

#include "../fastopt.h"
#include "isa.h"
#include "line.h"
#include "measure.h"
#include "threads.h"

namespace fastopt {
namespace {

constexpr int64_t kLine = 64;              // elements: whole cache lines
constexpr int64_t kParallel = 32 * 1024;   // elements: below it handing over would cost more than the pass
constexpr int64_t kWidestVector = 16 * 4;  // bytes

struct FloorJob {
  const fastopt_tensor& tensor;
  const StageScalars& stages;
  Kernel kernel;
  int32_t slots;
  bool reads;  // the sweep
  bool averages;
  int64_t part;  // elements of each thread
};

void run_part(void* context, int64_t index) {
  const FloorJob& job = *static_cast<const FloorJob*>(context);
  const fastopt_tensor& tensor = job.tensor;
  const int64_t begin = index * job.part, end = std::min(begin + job.part, tensor.length);
  const int64_t size = element_size(tensor.dtype);
  const auto at = [&](void* array) -> void* { return array ? static_cast<char*>(array) + begin * size : nullptr; };
  Piece piece{};
  piece.param = at(tensor.param);
  piece.grad = at(tensor.grad);
  for (int k = 0; k < job.slots; ++k) piece.state[k] = at(tensor.state[k]);
  piece.ema = job.averages ? at(tensor.ema) : nullptr;
  piece.copy_dtype = tensor.copy_dtype;
  piece.length = end - begin;
  piece.stages = &job.stages;
  alignas(kWidestVector) char sum[kWidestVector];
  if (job.reads) {
    piece.copy = sum;
  } else if (tensor.copy) {
    piece.copy = static_cast<char*>(tensor.copy) + begin * element_size(tensor.copy_dtype);
  }
  job.kernel(piece);
}

}  // namespace
}  // namespace fastopt

extern "C" fastopt_status fastopt_floor(const fastopt_tensor* tensor, int32_t slot_count,
                                        const fastopt_options* options) {
  if (tensor->dtype != FASTOPT_FLOAT32 && tensor->dtype != FASTOPT_FLOAT64) return FASTOPT_BAD_DTYPE;
  if (tensor->length < 0) return FASTOPT_BAD_LENGTH;
  if (slot_count < 0 || slot_count > FASTOPT_MAX_SLOTS) return FASTOPT_BAD_RULE;
  if (!fastopt::are_valid(*options)) return FASTOPT_BAD_OPTION;
  if (tensor->length == 0) return FASTOPT_OK;
  if (!tensor->param || !tensor->grad) return FASTOPT_NULL_POINTER;
  for (int32_t k = 0; k < slot_count; ++k) {
    if (!tensor->state[k]) return FASTOPT_NULL_POINTER;
  }
  const int64_t threads = tensor->length < fastopt::kParallel ? 1 : fastopt_num_threads();
  const int64_t share = (tensor->length + threads - 1) / threads;
  const int64_t part = (share + fastopt::kLine - 1) / fastopt::kLine * fastopt::kLine;
  const bool averages = tensor->ema && options->ema_decay >= 0;
  const auto run = [&](fastopt::Kernel kernel, bool reads) {
    fastopt::StageScalars stages;
    stages.zero_grad = options->zero_grad;
    fastopt::FloorJob job{*tensor, stages, kernel, slot_count, reads, averages, part};
    fastopt::parallel((tensor->length + part - 1) / part, fastopt::run_part, &job, true);
  };
  const fastopt::KernelSet& kernels = fastopt::active_kernels();
  if (options->max_norm > 0 || options->skip_nonfinite) run(kernels.floor_read[tensor->dtype], true);
  const bool staged = averages || tensor->copy || options->zero_grad;
  run((staged ? kernels.staged_floor : kernels.floor)[tensor->dtype][slot_count], false);
  return FASTOPT_OK;
}
