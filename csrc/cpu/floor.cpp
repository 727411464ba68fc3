// fastopt_floor: the yardstick.  It shares the threads with the step but neither its tiles nor its chunks: each thread
// passes over one contiguous part.
#include <stddef.h>

#include <algorithm>

#include "../fastopt.h"
#include "isa.h"
#include "line.h"
#include "measure.h"
#include "storage.h"
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

// One array of a tensor whose arrays lie in formats.
struct Span {
  char* data;
  int64_t size, per;  // bytes of `per` elements
  bool written;
};

struct StoredFloorJob {
  const Span* spans;
  int32_t count;
  int64_t length, part;
};

constexpr int64_t kTile = 4096;  // elements: the arrays go on together, as in a step

void run_stored_part(void* context, int64_t index) {
  const StoredFloorJob& job = *static_cast<const StoredFloorJob*>(context);
  const int64_t end = std::min((index + 1) * job.part, job.length);
  volatile float sink = 0;  // without it a compiler would drop a read
  for (int64_t at = index * job.part; at < end; at += kTile) {
    const int64_t tile = std::min(kTile, end - at);
    for (int32_t i = 0; i < job.count; ++i) {
      const Span& span = job.spans[i];
      const int64_t bytes = tile * span.size / span.per;
      sink = active_kernels().touch(span.data + at / span.per * span.size, bytes, span.written);
    }
  }
  (void)sink;
}

void stored_floor(const fastopt_tensor& tensor, int32_t slot_count) {
  Span spans[3 + 2 * FASTOPT_MAX_SLOTS];
  int32_t count = 0;
  const auto add = [&](void* data, void* extra, int32_t index, bool written) {
    const fastopt_format native{nullptr, static_cast<int32_t>(element_size(tensor.dtype)), 0, 1};
    const fastopt_format& format = index == 0 ? native : *fastopt_format_at(index);
    spans[count++] = {static_cast<char*>(data), format.size, 1, written};
    if (format.extra_size > 0) {
      spans[count++] = {static_cast<char*>(extra), format.extra_size, format.extra_span, written};
    }
  };
  add(tensor.param, tensor.param_extra, tensor.param_format, true);
  add(tensor.grad, nullptr, tensor.grad_format, false);
  for (int32_t k = 0; k < slot_count; ++k) add(tensor.state[k], tensor.state_extra[k], tensor.state_format[k], true);
  const int64_t threads = tensor.length < kParallel ? 1 : fastopt_num_threads();
  const int64_t share = (tensor.length + threads - 1) / threads;
  const int64_t part = (share + kTile - 1) / kTile * kTile;
  StoredFloorJob job{spans, count, tensor.length, part};
  parallel((tensor.length + part - 1) / part, run_stored_part, &job, true);
}

fastopt_status check_stored(int32_t index, const void* extra) {
  const fastopt_format* format = fastopt_format_at(index);
  if (index != 0 && !format) return FASTOPT_BAD_FORMAT;
  return format && format->extra_size > 0 && !extra ? FASTOPT_NULL_POINTER : FASTOPT_OK;
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
  if (const fastopt_status status = fastopt::check_stored(tensor->param_format, tensor->param_extra)) return status;
  if (const fastopt_status status = fastopt::check_grad_format(*tensor)) return status;
  for (int32_t k = 0; k < slot_count; ++k) {
    const fastopt_status status = fastopt::check_stored(tensor->state_format[k], tensor->state_extra[k]);
    if (status != FASTOPT_OK) return status;
  }
  bool stored = tensor->param_format != 0 || tensor->grad_format != 0;
  for (int32_t k = 0; k < slot_count; ++k) stored = stored || tensor->state_format[k] != 0;
  if (stored) {
    fastopt::stored_floor(*tensor, slot_count);
    return FASTOPT_OK;
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
