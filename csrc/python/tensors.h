// Tensors of frameworks that give their memory by DLPack's exchange interface: torch from 2.10 on.
#pragma once
#include <pybind11/pybind11.h>

#include <stdint.h>

#include <algorithm>
#include <functional>
#include <numeric>

#include "python/arrays.h"

namespace fastopt::python {

// What DLPack 1 (dmlc.github.io/dlpack) fixes in memory, as far as it is read here.
namespace dlpack {

constexpr int32_t kCpu = 1;
constexpr uint8_t kFloat = 2, kBfloat = 4;

struct Tensor {
  void* data;
  int32_t device_type, device_id;
  int32_t dimensions;
  uint8_t code, bits;
  uint16_t lanes;
  int64_t* shape;
  int64_t* strides;  // in elements; null: C-contiguous
  uint64_t byte_offset;
};

struct ExchangeApi {
  uint32_t major, minor;
  ExchangeApi* previous;
  void *allocate, *from_object, *to_object;
  int (*tensor_from_object)(void* object, Tensor* out);  // lends; null if the type has none
  void* current_stream;
};

}  // namespace dlpack

// Reads tensors; remembers the interface of the last type, as most have one.
class TensorReader {
 public:
  // False if `object` gives no memory that way; the interface gives null for a tensor without memory of its own.
  bool read(PyObject* object, dlpack::Tensor& tensor) {
    if (Py_TYPE(object) != type_) look_up(Py_TYPE(object));
    if (!api_) return false;
    if (api_->tensor_from_object(object, &tensor) == 0) return has_memory(tensor) || is_empty(tensor);
    PyErr_Clear();
    return false;
  }

  // Whether autograd has it in hand, or it stands for minus its memory, as torch's may: for Python to see to.
  bool requires_grad(PyObject* object) const { return is_true(PyObject_GetAttr(object, requires_grad_.ptr())); }
  bool is_negative(PyObject* object) const { return is_true(PyObject_CallMethodNoArgs(object, is_neg_.ptr())); }

 private:
  // A tensor whose storage was freed has a null pointer, or what its offset makes of one.
  static bool has_memory(const dlpack::Tensor& tensor) {
    constexpr uintptr_t kFirstPage = 4096;  // which no process has
    return reinterpret_cast<uintptr_t>(tensor.data) >= kFirstPage;
  }

  static bool is_empty(const dlpack::Tensor& tensor) {
    return std::any_of(tensor.shape, tensor.shape + tensor.dimensions, [](int64_t length) { return length == 0; });
  }

  // Another error than a missing attribute is one of the object's own code, and goes on.
  static bool is_true(PyObject* value) {
    if (!value && !PyErr_ExceptionMatches(PyExc_AttributeError)) throw py::error_already_set();
    PyErr_Clear();
    Py_XDECREF(value);
    return value == Py_True;
  }

  void look_up(PyTypeObject* type) {
    type_ = type;
    api_ = nullptr;
    PyObject* const capsule = PyObject_GetAttrString(reinterpret_cast<PyObject*>(type), "__dlpack_c_exchange_api__");
    if (capsule && PyCapsule_CheckExact(capsule)) {
      api_ = static_cast<dlpack::ExchangeApi*>(PyCapsule_GetPointer(capsule, "dlpack_exchange_api"));
      while (api_ && api_->major > 1) api_ = api_->previous;
      if (api_ && (api_->major != 1 || !api_->tensor_from_object || computes(type))) api_ = nullptr;
    }
    PyErr_Clear();
    Py_XDECREF(capsule);
  }

  // Whether a subclass computes by itself, as torch's FakeTensor and DTensor do, so that its memory is not its values:
  // it then has another `__torch_dispatch__` than the class that gave it the interface.
  static bool computes(PyTypeObject* type) {
    constexpr const char* kDispatch = "__torch_dispatch__";
    PyObject* const own = PyObject_GetAttrString(reinterpret_cast<PyObject*>(type), kDispatch);
    bool same = !own;
    for (Py_ssize_t i = 0; own && i < PyTuple_GET_SIZE(type->tp_mro); ++i) {
      PyObject* const base = PyTuple_GET_ITEM(type->tp_mro, i);
      PyObject* const dict = reinterpret_cast<PyTypeObject*>(base)->tp_dict;
      if (!dict || !PyDict_GetItemString(dict, "__dlpack_c_exchange_api__")) continue;
      PyObject* const first = PyObject_GetAttrString(base, kDispatch);
      same = own == first;
      Py_XDECREF(first);
    }
    PyErr_Clear();
    Py_XDECREF(own);
    return !same;
  }

  PyTypeObject* type_ = nullptr;
  dlpack::ExchangeApi* api_ = nullptr;
  py::str requires_grad_{"requires_grad"}, is_neg_{"is_neg"};
};

// A gradient that came as a tensor on the CPU.
class TensorView {
 public:
  // False if a step cannot take the object as it is; if `strict`, also if it requires grad.
  bool look(TensorReader& reader, PyObject* object, bool strict) {
    return reader.read(object, tensor_) && tensor_.device_type == dlpack::kCpu && tensor_.lanes == 1 && dtype() >= 0 &&
           reinterpret_cast<uintptr_t>(data()) % (tensor_.bits / 8) == 0 && !reader.is_negative(object) &&
           !(strict && reader.requires_grad(object));
  }

  void* data() const { return static_cast<char*>(tensor_.data) + tensor_.byte_offset; }

  int64_t length() const {
    return std::accumulate(tensor_.shape, tensor_.shape + tensor_.dimensions, int64_t{1}, std::multiplies<>());
  }

  // A fastopt_dtype, or -1.
  int32_t dtype() const {
    if (tensor_.code == dlpack::kBfloat) return tensor_.bits == 16 ? FASTOPT_BFLOAT16 : -1;
    if (tensor_.code != dlpack::kFloat) return -1;
    return tensor_.bits == 32   ? FASTOPT_FLOAT32
           : tensor_.bits == 64 ? FASTOPT_FLOAT64
           : tensor_.bits == 16 ? FASTOPT_FLOAT16
                                : -1;
  }

  // Means what ArrayView's does.
  bool same_layout(const ArrayView& other) const {
    if (tensor_.dimensions != other.dimensions()) return false;
    for (int i = 0; i < tensor_.dimensions; ++i) {
      if (tensor_.shape[i] != other.shape()[i]) return false;
    }
    if (!tensor_.strides) return other.contiguous();
    if (other.length() == 0) return true;
    for (int i = 0; i < tensor_.dimensions; ++i) {
      if (tensor_.shape[i] != 1 && tensor_.strides[i] != other.stride(i)) return false;
    }
    return true;
  }

 private:
  dlpack::Tensor tensor_;
};

void register_tensors(py::module_& module);

}  // namespace fastopt::python
