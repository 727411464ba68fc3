// An array or tensor of the caller's, as it was when a plan was bound to its memory.
#pragma once
#include <pybind11/pybind11.h>

#include <utility>
#include <vector>

#include "python/arrays.h"
#include "python/gil.h"
#include "python/tensors.h"

namespace fastopt::python {

// Notices that the object no longer has the memory, the dtype, the shape or the strides that it had, or that it may no
// longer be written to.  An ndarray that is a view is watched together with the array that has the memory.  Objects
// that give their memory in another way are not looked at again.
class Owner {
 public:
  Owner(py::object object, bool written) : object_(std::move(object)), written_(written) {
    TensorReader reader;
    dlpack::Tensor tensor;
    if (ArrayView::is_instance(object_.ptr())) {
      const ArrayView view(object_.ptr());
      note(view, shape_);
      data_ = view.data();
      descriptor_ = py::reinterpret_borrow<py::object>(view.descriptor());
      PyObject* base = view.base();
      while (base && ArrayView::is_instance(base) && ArrayView(base).base()) base = ArrayView(base).base();
      if (base && ArrayView::is_instance(base)) memory_ = {base, ArrayView(base).data(), bytes(ArrayView(base))};
    } else if (reader.read(object_.ptr(), tensor)) {
      is_tensor_ = true;
      note(tensor, shape_);
      data_ = data_of(tensor);
      type_ = {tensor.code, tensor.bits};
    } else {
      object_ = Kept(py::none());
    }
  }

  bool holds(TensorReader& reader) const {
    if (object_.is_none()) return true;
    return is_tensor_ ? tensor_holds(reader) : array_holds();
  }

 private:
  using Numbers = std::vector<int64_t>;  // the shape, then the strides

  static void note(const ArrayView& view, Numbers& numbers) {
    numbers.assign(view.shape(), view.shape() + view.dimensions());
    numbers.insert(numbers.end(), view.strides(), view.strides() + view.dimensions());
  }
  static void note(const dlpack::Tensor& tensor, Numbers& numbers) {
    numbers.assign(tensor.shape, tensor.shape + tensor.dimensions);
    if (tensor.strides) numbers.insert(numbers.end(), tensor.strides, tensor.strides + tensor.dimensions);
  }
  static const void* data_of(const dlpack::Tensor& tensor) {
    return static_cast<const char*>(tensor.data) + tensor.byte_offset;
  }
  static int64_t bytes(const ArrayView& view) { return view.length() * view.element_size(); }

  // A loop, since a call of memcmp takes longer than the few numbers of most shapes.
  template <class Number> bool same(const Number* numbers, size_t count, size_t first) const {
    for (size_t i = 0; i < count; ++i) {
      if (numbers[i] != shape_[first + i]) return false;
    }
    return true;
  }

  bool array_holds() const {
    const ArrayView view(object_.ptr());
    const auto count = static_cast<size_t>(view.dimensions());
    if (view.data() != data_ || 2 * count != shape_.size() || (written_ && !view.writable())) return false;
    if (!same(view.shape(), count, 0) || !same(view.strides(), count, count)) return false;
    if (view.descriptor() != descriptor_.ptr() && !same_dtype(view)) return false;
    if (!memory_.base) return true;
    const ArrayView base(memory_.base);
    return base.data() == memory_.data && bytes(base) == memory_.bytes;
  }

  // Another object may be the same dtype.
  bool same_dtype(const ArrayView& view) const {
    const int same = PyObject_RichCompareBool(view.descriptor(), descriptor_.ptr(), Py_EQ);
    if (same < 0) PyErr_Clear();
    return same == 1;
  }

  bool tensor_holds(TensorReader& reader) const {
    dlpack::Tensor tensor;
    if (!reader.read(object_.ptr(), tensor) || data_of(tensor) != data_) return false;
    if (std::pair<int, int>{tensor.code, tensor.bits} != type_) return false;
    const auto count = static_cast<size_t>(tensor.dimensions);
    if (shape_.size() != (tensor.strides ? 2 * count : count)) return false;
    return same(tensor.shape, count, 0) && (!tensor.strides || same(tensor.strides, count, count));
  }

  Kept object_;  // None: not looked at
  bool written_;
  bool is_tensor_ = false;
  const void* data_ = nullptr;
  Numbers shape_;
  std::pair<int, int> type_;  // a tensor's code and bits
  py::object descriptor_;     // an array's
  struct {
    PyObject* base;  // which the array keeps alive
    const void* data;
    int64_t bytes;
  } memory_{};
};

}  // namespace fastopt::python
