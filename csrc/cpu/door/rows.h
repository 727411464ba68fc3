// The data of one step: a line of tensors, and a row of scalars for all tensors that agree in group and count.
#pragma once
#include <stdint.h>
#include <string.h>

#include <array>
#include <vector>

#include "cpu/door/rule_table.h"
#include "cpu/loops/kernel.h"
#include "cpu/work/line.h"
#include "fastopt.h"
#include "step/stage_scalars.h"

namespace fastopt {

using FactoredScalars = std::array<double, FASTOPT_MAX_SCALARS + 1>;

// The scalars of one group at one step number, with the running scalars before it.  Tensors that agree in all of these
// share a row.
struct Row {
  Row(const fastopt_group& group, const fastopt_tensor& tensor, const fastopt_options& options);

  int32_t group;
  int64_t t;
  double before[FASTOPT_MAX_RUNNING];  // running scalars before the step and after it
  double after[FASTOPT_MAX_RUNNING];
  const RuleRow* rule;
  const fastopt_variant* variant;
  int32_t kernel;    // index in a KernelSet
  StageLevel level;  // without regard to a tensor's own average and copy
  StageScalars stages;
  double scalars[FASTOPT_MAX_SCALARS];

  bool serves(const fastopt_tensor& tensor) const {
    return group == tensor.group && t == tensor.steps + 1 && memcmp(before, tensor.running, sizeof before) == 0;
  }
};

// The data of one call.  The memory is kept from call to call, so that a step allocates nothing.
struct Step {
  std::vector<Row> rows;
  Line line;
  bool has_factors = false;
  // If a rule has a factor: for each range of the line, the scalars of its row followed by the tensor's factor.
  std::vector<FactoredScalars> factored;

  const double* scalars_of(const Range& range) const {
    return has_factors ? factored[&range - line.ranges().data()].data() : rows[range.row].scalars;
  }

  void begin(const fastopt_team* team) {
    rows.clear();
    line.begin(team);
    factored.clear();
    has_factors = false;
  }
};

// Elements [begin, end) of a tensor as a kernel takes them.  Arrays in storage formats are left to update_in_formats.
Piece piece_of(const fastopt_tensor& tensor, const Row& row, int64_t begin, int64_t end);

}  // namespace fastopt
