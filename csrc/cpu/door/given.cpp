#include "cpu/door/given.h"

#include <stddef.h>
#include <string.h>

#include <memory>
#include <vector>

namespace fastopt {
namespace {

// The least sizes in bytes: every fastopt.h has had the fields before these.
constexpr uint64_t kLeastPlan = offsetof(fastopt_plan, seed);
constexpr uint64_t kLeastOptions = offsetof(fastopt_options, clip_value);
constexpr uint64_t kLeastReport = offsetof(fastopt_report, finite);
constexpr uint64_t kLeastTensor = offsetof(fastopt_tensor, param_format);
constexpr uint64_t kLeastGroup = sizeof(fastopt_group);

fastopt_status check(uint64_t size, uint64_t least, uint64_t known) {
  return size < least ? FASTOPT_BAD_SIZE : size > known ? FASTOPT_NEWER : FASTOPT_OK;
}

// Copies structures that lie `size` bytes apart.  Fields that they lack become 0.
template <class T> void widen(const T* from, int64_t count, uint64_t size, std::vector<T>& to) {
  to.assign(static_cast<size_t>(count), T{});
  const char* at = reinterpret_cast<const char*>(from);
  for (T& each : to) {
    memcpy(&each, at, size);
    at += size;
  }
}

}  // namespace

Given::Widened& Given::widened() {
  if (!widened_) widened_ = std::make_unique<Widened>();
  return *widened_;
}

fastopt_status Given::take(const fastopt_plan& given) {
  if (const fastopt_status status = check(given.size, kLeastPlan, sizeof given)) return status;
  const bool has_tensors = given.tensor_count > 0, has_groups = given.group_count > 0;
  if (has_tensors) {
    if (const fastopt_status status = check(given.tensor_size, kLeastTensor, sizeof(fastopt_tensor))) return status;
  }
  if (has_groups) {
    if (const fastopt_status status = check(given.group_size, kLeastGroup, sizeof(fastopt_group))) return status;
  }
  given_ = plan_ = &given;
  const bool short_tensors = has_tensors && given.tensor_size < sizeof(fastopt_tensor);
  const bool short_groups = has_groups && given.group_size < sizeof(fastopt_group);
  if (given.size == sizeof given && !short_tensors && !short_groups) return FASTOPT_OK;
  Widened& own = widened();
  memcpy(&own.plan, &given, given.size);
  plan_ = &own.plan;
  if (short_tensors) {
    widen(given.tensors, given.tensor_count, given.tensor_size, own.tensors);
    own.plan.tensors = own.tensors.data();
  }
  if (short_groups) {
    widen(given.groups, given.group_count, given.group_size, own.groups);
    own.plan.groups = own.groups.data();
  }
  return FASTOPT_OK;
}

fastopt_status Given::take(const fastopt_plan& given, const fastopt_options& given_options) {
  if (const fastopt_status status = check(given_options.size, kLeastOptions, sizeof given_options)) return status;
  options_ = &given_options;
  if (given_options.size < sizeof given_options) {
    memcpy(&widened().options, &given_options, given_options.size);
    options_ = &widened_->options;
  }
  const fastopt_team* team = options_->team;
  if (team) {
    if (const fastopt_status status = check(team->size, sizeof *team, sizeof *team)) return status;
  }
  return take(given);
}

void Given::Widened::give_back(const fastopt_plan& given) const {
  char* at = reinterpret_cast<char*>(given.tensors);
  for (const fastopt_tensor& tensor : tensors) {
    memcpy(at + offsetof(fastopt_tensor, steps), &tensor.steps, sizeof tensor.steps);
    memcpy(at + offsetof(fastopt_tensor, running), tensor.running, sizeof tensor.running);
    at += given.tensor_size;
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
