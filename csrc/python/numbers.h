// Numbers as programs hand them over, read without a call of Python.
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
  if (!PyErr_Occurred()) return true;
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

}  // namespace fastopt::python
