#include "plan.h"

#include <pybind11/stl.h>

#include <algorithm>

namespace fastopt::bindings {
namespace {

void raise_on(fastopt_status status) {
  if (status == FASTOPT_NO_MEMORY) throw std::bad_alloc();
  if (status != FASTOPT_OK) throw py::value_error(fastopt_status_message(status));
}

}  // namespace

Plan::Plan(const std::string& rule, const py::list& tensors, int64_t groups) {
  const int32_t index = fastopt_find_rule(rule.c_str());
  if (index < 0) throw py::value_error("no rule named " + rule);
  groups_.resize(groups);
  for (fastopt_group& group : groups_) group = {index, 0, 0, 0, 0, 0, {}};
  for (const py::handle entry : tensors) {
    const auto [param, state, group] = py::cast<std::tuple<py::object, std::vector<py::object>, int32_t>>(entry);
    fastopt_tensor tensor{};
    if (state.size() > FASTOPT_MAX_SLOTS) throw py::value_error("too many state arrays");
    std::vector<py::object> all{param};
    all.insert(all.end(), state.begin(), state.end());
    for (size_t k = 0; k < all.size(); ++k) {
      if (!ArrayView::is_array(all[k].ptr())) throw py::type_error("expected ndarrays");
      const ArrayView view(all[k].ptr()), first(param.ptr());
      if (!view.contiguous() || !view.writable() || view.dtype() < 0 || view.dtype() != first.dtype() ||
          !view.same_shape(first)) {
        throw py::value_error("expected contiguous, writable arrays of one shape and dtype");
      }
      (k == 0 ? tensor.param : tensor.state[k - 1]) = view.data();
      arrays_.push_back(all[k]);
    }
    const ArrayView view(param.ptr());
    tensor.length = view.length();
    tensor.dtype = view.dtype();
    tensor.group = group;
    if (group < 0 || group >= groups) throw py::value_error("no such group");
    tensors_.push_back(tensor);
    params_.push_back(param);
    const auto number = static_cast<int64_t>(tensors_.size()) - 1;
    for (size_t k = 0; k < all.size() && tensor.length; ++k)
      own_.push_back(memory_of(number, k == 0 ? tensor.param : tensor.state[k - 1]));
  }
  std::sort(own_.begin(), own_.end());
  const auto meet = [](const Interval& a, const Interval& b) { return b.begin < a.end; };
  if (std::adjacent_find(own_.begin(), own_.end(), meet) != own_.end()) throw py::value_error("arrays overlap");
}

// With the GIL held.  Whoever has the mutex may be waiting for the GIL, so this does not wait for the mutex while
// holding it.
std::unique_lock<std::mutex> Plan::lock() {
  std::unique_lock<std::mutex> lock(mutex_, std::try_to_lock);
  if (!lock) {
    const py::gil_scoped_release release;
    lock.lock();
  }
  return lock;
}

void Plan::set_group(int64_t index, double lr, double weight_decay, bool decoupled, double l1, bool maximize,
                     const std::vector<double>& hyperparameters) {
  const auto guard = lock();
  fastopt_group& group = groups_.at(index);
  const auto expected = static_cast<size_t>(fastopt_rule_at(group.rule)->hyperparameter_count);
  if (hyperparameters.size() != expected) throw py::value_error("wrong number of hyperparameters");
  group.lr = lr;
  group.weight_decay = weight_decay;
  group.decoupled_weight_decay = decoupled;
  group.l1 = l1;
  group.maximize = maximize;
  std::copy(hyperparameters.begin(), hyperparameters.end(), group.hyperparameters);
}

Plan::Interval Plan::memory_of(int64_t index, void* data) const {
  const fastopt_tensor& tensor = tensors_[index];
  const auto begin = reinterpret_cast<uintptr_t>(data);
  return {begin, begin + tensor.length * (tensor.dtype == FASTOPT_FLOAT64 ? sizeof(double) : sizeof(float))};
}

bool Plan::overlaps_own(Interval memory) const {
  const auto next = std::upper_bound(own_.begin(), own_.end(), memory);
  if (next != own_.end() && next->begin < memory.end) return true;
  return next != own_.begin() && std::prev(next)->end > memory.begin;
}

int64_t Plan::take_one(int64_t index, PyObject* grad) {
  fastopt_tensor& tensor = tensors_[index];
  tensor.grad = nullptr;
  if (grad == Py_None) return kFine;
  if (!ArrayView::is_array(grad)) return index;
  const ArrayView view(grad);
  if (view.dtype() != tensor.dtype || !view.contiguous() || !view.same_shape(ArrayView(params_[index].ptr())))
    return index;
  if (tensor.length && overlaps_own(memory_of(index, view.data()))) return index;
  tensor.grad = view.data();
  return kFine;
}

// The index of a gradient that overlaps another.  The same gradients as last time are not looked at again.
int64_t Plan::find_overlap() {
  if (tensors_.size() < 2) return kFine;
  const auto same = [](const fastopt_tensor& tensor, void* known) { return tensor.grad == known; };
  if (std::equal(tensors_.begin(), tensors_.end(), disjoint_.begin(), disjoint_.end(), same)) return kFine;
  intervals_.clear();
  for (size_t i = 0; i < tensors_.size(); ++i) {
    if (tensors_[i].grad && tensors_[i].length) intervals_.push_back(memory_of(i, tensors_[i].grad));
  }
  std::sort(intervals_.begin(), intervals_.end());
  for (size_t k = 1; k < intervals_.size(); ++k) {
    if (intervals_[k].begin >= intervals_[k - 1].end) continue;
    const auto at = [&](const fastopt_tensor& t) { return reinterpret_cast<uintptr_t>(t.grad) == intervals_[k].begin; };
    // The later of the two in the list: that is the one that should not have come.
    return std::find_if(tensors_.rbegin(), tensors_.rend(), at).base() - tensors_.begin() - 1;
  }
  disjoint_.clear();
  for (const fastopt_tensor& tensor : tensors_) disjoint_.push_back(tensor.grad);
  return kFine;
}

// Points the tensors at `grads`, which `held` keeps alive.
int64_t Plan::take(const py::object& grads, std::vector<py::object>& held) {
  const size_t count = tensors_.size();
  if (PyList_Check(grads.ptr()) || PyTuple_Check(grads.ptr())) {
    if (static_cast<size_t>(PySequence_Fast_GET_SIZE(grads.ptr())) != count) return kNotUnderstood;
    PyObject** items = PySequence_Fast_ITEMS(grads.ptr());
    held.reserve(count);
    for (size_t i = 0; i < count; ++i) {
      held.push_back(py::reinterpret_borrow<py::object>(items[i]));
      if (const int64_t bad = take_one(i, items[i]); bad != kFine) return bad;
    }
    return find_overlap();
  }
  if (count != 1 || grads.is_none()) return kNotUnderstood;
  held.push_back(grads);
  return take_one(0, grads.ptr());
}

py::object Plan::bind(const py::object& grads) {
  const auto guard = lock();
  std::vector<py::object> held;
  if (const int64_t bad = take(grads, held); bad != kFine) return py::int_(bad);
  bound_.clear();
  for (const fastopt_tensor& tensor : tensors_) bound_.push_back(tensor.grad);
  bound_arrays_.swap(held);
  return py::none();
}

py::object Plan::step(const py::object& grads, double grad_scale) {
  auto guard = lock();
  std::vector<py::object> held;
  if (!grads.is_none()) {
    if (const int64_t bad = take(grads, held); bad != kFine) return py::int_(bad);
  } else if (bound_arrays_.empty() && !tensors_.empty()) {
    return py::int_(kNotUnderstood);
  } else {
    for (size_t i = 0; i < tensors_.size(); ++i) tensors_[i].grad = bound_[i];
  }
  const fastopt_plan plan{tensors_.data(), static_cast<int64_t>(tensors_.size()), groups_.data(),
                          static_cast<int64_t>(groups_.size())};
  const fastopt_options options{grad_scale};
  fastopt_status status;
  {
    const py::gil_scoped_release release;
    status = fastopt_step(&plan, &options);
    if (status == FASTOPT_OK) ++completed_;
    guard.unlock();  // before waiting for the GIL
  }
  raise_on(status);
  return py::none();
}

std::vector<int64_t> Plan::steps() {
  const auto guard = lock();
  std::vector<int64_t> result;
  for (const fastopt_tensor& tensor : tensors_) result.push_back(tensor.steps);
  return result;
}

void Plan::set_steps(const std::vector<int64_t>& steps) {
  const auto guard = lock();
  if (steps.size() != tensors_.size()) throw py::value_error("expected a count for each tensor");
  for (size_t i = 0; i < steps.size(); ++i) tensors_[i].steps = steps[i];
}

int64_t Plan::completed() {
  const auto guard = lock();
  return completed_;
}

void Plan::set_completed(int64_t steps) {
  const auto guard = lock();
  completed_ = steps;
}

void Plan::floor() {
  auto guard = lock();
  const py::gil_scoped_release release;
  const auto unlocked = std::move(guard);  // before waiting for the GIL
  for (size_t i = 0; i < bound_.size(); ++i) {
    fastopt_tensor tensor = tensors_[i];
    tensor.grad = bound_[i];
    int32_t slots = 0;
    while (slots < FASTOPT_MAX_SLOTS && tensor.state[slots]) ++slots;
    if (tensor.grad) fastopt_floor(&tensor, slots);
  }
}

void register_plan(py::module_& module) {
  py::class_<Plan>(module, "Plan", "The tensors, groups and counts that a step runs over.")
      .def(py::init<const std::string&, const py::list&, int64_t>(), py::arg("rule"), py::arg("tensors"),
           py::arg("groups"))
      .def("set_group", &Plan::set_group, py::arg("index"), py::arg("lr"), py::arg("weight_decay"),
           py::arg("decoupled"), py::arg("l1"), py::arg("maximize"), py::arg("hyperparameters"))
      .def("bind", &Plan::bind, py::arg("grads"))
      .def("step", &Plan::step, py::arg("grads"), py::arg("grad_scale"))
      .def("floor", &Plan::floor)
      .def_property("steps", &Plan::steps, &Plan::set_steps)
      .def_property("completed", &Plan::completed, &Plan::set_completed);
}

}  // namespace fastopt::bindings
