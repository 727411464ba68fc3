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
  Watch(const py::list& params, const py::dict& state, const std::vector<py::object>& keys) {
    for (const py::handle param : params) record(param.ptr());
    param_count_ = known_.size();
    PyObject *param, *entry, *key, *value;
    for (Py_ssize_t i = 0; PyDict_Next(state.ptr(), &i, &param, &entry);) {
      Entry& kept = entries_.emplace_back(Entry{param, entry, items_.size(), 0});
      for (Py_ssize_t k = 0; PyDict_Check(entry) && PyDict_Next(entry, &k, &key, &value); ++kept.count) {
        const auto equals = [key](const py::object& own) { return own.equal(py::handle(key)); };
        const bool matters = std::any_of(keys.begin(), keys.end(), equals);
        items_.push_back({key, matters});
        if (matters) record(value);
      }
    }
    PyErr_Clear();
  }

  // All that was seen is compared with what is there now, in the same order.
  bool holds(const py::list& params, const py::dict& state) {
    at_ = 0;
    const bool same = params_hold(params) && state_holds(state) && at_ == known_.size();
    PyErr_Clear();
    return same;
  }

 private:
  // A tensor, or whatever stood in its place, and its memory.
  struct Place {
    PyObject* object;
    const void* data;
    const int64_t* shape;  // within the tensor's own memory, which look_ahead() therefore fetches too
    uint64_t layout;

    bool operator==(const Place& other) const {
      return object == other.object && data == other.data && shape == other.shape && layout == other.layout;
    }
  };

  // A key of a parameter's dict.  Going through its keys in order takes a third of the time of looking each up.
  struct Item {
    PyObject* key;
    bool matters;
  };

  struct Entry {
    PyObject *param, *dict;
    size_t begin, count;  // of its items
  };

  bool params_hold(const py::list& params) {
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(params.ptr()); ++i) {
      if (!still(PyList_GET_ITEM(params.ptr(), i))) return false;
    }
    return at_ == param_count_;
  }

  bool state_holds(const py::dict& state) {
    PyObject *param, *dict;
    size_t i = 0;
    for (Py_ssize_t k = 0; PyDict_Next(state.ptr(), &k, &param, &dict); ++i) {
      if (i == entries_.size() || param != entries_[i].param || dict != entries_[i].dict) return false;
      if (i + kDictsAhead < entries_.size()) look_into(entries_[i + kDictsAhead].dict);
      if (i + 4 * kDictsAhead < entries_.size()) __builtin_prefetch(entries_[i + 4 * kDictsAhead].dict);
      if (PyDict_Check(dict) && !entry_holds(entries_[i])) return false;
    }
    return i == entries_.size();
  }

  bool entry_holds(const Entry& entry) {
    PyObject *key, *value;
    const Item* item = items_.data() + entry.begin;
    if (static_cast<size_t>(PyDict_GET_SIZE(entry.dict)) != entry.count) return false;
    for (Py_ssize_t k = 0; PyDict_Next(entry.dict, &k, &key, &value); ++item) {
      if (key != item->key || (item->matters && !still(value))) return false;
    }
    return true;
  }

  bool still(PyObject* object) {
    look_ahead();
    return each_place(object, [this](const Place& place) {
      if (at_ == known_.size()) return false;
      const Place& known = known_[at_];
      ++at_;
      return known == place;
    });
  }

  void record(PyObject* object) {
    each_place(object, [this](const Place& place) {
      known_.push_back(place);
      return true;
    });
  }

  // Calls `body` with the place of a tensor; one that is kept in others has them as `parts`.  False as soon as it is.
  template <class Body> bool each_place(PyObject* object, Body body) {
    Place place{object, nullptr, nullptr, 0};
    if (object == Py_None || read(object, place)) return body(place);
    if (!body(place)) return false;
    PyObject* const parts = PyObject_GetAttr(object, parts_.ptr());
    PyErr_Clear();
    bool all = true;
    for (Py_ssize_t i = 0; all && parts && PyTuple_Check(parts) && i < PyTuple_GET_SIZE(parts); ++i) {
      Place part{PyTuple_GET_ITEM(parts, i), nullptr, nullptr, 0};
      read(part.object, part);
      all = body(part);
    }
    Py_XDECREF(parts);
    return all;
  }

  bool read(PyObject* object, Place& place) {
    dlpack::Tensor tensor;
    if (!reader_.read(object, tensor)) return false;
    place.data = static_cast<char*>(tensor.data) + tensor.byte_offset;
    place.shape = tensor.shape;
    place.layout = layout_of(tensor);
    return true;
  }

  static void look_into(PyObject* dict) {
    const char* const keys = reinterpret_cast<const char*>(reinterpret_cast<PyDictObject*>(dict)->ma_keys);
    for (int line = 0; line < 4; ++line) __builtin_prefetch(keys + 64L * line);
  }

  // Fetches what will be read soon, if it is what it was: objects of a big model are not in the cache.  A tensor has
  // its shape in the middle of what is read of it.
  void look_ahead() const {
    if (at_ + kPlacesAhead >= known_.size()) return;
    const Place& place = known_[at_ + kPlacesAhead];
    __builtin_prefetch(place.object);
    const char* const shape = reinterpret_cast<const char*>(place.shape);
    for (const int line : {-64, 0, 64}) __builtin_prefetch(shape + line);
    __builtin_prefetch(place.data);
  }

  // Dtype, shape and strides in one number: the same memory may come to be read in another order.
  static uint64_t layout_of(const dlpack::Tensor& tensor) {
    uint64_t hash = (uint64_t{tensor.code} << 8 | tensor.bits) << 8 | static_cast<uint32_t>(tensor.dimensions);
    const auto add = [&hash](int64_t value) {
      hash = (hash ^ static_cast<uint64_t>(value)) * 0x9E3779B97F4A7C15U + (hash >> 29);
    };
    for (int32_t i = 0; i < tensor.dimensions; ++i) {
      add(tensor.shape[i]);
      if (tensor.strides) add(tensor.strides[i]);
    }
    return hash;
  }

  static constexpr size_t kDictsAhead = 4, kPlacesAhead = 16;
  py::str parts_{"parts"};
  TensorReader reader_;
  std::vector<Place> known_;
  std::vector<Item> items_;
  std::vector<Entry> entries_;
  size_t param_count_ = 0, at_ = 0;
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
      .def(py::init<const py::list&, const py::dict&, const std::vector<py::object>&>(), py::arg("params"),
           py::arg("state"), py::arg("keys"))
      .def("holds", &Watch::holds, py::arg("params"), py::arg("state"));
  module.def("gradients_of", gradients_of, py::arg("params"));
  module.def("address", address, py::arg("array").noconvert());
}

}  // namespace fastopt::python
