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

// Points `tensor` at a param and its state, in the order of the rule's slots, None where there is none.
void Plan::take_arrays(fastopt_tensor& tensor, const std::vector<py::object>& all) {
  const ArrayView first(all[0].ptr());
  for (size_t k = 0; k < all.size(); ++k) {
    if (k > 0 && all[k].is_none()) continue;
    if (!ArrayView::is_array(all[k].ptr())) throw py::type_error("expected ndarrays");
    const ArrayView view(all[k].ptr());
    if (!view.contiguous() || !view.writable() || view.dtype() < 0 || view.dtype() != first.dtype() ||
        !view.same_shape(first)) {
      throw py::value_error("expected contiguous, writable arrays of one shape and dtype");
    }
    (k == 0 ? tensor.param : tensor.state[k - 1]) = view.data();
    arrays_.push_back(all[k]);
  }
  tensor.length = first.length();
  tensor.dtype = first.dtype();
}

Plan::Plan(const std::string& rule, const py::list& tensors, int64_t groups) {
  const int32_t index = fastopt_find_rule(rule.c_str());
  if (index < 0) throw py::value_error("no rule named " + rule);
  if (groups < 1) throw py::value_error("expected at least one group");
  const auto slots = static_cast<size_t>(fastopt_rule_at(index)->slot_count);
  groups_.resize(groups);
  for (fastopt_group& group : groups_) group = {index, 0, 0, 0, 0, 0, {}};
  for (const py::handle entry : tensors) {
    const auto [param, state, group] = py::cast<std::tuple<py::object, std::vector<py::object>, int32_t>>(entry);
    if (state.size() != slots) throw py::value_error("expected an array or None for each slot of the rule");
    if (group < 0 || group >= groups) throw py::value_error("no such group");
    if (!ArrayView::is_array(param.ptr())) throw py::type_error("expected ndarrays");
    std::vector<py::object> all{param};
    all.insert(all.end(), state.begin(), state.end());
    fastopt_tensor tensor{};
    tensor.group = group;
    take_arrays(tensor, all);
    tensors_.push_back(tensor);
    params_.push_back(param);
    const size_t number = tensors_.size() - 1;
    if (tensor.length == 0) continue;
    own_.push_back(memory_of(number, tensor.param));
    for (void* array : tensor.state) {
      if (array) own_.push_back(memory_of(number, array));
    }
  }
  std::sort(own_.begin(), own_.end());
  if (std::adjacent_find(own_.begin(), own_.end(), meet) != own_.end()) throw py::value_error("arrays overlap");
}

bool Plan::meet(const Interval& a, const Interval& b) { return b.begin < a.end; }

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

Plan::Interval Plan::memory_of(size_t index, void* data) const {
  const fastopt_tensor& tensor = tensors_[index];
  const auto begin = reinterpret_cast<uintptr_t>(data);
  return {begin, begin + tensor.length * (tensor.dtype == FASTOPT_FLOAT64 ? sizeof(double) : sizeof(float))};
}

bool Plan::overlaps_own(Interval memory) const {
  const auto next = std::upper_bound(own_.begin(), own_.end(), memory);
  if (next != own_.end() && next->begin < memory.end) return true;
  return next != own_.begin() && std::prev(next)->end > memory.begin;
}

bool Plan::take_one(size_t index, PyObject* grad) {
  fastopt_tensor& tensor = tensors_[index];
  tensor.grad = nullptr;
  if (grad == Py_None) return true;
  if (!ArrayView::is_array(grad)) return false;
  const ArrayView view(grad);
  if (view.dtype() != tensor.dtype || !view.contiguous()) return false;
  if (!view.same_shape(ArrayView(params_[index].ptr()))) return false;
  if (tensor.length && overlaps_own(memory_of(index, view.data()))) return false;
  tensor.grad = view.data();
  return true;
}

