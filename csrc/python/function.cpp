#include "python/function.h"

#include <pybind11/stl.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "python/fast_method.h"
#include "python/gil.h"
#include "python/grad_format.h"
#include "python/numbers.h"
#include "python/own_memory.h"
#include "python/plan.h"

namespace fastopt::python {
namespace {

// Takes a step of one tensor if each argument is plainly right: arrays of NumPy that fit, numbers in their ranges, and
// for all else the very objects that Python has taken before.  Any other call is left to Python, which words the
// errors.
class Function {
 public:
  // `arguments`: the names in order with their defaults, None for those that a call must give.  By position or by name:
  // param, grad, the rule's slots, its running scalars.  By name: `step`, the hyperparameters, `grad_scale`.
  // `numbers`: rows of `Rule.numbers`.  `ranges`: the least and the largest value of each running scalar.
  Function(const std::string& rule, const py::dict& arguments, const py::list& numbers,
           std::vector<std::pair<double, double>> ranges)
      : rule_(fastopt_find_rule(rule.c_str())), row_(fastopt_rule_at(rule_)), ranges_(std::move(ranges)) {
    if (!row_) throw py::value_error("no rule named " + rule);
    for (const auto& [name, value] : arguments) {
      names_.push_back(py::reinterpret_borrow<py::object>(name));
      defaults_.push_back(py::reinterpret_borrow<py::object>(value));
    }
    running_ = kSlots + row_->slot_count;
    step_ = running_ + row_->running_count;
    scale_ = names_.size() - 1;
    if (names_.size() > kMost || step_ >= scale_ || ranges_.size() != static_cast<size_t>(row_->running_count))
      throw py::value_error("not the arguments of this rule");
    for (const py::handle entry : numbers)
      numbers_.emplace_back(index_of(py::cast<py::tuple>(entry)[0]), Number(entry));
    for (size_t i = step_ + 1; i < scale_; ++i) {
      const auto is_own = [i](const auto& each) { return each.first == i; };
      if (std::none_of(numbers_.begin(), numbers_.end(), is_own)) others_.push_back(i);
    }
  }

  // Takes the step; false, with nothing done, unless all is plainly right.
  bool step(PyObject* args, PyObject* kwargs) {
    PyObject* given[kMost];
    return bind(args, kwargs, given) && step_of(given);
  }

  // Python has taken a call with these arguments: from now on what is no number in them is known.
  void learn(const py::dict& arguments, double lr, double weight_decay, bool decoupled, double l1, bool maximize,
             const std::vector<double>& hyperparameters) {
    Known known{{}, 0, {rule_, maximize, decoupled, lr, weight_decay, l1, {}}, {}};
    if (hyperparameters.size() != static_cast<size_t>(row_->hyperparameter_count))
      throw py::value_error("wrong number of hyperparameters");
    std::copy(hyperparameters.begin(), hyperparameters.end(), known.group.hyperparameters);
    for (const size_t i : others_) known.others.push_back(arguments[names_[i]]);
    double values[kMostNumbers];
    for (const auto& [i, number] : numbers_) {
      if (!number.read(py::object(arguments[names_[i]]).ptr(), values, number_of)) return;
      known.zeros = noted(known.zeros, number, values);
    }
    const fastopt_variant& variant = row_->variants[fastopt_variant_of(&known.group)];
    for (int32_t k = 0; k < variant.slot_count; ++k) known.used[variant.slots[k]] = true;
    if (known_.size() == kMostKnown) known_.erase(known_.begin());
    known_.push_back(std::move(known));
  }

 private:
  static constexpr size_t kParam = 0, kGrad = 1, kSlots = 2, kMost = 64, kMostKnown = 8;

  // What is the same in many calls: the objects that are no numbers, and which numbers are 0.
  struct Known {
    std::vector<py::object> others;
    uint32_t zeros;
    fastopt_group group;  // of which the numbers are replaced
    bool used[FASTOPT_MAX_SLOTS];
  };

  static uint32_t noted(uint32_t zeros, const Number& number, const double* values) {
    for (int i = 0; number.steady && i < number.count; ++i) zeros = zeros << 1 | (values[i] == 0);
    return zeros;
  }

