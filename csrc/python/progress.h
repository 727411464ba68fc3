// Counts of steps and running scalars that live in the caller's arrays, such as the `step` tensors of torch's state.
#pragma once
#include <math.h>

#include <utility>
#include <vector>

#include "python/arrays.h"
#include "python/gil.h"

namespace fastopt::python {

class SharedProgress {
 public:
  // For each tensor an array of one element for its count, or None, and one for each running scalar; float32 or
  // float64.
  using Arrays = std::vector<std::pair<py::object, std::vector<py::object>>>;

  explicit SharedProgress(const Arrays& arrays) {
    for (const auto& [count, running] : arrays) {
      Row row;
      if (!count.is_none()) row.count = take(count);
      if (running.size() > FASTOPT_MAX_RUNNING) throw py::value_error("too many running scalars");
      for (size_t k = 0; k < running.size(); ++k) row.running[k] = take(running[k]);
      rows_.push_back(row);
    }
  }

  size_t size() const { return rows_.size(); }

  // What the arrays have becomes the tensor's; false for what is no count of steps.
  bool load(size_t index, fastopt_tensor& tensor) const {
    const Row& row = rows_[index];
    if (row.count.data) {
      const double count = row.count.get();
      if (!is_count(count)) return false;
      // A float32 stays behind from 2^24 on, while the tensor's own goes on counting.
      if (row.count.rounded(static_cast<double>(tensor.steps)) != count) tensor.steps = static_cast<int64_t>(count);
    }
    for (size_t k = 0; k < FASTOPT_MAX_RUNNING; ++k) {
      if (row.running[k].data) tensor.running[k] = row.running[k].get();
    }
    return true;
  }

  void store(size_t index, const fastopt_tensor& tensor) const {
    const Row& row = rows_[index];
    if (row.count.data) row.count.set(static_cast<double>(tensor.steps));
    for (size_t k = 0; k < FASTOPT_MAX_RUNNING; ++k) {
      if (row.running[k].data) row.running[k].set(tensor.running[k]);
    }
  }

 private:
  static bool is_count(double value) { return value >= 0 && value < 9007199254740992.0 && floor(value) == value; }

  struct Scalar {
    void* data = nullptr;
    bool is_double = false;

    double get() const { return is_double ? *static_cast<double*>(data) : *static_cast<float*>(data); }
    double rounded(double value) const { return is_double ? value : static_cast<float>(value); }
    void set(double value) const {
      if (is_double) {
        *static_cast<double*>(data) = value;
      } else {
        *static_cast<float*>(data) = static_cast<float>(value);
      }
    }
  };

  struct Row {
    Scalar count;
    Scalar running[FASTOPT_MAX_RUNNING];
  };

  Scalar take(const py::object& object) {
    if (!ArrayView::is_array(object.ptr())) throw py::type_error("expected ndarrays");
    const ArrayView view(object.ptr());
    const int32_t dtype = view.dtype();
    const bool is_number = dtype == FASTOPT_FLOAT32 || dtype == FASTOPT_FLOAT64;
    if (!is_number || view.length() != 1 || !view.writable() || !view.aligned()) {
      throw py::value_error("expected writable arrays of one float32 or float64");
    }
    arrays_.emplace_back(object);
    return {view.data(), dtype == FASTOPT_FLOAT64};
  }

  std::vector<Row> rows_;
  std::vector<Kept> arrays_;  // what the pointers point into
};

}  // namespace fastopt::python
