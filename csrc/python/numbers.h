// Hyperparameters of plain numbers as programs hand them over, read without a call of Python.
#pragma once
#include <pybind11/pybind11.h>

#include <math.h>

#include "python/tensors.h"

namespace fastopt::python {

// Whether `value` is a float or an int of Python's own, or NumPy's float64, which is a float; bool is none.
inline bool number_of(PyObject* value, double& number) {
  if (PyFloat_CheckExact(value) || (PyFloat_Check(value) && !PyType_HasFeature(Py_TYPE(value), Py_TPFLAGS_HEAPTYPE))) {
    number = PyFloat_AS_DOUBLE(value);
    return true;
  }
  if (!PyLong_CheckExact(value)) return false;
  number = PyLong_AsDouble(value);
  if (number != -1 || !PyErr_Occurred()) return true;
  PyErr_Clear();
  return false;
}

// Whether `value` is a tensor on the CPU of one float32 or float64.
inline bool number_of_tensor(TensorReader& reader, PyObject* value, double& number) {
  TensorView view;
  if (!view.look(reader, value, false) || view.length() != 1) return false;
  if (view.dtype() == FASTOPT_FLOAT64) {
    number = *static_cast<const double*>(view.data());
  } else if (view.dtype() == FASTOPT_FLOAT32) {
    number = *static_cast<const float*>(view.data());
  } else {
    return false;
  }
  return true;
}

// Whether every arithmetic holds the number: float32 would make 0 or Inf of others, which ranges.py looks at closely.
inline bool is_plain(double number) {
  constexpr double kNormal = 0x1p-126, kLargest = 0x1p127;
  return number == 0 || (fabs(number) >= kNormal && fabs(number) <= kLargest);
}

constexpr int kMostNumbers = 4;  // in one hyperparameter

// A hyperparameter of one number or several side by side, such as `betas`: a row of `Rule.numbers`.
struct Number {
  explicit Number(py::handle row) {
    const auto fields = py::cast<py::tuple>(row);
    name = fields[0];
    place = fields[1].cast<int>();
    count = fields[2].cast<int>();
    low = fields[3].cast<double>();
    high = fields[4].cast<double>();
    steady = fields[5].cast<bool>();
    if (count > kMostNumbers) throw py::value_error("too many numbers in a hyperparameter");
  }

  // Whether Python would take `given` without a word; then its numbers are in `values`.
  template <class Read> bool read(PyObject* given, double* values, Read number_from) const {
    if (count == 1) return number_from(given, *values) && in_range(*values);
    if (!PyTuple_CheckExact(given) && !PyList_CheckExact(given)) return false;
    if (PySequence_Fast_GET_SIZE(given) != count) return false;
    for (int i = 0; i < count; ++i) {
      if (!number_from(PySequence_Fast_GET_ITEM(given, i), values[i]) || !in_range(values[i])) return false;
    }
    return true;
  }

  py::object name;
  int place, count;  // among a fastopt_group's numbers, from `lr` on
  double low, high;  // the least and the largest value
  bool steady;       // the state or other values depend on which of the numbers are 0

 private:
  bool in_range(double value) const { return low <= value && value <= high && is_plain(value); }
};

}  // namespace fastopt::python
