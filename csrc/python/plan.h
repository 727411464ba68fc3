// The plan of one optimizer: fastopt_plan's rows, the Python arrays behind their pointers, and the memory they cover.
#pragma once
#include <pybind11/pybind11.h>

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "python/access.h"
#include "python/own_memory.h"
#include "python/owner.h"
#include "python/progress.h"
#include "python/tensors.h"

namespace fastopt::python {

// The exception for a status that is not FASTOPT_OK.
void raise_on(fastopt_status status);

// Rows as the C functions take them.
inline fastopt_plan plan_of(fastopt_tensor* tensors, size_t tensor_count, const fastopt_group* groups,
                            size_t group_count, uint64_t seed) {
  return {sizeof(fastopt_plan),   tensors, static_cast<int64_t>(tensor_count),
          sizeof(fastopt_tensor), groups,  static_cast<int64_t>(group_count),
          sizeof(fastopt_group),  seed};
}

class Plan {
 public:
  // Rows for tensors, dicts of: "param" and each of "state" (None, or an entry for each slot of the rule) as (array,
  // array of what its format has beside it or None, index of the format); "dtype" of the arithmetic; "stochastic";
  // "ema", "copy": array or None; "copy_dtype"; "group"; "offset"; "owner", "copy_owner": the caller's objects that the
  // parameter and the copy are views of, or None; each step looks whether they are what they were.  All are under one
  // rule.  Python has worded the errors
  // of these arrays; what is wrong here all the same is refused without ceremony.  The arrays of a tensor are
  // dense and have their elements in one order, whatever the order of their dimensions.
  Plan(const std::string& rule, const py::list& tensors, int64_t groups, uint64_t seed);

  void set_group(int64_t index, double lr, double weight_decay, bool decoupled, double l1, bool maximize,
                 const std::vector<double>& hyperparameters);

  // For whoever writes into numbers_of(): the lock of the plan, and with it the numbers of a group's row, from `lr` on.
  Access::Lock lock() { return access_.lock(); }
  double* numbers_of(int64_t index) { return &groups_[index].lr; }

  // Takes over gradients for the steps that are given none; false as step().  `owners`: the caller's objects that they
  // are views of, or None, one for each.
  bool bind(py::handle grads, const py::list& owners);

  // Whether the caller's objects behind parameters and copies are what they were; and those behind bound gradients.
  bool unmoved();
  bool bound_unmoved();

  // Gradients that require grad are taken for their values from now on, as torch's optimizers do.
  void ignore_history() { strict_ = false; }

  // Steps on these threads from now on, while they are to be had.
  void lend(py::object team);

  // Takes one step.  False if `grads` are not what the plan expects: nothing was done then, and Python says why.
  bool step(py::handle grads, const fastopt_options& options);

  // The part of a step over elements [begin, end) of one tensor, whose gradient has the parameter's shape or is that
  // part alone; uncounted.  False as step().
  bool step_part(const py::object& grad, size_t index, int64_t begin, int64_t end, const fastopt_options& options);
  void count(size_t index);  // of a tensor
  void end();                // of the step

  // The norm of the last step's gradients; None if no stage asked for it.
  std::optional<double> grad_norm();

  // Completed steps of each tensor with the running scalars of the rule, and completed steps of the plan as a whole.
  using Progress = std::pair<int64_t, std::vector<double>>;
  Progress progress_of(size_t index);
  void set_progress(const std::vector<Progress>& progress);
  // Keeps counts and running scalars in these arrays from now on: a step begins with what it finds there.
  void share_progress(const SharedProgress::Arrays& arrays);
  int64_t completed();
  void set_completed(int64_t steps);
  int64_t skipped();
  void set_skipped(int64_t steps);
  uint64_t seed();
  void set_seed(uint64_t seed);

  // fastopt_floor over each tensor that has a bound gradient.
  void floor(const fastopt_options& options);

 private:
  bool owners_hold();
  bool bound_hold();
  int32_t running_count() const;
  bool take(py::handle grads, std::vector<Kept>& held, bool written);
  bool take_one(size_t index, PyObject* grad, bool written);
  static bool take_dtype(fastopt_tensor& tensor, int32_t dtype);
  bool load_progress();
  void store_progress() const;
  bool disjoint();
  // Counts one more, up to the most that a checkpoint can bring back.
  static void count_up(int64_t& count) { count += count != INT64_MAX; }
  fastopt_plan plan();
  fastopt_options on_team(const fastopt_options& options) const;
  bool bound_are_writable() const;

  Access access_;  // to everything below
  std::vector<fastopt_tensor> tensors_;
  int64_t completed_ = 0, skipped_ = 0;
  uint64_t seed_;
  bool strict_ = true;
  Kept lender_;  // of the team
  const fastopt_team* team_ = nullptr;
  static constexpr fastopt_report kUnseen{sizeof(fastopt_report), -1, 1, 0};
  fastopt_report report_ = kUnseen;
  std::vector<fastopt_group> groups_;
  OwnMemory own_;              // parameters, state, averages, copies
  std::vector<Kept> params_;   // of these, the parameter of each tensor
  std::vector<Owner> owners_;  // the caller's objects behind parameters and copies
  std::vector<Owner> bound_owners_;
  TensorReader reader_;
  struct Gradient {
    void* data;
    int32_t format;
  };
  std::optional<SharedProgress> shared_;
  std::vector<Gradient> bound_;  // gradients for steps that are given none
  std::vector<Kept> bound_arrays_;
  bool bound_are_disjoint_ = true;
  std::vector<Gradient> disjoint_;   // the last gradients that were found not to overlap each other
  std::vector<Interval> intervals_;  // scratch of disjoint()
};

void register_plan(py::module_& module);

}  // namespace fastopt::python
