// Structures of an older fastopt.h end sooner, and the fields that they lack are 0.  Sizes that no fastopt.h up to this
// version has are refused.
#pragma once
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <algorithm>
#include <string>
#include <vector>

#include "guarded.h"

namespace {

constexpr int64_t kElements = 300;

// Two tensors of NAdam, which carries a running scalar on.  Each structure has one of these sizes, and memory of
// exactly that size.
class Older {
 public:
  uint64_t plan_size = sizeof(fastopt_plan), options_size = sizeof(fastopt_options);
  uint64_t tensor_size = sizeof(fastopt_tensor), group_size = sizeof(fastopt_group);
  uint64_t report_size = sizeof(fastopt_report);

  fastopt_status step() {
    fill();
    const std::vector<unsigned char> plan = cut(plan_, plan_size), options = cut(options_, options_size);
    std::vector<unsigned char> report = cut(fastopt_report{}, report_size);
    memcpy(report.data(), &report_size, std::min(report_size, uint64_t{sizeof report_size}));
    return fastopt_step(reinterpret_cast<const fastopt_plan*>(plan.data()),
                        reinterpret_cast<const fastopt_options*>(options.data()),
                        reinterpret_cast<fastopt_report*>(report.data()));
  }

  // Parameters, states, counts and running scalars.
  std::vector<double> results() const {
    std::vector<double> all;
    for (const auto& array : arrays_) all.insert(all.end(), array.begin(), array.end());
    for (int t = 0; t < 2; ++t) {
      fastopt_tensor tensor{};
      memcpy(&tensor, tensors_.data() + t * tensor_size, tensor_size);
      all.push_back(static_cast<double>(tensor.steps));
      all.push_back(tensor.running[0]);
    }
    return all;
  }

 private:
  // The first `size` bytes of a structure, with zeros behind its end.
  template <class T> static std::vector<unsigned char> cut(const T& from, uint64_t size) {
    std::vector<unsigned char> bytes(size);
    if (size > 0) memcpy(bytes.data(), &from, std::min(size, uint64_t{sizeof from}));
    return bytes;
  }

  void fill() {
    fastopt_group group{};
    group.rule = fastopt_find_rule("nadam");
    group.lr = 0.1;
    group.hyperparameters[0] = 0.9;
    group.hyperparameters[1] = 0.99;
    group.hyperparameters[2] = 1e-8;
    group.hyperparameters[3] = 0.96;
    groups_ = cut(group, group_size);
    tensors_.clear();
    arrays_.assign(8, std::vector<double>(kElements));
    for (int t = 0; t < 2; ++t) {
      fastopt_tensor tensor{};
      tensor.dtype = FASTOPT_FLOAT64;
      tensor.length = kElements;
      for (int64_t i = 0; i < kElements; ++i) {
        arrays_[4 * t][i] = static_cast<double>(i % 7 + t);
        arrays_[4 * t + 1][i] = static_cast<double>(i % 5) - 1.5;
      }
      tensor.param = arrays_[4 * t].data();
      tensor.grad = arrays_[4 * t + 1].data();
      for (int k = 0; k < 2; ++k) tensor.state[k] = arrays_[4 * t + 2 + k].data();
      const std::vector<unsigned char> bytes = cut(tensor, tensor_size);
      tensors_.insert(tensors_.end(), bytes.begin(), bytes.end());
    }
    plan_ = plan_of(reinterpret_cast<fastopt_tensor*>(tensors_.data()), 2,
                    reinterpret_cast<const fastopt_group*>(groups_.data()), 1, 0);
    plan_.size = plan_size;
    plan_.tensor_size = tensor_size;
    plan_.group_size = group_size;
    options_ = {options_size, 1, 0, 0, 0, 0, 0, 0, nullptr};
  }

  fastopt_plan plan_{};
  fastopt_options options_{};
  std::vector<unsigned char> tensors_, groups_;
  std::vector<std::vector<double>> arrays_;
};

struct Size {
  const char* what;
  uint64_t Older::* field;
  uint64_t least, most;
};

constexpr Size kSizes[] = {
    {"plan", &Older::plan_size, offsetof(fastopt_plan, seed), sizeof(fastopt_plan)},
    {"options", &Older::options_size, offsetof(fastopt_options, clip_value), sizeof(fastopt_options)},
    {"tensor", &Older::tensor_size, offsetof(fastopt_tensor, param_format), sizeof(fastopt_tensor)},
    {"group", &Older::group_size, sizeof(fastopt_group), sizeof(fastopt_group)},
    {"report", &Older::report_size, offsetof(fastopt_report, finite), sizeof(fastopt_report)},
};

void check_sizes() {
  Older known;
  must(known.step());
  for (const Size& size : kSizes) {
    const auto gives = [&](uint64_t bytes, fastopt_status expected) {
      Older older;
      older.*size.field = bytes;
      const fastopt_status status = older.step();
      const std::string words = std::string(size.what) + " of " + std::to_string(bytes) + " bytes";
      expect(status == expected, words + " gave \"" + fastopt_status_message(status) + '"');
      if (status == FASTOPT_OK) expect(older.results() == known.results(), words + " led to other results");
    };
    for (uint64_t bytes = size.least; bytes <= size.most; bytes += 4) gives(bytes, FASTOPT_OK);
    gives(size.most, FASTOPT_OK);
    for (const uint64_t bytes : {size.least - 1, uint64_t{8}}) gives(bytes, FASTOPT_BAD_SIZE);
    for (const uint64_t bytes : {size.most + 1, size.most + 8, uint64_t{4096}}) gives(bytes, FASTOPT_NEWER);
  }
}

}  // namespace
