// NumPy arrays as the plan sees them.
#pragma once
#include <pybind11/numpy.h>

#include <stdint.h>

#include "../fastopt.h"

namespace fastopt::bindings {

namespace py = pybind11;

// A look at an ndarray that takes no reference and makes no object: this is the fast check of each new gradient.
class ArrayView {
 public:
  // Whether `object` is an ndarray and of no subclass, which may mean more than its memory says (a masked array);
  // nothing else may be asked where it is not.
  static bool is_array(PyObject* object) {
    return reinterpret_cast<PyObject*>(Py_TYPE(object)) ==
           reinterpret_cast<PyObject*>(py::detail::npy_api::get().PyArray_Type_);
  }

  explicit ArrayView(PyObject* object) : array_(*py::detail::array_proxy(object)) {}

  void* data() const { return array_.data; }
  int dimensions() const { return array_.nd; }
  const Py_intptr_t* shape() const { return array_.dimensions; }
  bool writable() const { return array_.flags & py::detail::npy_api::NPY_ARRAY_WRITEABLE_; }
  bool contiguous() const {
    constexpr int needed = py::detail::npy_api::NPY_ARRAY_C_CONTIGUOUS_ | py::detail::npy_api::NPY_ARRAY_ALIGNED_;
    return (array_.flags & needed) == needed;
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

  static int64_t size_of(int32_t dtype) { return dtype == FASTOPT_FLOAT64 ? 8 : dtype == FASTOPT_FLOAT32 ? 4 : 2; }

  // Whether the elements are of a fastopt_dtype.  Of a 16-bit one the bits may come as any 16-bit type: NumPy itself
  // has no bfloat16.
  bool holds(int32_t wanted) const {
    if (wanted == FASTOPT_FLOAT32 || wanted == FASTOPT_FLOAT64) return dtype() == wanted;
    return py::detail::array_descriptor2_proxy(array_.descr)->elsize == size_of(wanted);  // NumPy 2's layout
  }

  // A fastopt_dtype, or -1: another type or foreign byte order.
  int32_t dtype() const {
    const auto* descriptor = py::detail::array_descriptor1_proxy(array_.descr);
    // '=' or, by another way to the same dtype, the native order by name.
    if (descriptor->byteorder != '=' && descriptor->byteorder != kNative) return -1;
    if (descriptor->type_num == py::detail::npy_api::NPY_FLOAT_) return FASTOPT_FLOAT32;
    if (descriptor->type_num == py::detail::npy_api::NPY_DOUBLE_) return FASTOPT_FLOAT64;
    return -1;
  }

 private:
  static constexpr char kNative = __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? '<' : '>';
  const py::detail::PyArray_Proxy& array_;
};

}  // namespace fastopt::bindings
