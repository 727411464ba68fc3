#include "python/tensors.h"

#include <pybind11/stl.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

namespace fastopt::python {
namespace {

// Whether parameters and their state are still the same tensors over the same memory.  It holds no references, which
// would hide circles from the garbage collector: whoever has it keeps what it was made of.
class Watch {
 public:
  // `state` maps parameters to dicts; `keys` are those of a dict's entries that matter.
  Watch(const py::list& params, const py::dict& state, std::vector<py::object> keys) : keys_(std::move(keys)) {
    walk(params, state, known_);
    PyObject *param, *entry;
    for (Py_ssize_t i = 0; PyDict_Next(state.ptr(), &i, &param, &entry);) {
      if (PyDict_Check(entry)) entries_.push_back(entry);
    }
  }

  bool holds(const py::list& params, const py::dict& state) {
    walk(params, state, seen_);
    return seen_ == known_;
  }

 private:
  using Places = std::vector<const void*>;

  void walk(const py::list& params, const py::dict& state, Places& places) {
    places.clear();
    TensorReader reader;
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(params.ptr()); ++i)
      note(reader, PyList_GET_ITEM(params.ptr(), i), places);
    PyObject *param, *entry;
    size_t count = 0;
    for (Py_ssize_t i = 0; PyDict_Next(state.ptr(), &i, &param, &entry); ++count) {
      if (count + kDictsAhead < entries_.size()) look_into(entries_[count + kDictsAhead]);
      places.push_back(param);
      places.push_back(entry);
      if (!PyDict_Check(entry)) continue;
      for (const py::object& key : keys_) note(reader, PyDict_GetItemWithError(entry, key.ptr()), places);
    }
    PyErr_Clear();
  }

  // A tensor that is kept in others has them as `parts`.
  void note(TensorReader& reader, PyObject* object, Places& places) {
    look_ahead(places.size());
    places.push_back(object);
    if (!object || object == Py_None || note_memory(reader, object, places)) return;
    PyObject* const parts = PyObject_GetAttr(object, parts_.ptr());
    PyErr_Clear();
    for (Py_ssize_t i = 0; parts && PyTuple_Check(parts) && i < PyTuple_GET_SIZE(parts); ++i) {
      note_memory(reader, PyTuple_GET_ITEM(parts, i), places);
    }
    Py_XDECREF(parts);
  }

  static bool note_memory(TensorReader& reader, PyObject* object, Places& places) {
    dlpack::Tensor tensor;
    if (!reader.read(object, tensor)) return false;
    places.push_back(static_cast<char*>(tensor.data) + tensor.byte_offset);
    places.push_back(tensor.shape);  // within the tensor's own memory, and so a hint for look_ahead
    places.push_back(reinterpret_cast<const void*>(layout_of(tensor)));
    return true;
  }

  static void look_into(PyObject* dict) {
    const char* const keys = reinterpret_cast<const char*>(reinterpret_cast<PyDictObject*>(dict)->ma_keys);
    for (int line = 0; line < 4; ++line) __builtin_prefetch(keys + 64L * line);
  }

  // Fetches what the walk will read soon, if it finds what it found before: objects of a big model are not in the
  // cache.
  void look_ahead(size_t now) const {
    constexpr size_t kAhead = 64, kMost = 5;
    for (size_t i = now + kAhead; i < std::min(now + kAhead + kMost, known_.size()); ++i) __builtin_prefetch(known_[i]);
  }

  // Dtype, shape and strides in one number: the same memory may come to be read in another order.
  static uintptr_t layout_of(const dlpack::Tensor& tensor) {
    uint64_t hash = (uint64_t{tensor.code} << 8 | tensor.bits) << 8 | static_cast<uint32_t>(tensor.dimensions);
    const auto add = [&hash](int64_t value) {
      hash = (hash ^ static_cast<uint64_t>(value)) * 0x9E3779B97F4A7C15U + (hash >> 29);
    };
    for (int32_t i = 0; i < tensor.dimensions; ++i) {
      add(tensor.shape[i]);
      if (tensor.strides) add(tensor.strides[i]);
    }
    return static_cast<uintptr_t>(hash);
  }

  py::str parts_{"parts"};
  std::vector<py::object> keys_;
  Places known_, seen_;
  static constexpr size_t kDictsAhead = 4;
  std::vector<PyObject*> entries_;  // the dicts, for look_into: the owner keeps these too
};

constexpr size_t kAhead = 16;

// The attribute `grad` of each, and how many are not None.
std::pair<py::list, size_t> gradients_of(const py::list& params) {
  const auto count = static_cast<size_t>(PyList_GET_SIZE(params.ptr()));
  const py::str name("grad");
  py::list grads(count);
  size_t given = 0;
  for (size_t i = 0; i < count; ++i) {
    if (i + kAhead < count) __builtin_prefetch(PyList_GET_ITEM(params.ptr(), i + kAhead));
    PyObject* const grad = PyObject_GetAttr(PyList_GET_ITEM(params.ptr(), i), name.ptr());
    if (!grad) throw py::error_already_set();
    given += grad != Py_None;
    PyList_SET_ITEM(grads.ptr(), i, grad);
  }
  return {grads, given};
}

// NumPy's own ways to it make a dict or an object: with many small arrays that is most of the time to bind them.
uintptr_t address(const py::array& array) { return reinterpret_cast<uintptr_t>(array.data()); }

}  // namespace

void register_tensors(py::module_& module) {
  py::class_<Watch>(module, "Watch",
                    "Whether parameters and their state are still the same tensors over the same memory.")
      .def(py::init<const py::list&, const py::dict&, std::vector<py::object>>(), py::arg("params"), py::arg("state"),
           py::arg("keys"))
      .def("holds", &Watch::holds, py::arg("params"), py::arg("state"));
  module.def("gradients_of", gradients_of, py::arg("params"));
  module.def("address", address, py::arg("array").noconvert());
}

}  // namespace fastopt::python