  // The index of an argument, or the number of all.
  size_t index_of(py::handle name) const {
    const auto same = [name](const py::object& own) { return own.is(name); };
    const auto equal = [name](const py::object& own) { return PyUnicode_Compare(own.ptr(), name.ptr()) == 0; };
    auto found = std::find_if(names_.begin(), names_.end(), same);
    if (found == names_.end()) found = std::find_if(names_.begin(), names_.end(), equal);
    return static_cast<size_t>(found - names_.begin());
  }

  // Sorts what came by position and by name, and puts defaults in the place of the rest.
  bool bind(PyObject* args, PyObject* kwargs, PyObject** given) const {
    const auto count = static_cast<size_t>(PyTuple_GET_SIZE(args));
    if (count > step_) return false;
    for (size_t i = 0; i < names_.size(); ++i) {
      given[i] = i < count ? PyTuple_GET_ITEM(args, i) : defaults_[i].ptr();
    }
    PyObject *name, *value;
    for (Py_ssize_t at = 0; PyDict_Next(kwargs, &at, &name, &value);) {
      const size_t i = index_of(name);
      if (i < count || i == names_.size()) return false;
      given[i] = value;
    }
    return true;
  }

  // The group of a call, if Python knows its like.
  bool read_group(PyObject** given, fastopt_group& group, const bool*& used) const {
    double values[FASTOPT_MAX_HYPERPARAMETERS + 3][kMostNumbers];
    uint32_t zeros = 0;
    for (size_t k = 0; k < numbers_.size(); ++k) {
      const auto& [i, number] = numbers_[k];
      if (!number.read(given[i], values[k], number_of)) return false;
      zeros = noted(zeros, number, values[k]);
    }
    const auto fits = [&](const Known& known) {
      if (known.zeros != zeros) return false;
      for (size_t k = 0; k < others_.size(); ++k) {
        if (known.others[k].ptr() != given[others_[k]]) return false;
      }
      return true;
    };
    const auto known = std::find_if(known_.begin(), known_.end(), fits);
    if (known == known_.end()) return false;
    group = known->group;
    used = known->used;
    for (size_t k = 0; k < numbers_.size(); ++k) {
      const Number& number = numbers_[k].second;
      std::copy(values[k], values[k] + number.count, &group.lr + number.place);
    }
    return true;
  }

  // The memory of an array that can be written and lies as `like`; null if it is none.
  static void* memory_of(PyObject* object, int32_t dtype, const ArrayView& like) {
    if (!ArrayView::is_array(object)) return nullptr;
    const ArrayView view(object);
    const bool fits = view.dtype() == dtype && view.same_shape(like) && view.contiguous() && view.aligned();
    return fits && view.writable() ? view.data() : nullptr;
  }

  // Points a tensor at the arrays of a call; false if one does not fit, or lies over another.
  bool read_arrays(PyObject** given, const bool* used, fastopt_tensor& tensor) const {
    if (!ArrayView::is_array(given[kParam]) || !ArrayView::is_array(given[kGrad])) return false;
    const ArrayView param(given[kParam]), grad(given[kGrad]);
    const int32_t dtype = param.dtype(), grad_dtype = grad.dtype();
    if (dtype < 0 || grad_dtype < 0 || !grad.same_shape(param) || !grad.contiguous() || !grad.aligned()) return false;
    tensor.dtype = dtype == FASTOPT_FLOAT64 ? FASTOPT_FLOAT64 : FASTOPT_FLOAT32;
    tensor.param_format = grad_format_of(tensor.dtype, dtype);
    tensor.grad_format = grad_format_of(tensor.dtype, grad_dtype);
    if (tensor.grad_format < 0) return false;
    tensor.length = param.length();
    tensor.param = memory_of(given[kParam], dtype, param);
    tensor.grad = grad.data();
    if (!tensor.param) return false;
    std::vector<Interval> taken;
    taken.reserve(kSlots + FASTOPT_MAX_SLOTS + FASTOPT_MAX_RUNNING);
    const auto take = [&taken](const void* data, int64_t bytes) {
      if (bytes) taken.emplace_back(data, bytes);
    };
    take(tensor.param, tensor.length * param.element_size());
    take(tensor.grad, tensor.length * grad.element_size());
    for (size_t k = 0; k < running_ - kSlots; ++k) {
      PyObject* const array = given[kSlots + k];
      if (!used[k] && array == Py_None) continue;
      tensor.state[k] = used[k] ? memory_of(array, tensor.dtype, param) : nullptr;
      if (!tensor.state[k]) return false;
      take(tensor.state[k], tensor.length * ArrayView::size_of(tensor.dtype));
    }
    for (size_t k = 0; k < ranges_.size(); ++k) {
      const double* const number = carried(given[running_ + k]);
      if (!number) return false;
      tensor.running[k] = *number;
      const bool in_range = ranges_[k].first <= *number && *number <= ranges_[k].second;
      if (tensor.steps > 0 && !in_range) return false;
      take(number, sizeof *number);
    }
    return sort_disjoint(taken);
  }

