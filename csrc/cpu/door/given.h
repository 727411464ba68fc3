// A caller's structures, which may be shorter than this library's: an older fastopt.h had fewer fields at their ends.
#pragma once
#include <stdint.h>

#include <vector>

#include "fastopt.h"

namespace fastopt {

// A caller's plan and options as this library has them.  Structures of another size are copied, and the tensors' counts
// go back at the end of a step.
class Given {
 public:
  fastopt_status take(const fastopt_plan& given, const fastopt_options& options);
  fastopt_status take(const fastopt_plan& given);
  void give_back() const;

  fastopt_plan plan;
  fastopt_options options{};

 private:
  fastopt_tensor* tensors_ = nullptr;  // the caller's, if they are shorter
  uint64_t tensor_size_ = 0;
  std::vector<fastopt_tensor> widened_tensors_;
  std::vector<fastopt_group> widened_groups_;
};

// Whether a report has a size that this library knows; there may be none.
fastopt_status check(const fastopt_report* report);
// Writes what of a report the caller's has.
void write(const fastopt_report& from, fastopt_report* report);

}  // namespace fastopt
