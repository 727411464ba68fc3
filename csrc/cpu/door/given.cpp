#include "cpu/door/given.h"

#include <stddef.h>
#include <string.h>

#include <algorithm>

namespace fastopt {
namespace {

// Bytes up to a field: every fastopt.h has had what is before it.
constexpr uint64_t kLeastPlan = offsetof(fastopt_plan, seed);
constexpr uint64_t kLeastOptions = offsetof(fastopt_options, clip_value);
constexpr uint64_t kLeastReport = offsetof(fastopt_report, finite);
constexpr uint64_t kLeastTensor = offsetof(fastopt_tensor, param_format);
constexpr uint64_t kLeastGroup = sizeof(fastopt_group);

fastopt_status check(uint64_t size, uint64_t least, uint64_t known) {
  return size < least ? FASTOPT_BAD_SIZE : size > known ? FASTOPT_NEWER : FASTOPT_OK;
}

// Copies of structures that lie `size` bytes apart, with zeros for what they lack.
template <class T> void widen(const T* from, int64_t count, uint64_t size, std::vector<T>& to) {
  to.assign(static_cast<size_t>(count), T{});
  const char* at = reinterpret_cast<const char*>(from);
  for (T& each : to) {
    memcpy(&each, at, size);
    at += size;
  }
}

}  // namespace

fastopt_status Given::take(const fastopt_plan& given) {
  if (const fastopt_status status = check(given.size, kLeastPlan, sizeof given)) return status;
  plan = {};
  memcpy(&plan, &given, given.size);
  if (plan.tensor_count > 0) {
    if (const fastopt_status status = check(plan.tensor_size, kLeastTensor, sizeof(fastopt_tensor))) return status;
  }
  if (plan.group_count > 0) {
    if (const fastopt_status status = check(plan.group_size, kLeastGroup, sizeof(fastopt_group))) return status;
  }
  if (plan.tensor_count > 0 && plan.tensor_size != sizeof(fastopt_tensor)) {
    tensors_ = plan.tensors;
    tensor_size_ = plan.tensor_size;
    widen(plan.tensors, plan.tensor_count, plan.tensor_size, widened_tensors_);
    plan.tensors = widened_tensors_.data();
  }
  if (plan.group_count > 0 && plan.group_size != sizeof(fastopt_group)) {
    widen(plan.groups, plan.group_count, plan.group_size, widened_groups_);
    plan.groups = widened_groups_.data();
  }
  return FASTOPT_OK;
}

fastopt_status Given::take(const fastopt_plan& given, const fastopt_options& given_options) {
  if (const fastopt_status status = check(given_options.size, kLeastOptions, sizeof given_options)) return status;
  memcpy(&options, &given_options, given_options.size);
  return take(given);
}

void Given::give_back() const {
  char* at = reinterpret_cast<char*>(tensors_);
  for (const fastopt_tensor& tensor : widened_tensors_) {
    memcpy(at + offsetof(fastopt_tensor, steps), &tensor.steps, sizeof tensor.steps);
    memcpy(at + offsetof(fastopt_tensor, running), tensor.running, sizeof tensor.running);
    at += tensor_size_;
  }
}

fastopt_status check(const fastopt_report* report) {
  return report ? check(report->size, kLeastReport, sizeof *report) : FASTOPT_OK;
}

void write(const fastopt_report& from, fastopt_report* report) {
  if (!report) return;
  const uint64_t size = report->size;
  memcpy(report, &from, size);
  report->size = size;
}

}  // namespace fastopt
