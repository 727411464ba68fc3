// A caller's structures, which may be shorter than this library's: an older fastopt.h had fewer fields at their ends.
#pragma once
#include <stdint.h>

#include <memory>
#include <vector>

#include "fastopt.h"

namespace fastopt {

// A caller's plan and options in this library's layout.  Structures of another size are copied, and at the end of a
// step the tensors' counts are copied back.
class Given {
 public:
  fastopt_status take(const fastopt_plan& given, const fastopt_options& options);
  fastopt_status take(const fastopt_plan& given);
  void give_back() const {
    if (widened_) widened_->give_back(*given_);
  }

  const fastopt_plan& plan() const { return *plan_; }
  const fastopt_options& options() const { return *options_; }

 private:
  // Copies of the structures that are shorter.
  struct Widened {
    fastopt_plan plan{};
    fastopt_options options{};
    std::vector<fastopt_tensor> tensors;
    std::vector<fastopt_group> groups;

    void give_back(const fastopt_plan& given) const;
  };

  Widened& widened();

  const fastopt_plan* given_ = nullptr;
  const fastopt_plan* plan_ = nullptr;
  const fastopt_options* options_ = nullptr;
  std::unique_ptr<Widened> widened_;
};

// Checks that this library knows a report's size.  nullptr is fine.
fastopt_status check(const fastopt_report* report);
// Writes the fields that the caller's report has.
void write(const fastopt_report& from, fastopt_report* report);

}  // namespace fastopt