// Whether no gradient overlaps another.  The same gradients as last time are not looked at again.
bool Plan::disjoint() {
  if (tensors_.size() < 2) return true;
  const auto same = [](const fastopt_tensor& tensor, void* known) { return tensor.grad == known; };
  if (std::equal(tensors_.begin(), tensors_.end(), disjoint_.begin(), disjoint_.end(), same)) return true;
  intervals_.clear();
  for (size_t i = 0; i < tensors_.size(); ++i) {
    if (tensors_[i].grad && tensors_[i].length) intervals_.push_back(memory_of(i, tensors_[i].grad));
  }
  std::sort(intervals_.begin(), intervals_.end());
  if (std::adjacent_find(intervals_.begin(), intervals_.end(), meet) != intervals_.end()) return false;
  disjoint_.clear();
  for (const fastopt_tensor& tensor : tensors_) disjoint_.push_back(tensor.grad);
  return true;
}

// Points the tensors at `grads`, which `held` keeps alive.
bool Plan::take(const py::object& grads, std::vector<py::object>& held) {
  const size_t count = tensors_.size();
  if (PyList_Check(grads.ptr()) || PyTuple_Check(grads.ptr())) {
    if (static_cast<size_t>(PySequence_Fast_GET_SIZE(grads.ptr())) != count) return false;
    PyObject** items = PySequence_Fast_ITEMS(grads.ptr());
    held.reserve(count);
    for (size_t i = 0; i < count; ++i) {
      held.push_back(py::reinterpret_borrow<py::object>(items[i]));
      if (!take_one(i, items[i])) return false;
    }
    return disjoint();
  }
  if (count != 1 || grads.is_none()) return false;
  held.push_back(grads);
  return take_one(0, grads.ptr());
}

bool Plan::bind(const py::object& grads) {
  std::vector<py::object> held;  // before the lock, so that no array is freed while it is held
  const auto guard = lock();
  if (!take(grads, held)) return false;
  bound_.clear();
  for (const fastopt_tensor& tensor : tensors_) bound_.push_back(tensor.grad);
  bound_arrays_.swap(held);
  return true;
}

bool Plan::step(const py::object& grads, double grad_scale) {
  std::vector<py::object> held;  // as in bind()
  auto guard = lock();
  if (!grads.is_none()) {
    if (!take(grads, held)) return false;
  } else if (bound_arrays_.empty()) {
    return false;
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
  return true;
}

int32_t Plan::running_count() const { return fastopt_rule_at(groups_.front().rule)->running_count; }

Plan::Progress Plan::progress_of(size_t index) {
  const auto guard = lock();
  const fastopt_tensor& tensor = tensors_.at(index);
  return {tensor.steps, {tensor.running, tensor.running + running_count()}};
}

void Plan::set_progress(const std::vector<Progress>& progress) {
  const auto guard = lock();
  if (progress.size() != tensors_.size()) throw py::value_error("expected an entry for each tensor");
  for (const auto& [steps, running] : progress) {
    if (running.size() != static_cast<size_t>(running_count()))
      throw py::value_error("wrong number of running scalars");
  }
  for (size_t i = 0; i < progress.size(); ++i) {
    const auto& [steps, running] = progress[i];
    tensors_[i].steps = steps;
    std::copy(running.begin(), running.end(), tensors_[i].running);
  }
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
  fastopt_status status = FASTOPT_OK;
  {
    const py::gil_scoped_release release;
    for (size_t i = 0; i < bound_.size() && status == FASTOPT_OK; ++i) {
      fastopt_tensor tensor = tensors_[i];
      tensor.grad = bound_[i];
      const auto end = std::remove(std::begin(tensor.state), std::end(tensor.state), nullptr);
      if (tensor.grad) status = fastopt_floor(&tensor, static_cast<int32_t>(end - std::begin(tensor.state)));
    }
    guard.unlock();  // before waiting for the GIL
  }
  raise_on(status);
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
      .def("progress_of", &Plan::progress_of, py::arg("index"))
      .def("set_progress", &Plan::set_progress, py::arg("progress"))
      .def_property("completed", &Plan::completed, &Plan::set_completed);
}

}  // namespace fastopt::bindings