  // The memory of a running scalar; null if the object is no array that can have one.
  static double* carried(PyObject* object) {
    if (!ArrayView::is_array(object)) return nullptr;
    const ArrayView view(object);
    const bool fits = view.dtype() == FASTOPT_FLOAT64 && view.dimensions() == 0 && view.aligned() && view.writable();
    return fits ? static_cast<double*>(view.data()) : nullptr;
  }

  bool step_of(PyObject** given) const {
    constexpr double kEnd = 0x1p53;  // as check_count's
    double number, scale;
    if (!PyLong_CheckExact(given[step_]) || !number_of(given[step_], number) || number < 1 || number >= kEnd)
      return false;
    if (!number_of(given[scale_], scale) || !is_plain(scale)) return false;
    fastopt_tensor tensor{};
    tensor.steps = static_cast<int64_t>(number) - 1;
    fastopt_group group;
    const bool* used;
    if (!read_group(given, group, used) || !read_arrays(given, used, tensor)) return false;
    const fastopt_plan plan = plan_of(&tensor, 1, &group, 1, 0);
    const fastopt_options options{sizeof options, scale, 0, 0, 0, 0, 0, 0, nullptr};
    fastopt_status status;
    {
      const ReleasedGil release;
      status = fastopt_step(&plan, &options, nullptr);
    }
    raise_on(status);
    for (size_t k = 0; k < ranges_.size(); ++k) *carried(given[running_ + k]) = tensor.running[k];
    return true;
  }

  const int32_t rule_;
  const fastopt_rule* const row_;
  std::vector<py::object> names_, defaults_;
  std::vector<std::pair<size_t, Number>> numbers_;  // each with the index of its argument
  std::vector<size_t> others_;                      // the hyperparameters that are no plain numbers
  std::vector<std::pair<double, double>> ranges_;   // of the running scalars
  std::vector<Known> known_;                        // the last calls that Python has taken, each of another kind
  size_t running_, step_, scale_;                   // where these arguments begin, after the slots'
};

PyObject* step(Function& function, PyObject* const* arguments) {
  return PyBool_FromLong(function.step(arguments[0], arguments[1]));
}

}  // namespace

void register_function(py::module_& module) {
  py::class_<Function> type(module, "Function", "A rule's function: the calls that are plainly right.");
  define_fast<Function, step, 2>(type, "step",
                                 "step($self, args, kwargs, /)\n--\n\n"
                                 "Takes the step; False, with nothing done, unless all is plainly right.");
  type.def(py::init<const std::string&, const py::dict&, const py::list&, std::vector<std::pair<double, double>>>(),
           py::arg("rule"), py::arg("arguments"), py::arg("numbers"), py::arg("ranges"))
      .def("learn", &Function::learn, py::arg("arguments"), py::arg("lr"), py::arg("weight_decay"),
           py::arg("decoupled"), py::arg("l1"), py::arg("maximize"), py::arg("hyperparameters"));
}

}  // namespace fastopt::python
