// fastopt_floor, the yardstick.  It has the step's threads, but neither its tiles nor its chunks: each thread passes
// over one contiguous share.
#include <stddef.h>
#include <stdint.h>

#include <algorithm>

#include "cpu/door/formats.h"
#include "cpu/door/given.h"
#include "cpu/door/isa.h"
#include "cpu/door/measure.h"
#include "cpu/floor/kernels.h"
#include "cpu/work/line.h"
#include "cpu/work/threads.h"
#include "fastopt.h"

namespace fastopt {
namespace {

constexpr int64_t kLine = 64;                     // elements: whole cache lines
constexpr int64_t kParallel = int64_t{32} << 10;  // elements: below so many, handing over would cost more than the pass
constexpr int64_t kWidestVector = 64;             // bytes

struct FloorJob {
  const fastopt_tensor& tensor;
  const StageScalars& stages;
  bool reads;  // the sweep's pass
  bool staged;
  int32_t slots;
  bool averages;
  int64_t part;  // elements of each thread
};

// Elements of each thread, in multiples of `unit`.
int64_t share_of(int64_t length, int64_t unit) {
  const int64_t threads = length < kParallel ? 1 : fastopt_num_threads();
  return ((length + threads - 1) / threads + unit - 1) / unit * unit;
}

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
  const FloorKernels& floor = *active_kernels().floor;
  job.reads ? floor.read[tensor.dtype](piece) : floor.pass[job.staged][tensor.dtype](piece, job.slots);
}

// One array in a format.
struct Span {
  char* data;
  int64_t size, per;  // bytes of `per` elements
  bool written;
};

struct FloorInFormats {
  const Span* spans;
  int32_t count;
  int64_t length, part;
};

constexpr int64_t kTile = 4096;  // elements: all arrays advance together, as in a step

void run_part_in_formats(void* context, int64_t index) {
  const FloorInFormats& job = *static_cast<const FloorInFormats*>(context);
  const int64_t end = std::min((index + 1) * job.part, job.length);
  volatile float sink = 0;  // without this a compiler would drop the reads
  for (int64_t at = index * job.part; at < end; at += kTile) {
    const int64_t tile = std::min(kTile, end - at);
    for (int32_t i = 0; i < job.count; ++i) {
      const Span& span = job.spans[i];
      const int64_t bytes = tile * span.size / span.per;
      sink = active_kernels().floor->touch(span.data + at / span.per * span.size, bytes, span.written);
    }
  }
  (void)sink;
}

void floor_in_formats(const fastopt_tensor& tensor, int32_t slot_count) {
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
  const int64_t part = share_of(tensor.length, kTile);
  FloorInFormats job{spans, count, tensor.length, part};
  parallel({(tensor.length + part - 1) / part, run_part_in_formats, &job, true});
}

void floor_of(const fastopt_tensor& tensor, int32_t slot_count, const fastopt_options& options) {
  const bool averages = tensor.ema && options.ema_decay >= 0;
  StageScalars stages;
  stages.zero_grad = options.zero_grad;
  FloorJob job{tensor,
               stages,
               true,
               averages || tensor.copy || options.zero_grad,
               slot_count,
               averages,
               share_of(tensor.length, kLine)};
  const int64_t parts = (tensor.length + job.part - 1) / job.part;
  if (options.max_norm > 0 || options.skip_nonfinite) parallel({parts, run_part, &job, true});
  job.reads = false;
  parallel({parts, run_part, &job, true});
}

fastopt_status check_format(int32_t index, const void* extra) {
  const fastopt_format* format = fastopt_format_at(index);
  if (index != 0 && !format) return FASTOPT_BAD_FORMAT;
  return format && format->extra_size > 0 && !extra ? FASTOPT_NULL_POINTER : FASTOPT_OK;
}

fastopt_status check_floor(const fastopt_tensor& tensor, int32_t slot_count, const fastopt_options& options) {
  if (tensor.dtype != FASTOPT_FLOAT32 && tensor.dtype != FASTOPT_FLOAT64) return FASTOPT_BAD_DTYPE;
  if (tensor.length < 0) return FASTOPT_BAD_LENGTH;
  if (slot_count < 0 || slot_count > FASTOPT_MAX_SLOTS) return FASTOPT_BAD_RULE;
  if (!are_valid(options)) return FASTOPT_BAD_OPTION;
  if (tensor.length == 0) return FASTOPT_OK;
  if (!tensor.param || !tensor.grad) return FASTOPT_NULL_POINTER;
  for (int32_t k = 0; k < slot_count; ++k) {
    if (!tensor.state[k]) return FASTOPT_NULL_POINTER;
  }
  if (const fastopt_status status = check_format(tensor.param_format, tensor.param_extra)) return status;
  if (const fastopt_status status = check_grad_format(tensor)) return status;
  for (int32_t k = 0; k < slot_count; ++k) {
    if (const fastopt_status status = check_format(tensor.state_format[k], tensor.state_extra[k])) return status;
  }
  return FASTOPT_OK;
}

bool has_formats(const fastopt_tensor& tensor, int32_t slot_count) {
  return tensor.param_format != 0 || tensor.grad_format != 0 ||
         std::any_of(tensor.state_format, tensor.state_format + slot_count, [](int32_t format) { return format != 0; });
}

}  // namespace
}  // namespace fastopt

extern "C" fastopt_status fastopt_floor(const fastopt_plan* plan, int64_t tensor, int32_t slot_count,
                                        const fastopt_options* options) try {
  fastopt::Given given;
  if (const fastopt_status status = given.take(*plan, *options)) return status;
  if (tensor < 0 || tensor >= given.plan().tensor_count) return FASTOPT_BAD_RANGE;
  const fastopt_tensor& one = given.plan().tensors[tensor];
  const fastopt_status status = fastopt::check_floor(one, slot_count, given.options());
  if (status != FASTOPT_OK || one.length == 0) return status;
  if (fastopt::has_formats(one, slot_count)) {
    fastopt::floor_in_formats(one, slot_count);
  } else {
    fastopt::floor_of(one, slot_count, given.options());
  }
  return FASTOPT_OK;
} catch (...) {
  return FASTOPT_NO_MEMORY;
}
