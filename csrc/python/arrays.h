// NumPy arrays as the plan sees them.
#pragma once
#include <pybind11/numpy.h>

#include <stdint.h>
#include <string.h>

#include "fastopt.h"

namespace fastopt::python {

namespace py = pybind11;

// A look at an ndarray that takes no reference and makes no object: this is the fast check of each new gradient.
class ArrayView {
 public:
  // Whether `object` is an ndarray and of no subclass, which may mean more than its memory says (a masked array);
  // nothing else may be asked if it is not.
  static bool is_array(PyObject* object) {
    return reinterpret_cast<PyObject*>(Py_TYPE(object)) ==
           reinterpret_cast<PyObject*>(py::detail::npy_api::get().PyArray_Type_);
  }

  // Whether `object` is an ndarray or of a subclass: the same structure in memory.
  static bool is_instance(PyObject* object) {
    return PyObject_TypeCheck(object, reinterpret_cast<PyTypeObject*>(py::detail::npy_api::get().PyArray_Type_)) != 0;
  }

  explicit ArrayView(PyObject* object) : array_(*py::detail::array_proxy(object)) {}

  void* data() const { return array_.data; }
  int dimensions() const { return array_.nd; }
  const Py_intptr_t* shape() const { return array_.dimensions; }
  const Py_intptr_t* strides() const { return array_.strides; }  // in bytes
  PyObject* base() const { return array_.base; }                 // nullptr where the memory is the array's own
  PyObject* descriptor() const { return array_.descr; }
  bool writable() const { return array_.flags & py::detail::npy_api::NPY_ARRAY_WRITEABLE_; }
  bool aligned() const { return array_.flags & py::detail::npy_api::NPY_ARRAY_ALIGNED_; }
  bool contiguous() const { return array_.flags & py::detail::npy_api::NPY_ARRAY_C_CONTIGUOUS_; }
  int64_t stride(int dimension) const { return array_.strides[dimension] / element_size(); }  // in elements

  // Whether the elements lie side by side, in whatever order of the dimensions, from data() on.
  bool dense() const {
    if (contiguous() || length() == 0) return true;
    int left = 0;
    for (int i = 0; i < array_.nd; ++i) left += array_.dimensions[i] != 1;
    for (int64_t expected = element_size(); left > 0; --left) {
      int i = 0;
      while (i < array_.nd && (array_.dimensions[i] == 1 || array_.strides[i] != expected)) ++i;
      if (i == array_.nd) return false;
      expected *= array_.dimensions[i];
    }
    return true;
  }

  int64_t length() const {
    int64_t product = 1;
    for (int i = 0; i < array_.nd; ++i) product *= array_.dimensions[i];
    return product;
  }

  bool same_shape(const ArrayView& other) const {
    if (array_.nd != other.array_.nd) return false;
    for (int i = 0; i < array_.nd; ++i) {
      if (array_.dimensions[i] != other.array_.dimensions[i]) return false;
    }
    return true;
  }

  // Whether both have the same shape, and their elements the same order in memory.
  bool same_layout(const ArrayView& other) const {
    if (!same_shape(other)) return false;
    if ((contiguous() && other.contiguous()) || length() == 0) return true;
    for (int i = 0; i < array_.nd; ++i) {
      if (array_.dimensions[i] != 1 && stride(i) != other.stride(i)) return false;
    }
    return true;
  }

  static int64_t size_of(int32_t dtype) { return dtype == FASTOPT_FLOAT64 ? 8 : dtype == FASTOPT_FLOAT32 ? 4 : 2; }

  int64_t element_size() const {
    return py::detail::array_descriptor2_proxy(array_.descr)->elsize;
  }  // NumPy 2's layout

  // A fastopt_dtype, or -1: another type or foreign byte order.  NumPy itself has no bfloat16: it comes as ml_dtypes'
  // own type, or as buffers.py names its bits, a structure of one field.
  int32_t dtype() const {
    const auto* descriptor = py::detail::array_descriptor1_proxy(array_.descr);
    const int type = descriptor->type_num;
    if (type == kVoid) return is_named_bfloat16() ? FASTOPT_BFLOAT16 : -1;
    // '=' or, by another way to the same dtype, the native order by name.
    if (descriptor->byteorder != '=' && descriptor->byteorder != kNative) return -1;
    if (type == py::detail::npy_api::NPY_FLOAT_) return FASTOPT_FLOAT32;
    if (type == py::detail::npy_api::NPY_DOUBLE_) return FASTOPT_FLOAT64;
    if (type == kHalf) return FASTOPT_FLOAT16;
    if (type < kFirstUserType || element_size() != 2) return -1;
    const char* name = reinterpret_cast<PyTypeObject*>(descriptor->typeobj)->tp_name;
    const char* dot = strrchr(name, '.');
    return strcmp(dot ? dot + 1 : name, "bfloat16") == 0 ? FASTOPT_BFLOAT16 : -1;
  }

 private:
  // NumPy's numbers of types.
  static constexpr int kUnsignedShort = 4, kVoid = 20, kHalf = 23, kFirstUserType = 256;

  // Whether the dtype is a structure of one field `bfloat16`, a uint16 in native order.
  bool is_named_bfloat16() const {
    const auto* descriptor = py::detail::array_descriptor2_proxy(array_.descr);
    PyObject* const names = descriptor->names;
    if (element_size() != 2 || !names || !PyTuple_Check(names) || PyTuple_GET_SIZE(names) != 1) return false;
    PyObject* const name = PyTuple_GET_ITEM(names, 0);
    if (PyUnicode_CompareWithASCIIString(name, "bfloat16") != 0) return false;
    PyObject* const field = PyDict_GetItem(descriptor->fields, name);
    if (!field || !PyTuple_Check(field)) return false;
    const auto* own = py::detail::array_descriptor1_proxy(PyTuple_GET_ITEM(field, 0));
    return own->type_num == kUnsignedShort && (own->byteorder == '=' || own->byteorder == kNative);
  }

  static constexpr char kNative = __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? '<' : '>';
  const py::detail::PyArray_Proxy& array_;
};

}  // namespace fastopt::python
