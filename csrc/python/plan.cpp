#include "python/plan.h"

#include <pybind11/stl.h>

#include <algorithm>

#include "guests/openmp.h"
#include "python/fast_method.h"
#include "python/gil.h"
#include "python/grad_format.h"

namespace fastopt::python {
namespace {

bool is_sequence(py::handle grads) { return PyList_Check(grads.ptr()) || PyTuple_Check(grads.ptr()); }

PyObject* step(Plan& plan, PyObject* const* arguments) {
  return PyBool_FromLong(plan.step(arguments[0], value_of<fastopt_options>(arguments[1])));
}

}  // namespace

void raise_on(fastopt_status status) {
  if (status == FASTOPT_NO_MEMORY) throw std::bad_alloc();
  if (status != FASTOPT_OK) throw py::value_error(fastopt_status_message(status));
}

Plan::Plan(const std::string& rule, const py::list& tensors, int64_t groups, uint64_t seed) : seed_(seed) {
  const int32_t index = fastopt_find_rule(rule.c_str());
  if (index < 0) throw py::value_error("no rule named " + rule);
  if (groups < 1) throw py::value_error("expected at least one group");
  const auto slots = static_cast<size_t>(fastopt_rule_at(index)->slot_count);
  groups_.resize(groups);
  for (fastopt_group& group : groups_) group = {index, 0, 0, 0, 0, 0, {}};
  for (const py::handle entry : tensors) {
    const auto row = py::cast<py::dict>(entry);
    const auto state = py::cast<std::vector<py::object>>(row["state"]);
    const py::object param = py::cast<py::tuple>(row["param"])[0];
    if (state.size() != slots) throw py::value_error("expected an entry or None for each slot of the rule");
    if (!ArrayView::is_array(param.ptr())) throw py::type_error("expected ndarrays");
    const ArrayView like(param.ptr());
    fastopt_tensor tensor{};
    tensor.group = py::cast<int32_t>(row["group"]);
    tensor.dtype = py::cast<int32_t>(row["dtype"]);
    tensor.copy_dtype = py::cast<int32_t>(row["copy_dtype"]);
    tensor.stochastic = py::cast<bool>(row["stochastic"]);
    tensor.offset = py::cast<int64_t>(row["offset"]);
    tensor.length = like.length();
    if (tensor.group < 0 || tensor.group >= groups) throw py::value_error("no such group");
    if (tensor.dtype != FASTOPT_FLOAT32 && tensor.dtype != FASTOPT_FLOAT64) throw py::value_error("no such dtype");
    tensor.param = own_.take_in_format(row["param"], like, tensor.dtype, tensor.param_extra, tensor.param_format);
    for (size_t k = 0; k < slots; ++k) {
      if (state[k].is_none()) continue;
      tensor.state[k] =
          own_.take_in_format(state[k], like, tensor.dtype, tensor.state_extra[k], tensor.state_format[k]);
    }
    tensor.ema = own_.take(row["ema"], like, ArrayView::size_of(tensor.dtype));
    tensor.copy = own_.take(row["copy"], like, ArrayView::size_of(tensor.copy_dtype));
    for (const char* const name : {"owner", "copy_owner"}) {
      if (py::object owner = row[name]; !owner.is_none()) owners_.emplace_back(std::move(owner), true);
    }
    params_.emplace_back(param);
    tensors_.push_back(tensor);
  }
  own_.close();
}

bool Plan::unmoved() {
  const auto guard = access_.lock();
  return owners_hold();
}

bool Plan::bound_unmoved() {
  const auto guard = access_.lock();
  return bound_hold();
}

bool Plan::owners_hold() {
  return std::all_of(owners_.begin(), owners_.end(), [this](const Owner& owner) { return owner.holds(reader_); });
}

bool Plan::bound_hold() {
  return std::all_of(bound_owners_.begin(), bound_owners_.end(),
                     [this](const Owner& owner) { return owner.holds(reader_); });
}

void Plan::set_group(int64_t index, double lr, double weight_decay, bool decoupled, double l1, bool maximize,
                     const std::vector<double>& hyperparameters) {
  const auto guard = access_.lock();
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

bool Plan::take_dtype(fastopt_tensor& tensor, int32_t dtype) {
  const int32_t format = grad_format_of(tensor.dtype, dtype);
  if (format < 0 || (tensor.dtype == FASTOPT_FLOAT32 && dtype == FASTOPT_FLOAT64)) return false;
  tensor.grad_format = format;
  return true;
}

bool Plan::take_one(size_t index, PyObject* grad, bool written) {
  fastopt_tensor& tensor = tensors_[index];
  tensor.grad = nullptr;
  if (grad == Py_None) return true;
  const ArrayView param(params_[index].ptr());
  void* data;
  if (ArrayView::is_array(grad)) {
    const ArrayView view(grad);
    if (!take_dtype(tensor, view.dtype()) || !view.aligned() || (written && !view.writable())) return false;
    if (!view.same_layout(param)) return false;
    data = view.data();
  } else {
    TensorView view;
    if (!view.look(reader_, grad, strict_) || !take_dtype(tensor, view.dtype()) || !view.same_layout(param))
      return false;
    data = tensor.length ? view.data() : &tensor;  // torch's memory of no elements is null, which is no gradient
  }
  if (tensor.length && own_.overlaps({data, tensor.length * grad_size(tensor)})) return false;
  tensor.grad = data;
  return true;
}

// Whether no gradient overlaps another.  The same gradients as last time are not looked at again.
bool Plan::disjoint() {
  if (tensors_.size() < 2) return true;
  const auto same = [](const fastopt_tensor& tensor, const Gradient& known) {
    return tensor.grad == known.data && tensor.grad_format == known.format;
  };
  if (std::equal(tensors_.begin(), tensors_.end(), disjoint_.begin(), disjoint_.end(), same)) return true;
  intervals_.clear();
  for (const fastopt_tensor& tensor : tensors_) {
    if (tensor.grad && tensor.length) intervals_.emplace_back(tensor.grad, tensor.length * grad_size(tensor));
  }
  if (!sort_disjoint(intervals_)) return false;
  disjoint_.clear();
  for (const fastopt_tensor& tensor : tensors_) disjoint_.push_back({tensor.grad, tensor.grad_format});
  return true;
}

// Points the tensors at `grads`.  `held` keeps those of a sequence alive, which another thread may change.
bool Plan::take(py::handle grads, std::vector<Kept>& held, bool written) {
  const auto looking = access_.looking();
  const size_t count = tensors_.size();
  if (is_sequence(grads)) {
    if (static_cast<size_t>(PySequence_Fast_GET_SIZE(grads.ptr())) != count) return false;
    PyObject** items = PySequence_Fast_ITEMS(grads.ptr());
    held.reserve(count);
    for (size_t i = 0; i < count; ++i) {
      if (i + 16 < count) {  // objects of a big model are not in the cache
        __builtin_prefetch(items[i + 16]);
        __builtin_prefetch(params_[i + 16].ptr());
      }
      held.emplace_back(py::reinterpret_borrow<py::object>(items[i]));
      if (!take_one(i, items[i], written)) return false;
    }
    return !written || disjoint();  // what is only read may come twice
  }
  return count == 1 && !grads.is_none() && take_one(0, grads.ptr(), written);
}

bool Plan::bind(py::handle grads, const py::list& owners) {
  std::vector<Kept> held;  // before the lock, so that no array is freed while it is held
  const auto guard = access_.lock();
  access_.check_steppable();
  if (!take(grads, held, false)) return false;
  bound_.clear();
  for (const fastopt_tensor& tensor : tensors_) bound_.push_back({tensor.grad, tensor.grad_format});
  bound_are_disjoint_ = disjoint();
  if (!is_sequence(grads)) held.emplace_back(py::reinterpret_borrow<py::object>(grads));
  bound_arrays_.swap(held);
  bound_owners_.clear();
  for (const py::handle owner : owners) {
    if (!owner.is_none()) bound_owners_.emplace_back(py::reinterpret_borrow<py::object>(owner), false);
  }
  return true;
}

bool Plan::bound_are_writable() const {
  return std::all_of(bound_arrays_.begin(), bound_arrays_.end(),
                     [](const Kept& grad) { return grad.is_none() || ArrayView(grad.ptr()).writable(); });
}

fastopt_plan Plan::plan() { return plan_of(tensors_.data(), tensors_.size(), groups_.data(), groups_.size(), seed_); }

void Plan::lend(py::object team) {
  const auto guard = access_.lock();
  team_ = py::cast<const guests::OpenMp&>(team).team();
  lender_ = Kept(std::move(team));
}

fastopt_options Plan::on_team(const fastopt_options& options) const {
  fastopt_options own = options;
  own.team = team_;
  return own;
}

bool Plan::step(py::handle grads, const fastopt_options& options) {
  std::vector<Kept> held;  // as in bind()
  auto guard = access_.lock();
  access_.check_steppable();
  if (!grads.is_none()) {
    if (!take(grads, held, options.zero_grad)) return false;
  } else if (bound_arrays_.empty() || !bound_hold() ||
             (options.zero_grad && !(bound_are_disjoint_ && bound_are_writable()))) {
    return false;
  } else {
    for (size_t i = 0; i < tensors_.size(); ++i) {
      tensors_[i].grad = bound_[i].data;
      tensors_[i].grad_format = bound_[i].format;
    }
  }
  // Last, since gradients may have run Python code.
  if (!owners_hold() || !load_progress()) return false;
  const fastopt_plan all = plan();
  const fastopt_options own = on_team(options);
  fastopt_status status;
  {
    const ReleasedGil release;
    {
      const auto writing = access_.writing();  // under the lock to its end
      status = fastopt_step(&all, &own, &report_);
      if (status == FASTOPT_OK) count_up(report_.skipped ? skipped_ : completed_);
      store_progress();
    }
    guard.unlock();  // before waiting for the GIL
  }
  raise_on(status);
  return true;
}

bool Plan::step_part(const py::object& grad, size_t index, int64_t begin, int64_t end, const fastopt_options& options) {
  auto guard = access_.lock();
  access_.check_steppable();
  const auto looking = access_.looking();
  fastopt_tensor& tensor = tensors_.at(index);
  if (begin < 0 || begin > end || end > tensor.length || grad.is_none()) return false;
  if (!ArrayView::is_array(grad.ptr()) || ArrayView(grad.ptr()).same_shape(ArrayView(params_[index].ptr()))) {
    if (!take_one(index, grad.ptr(), options.zero_grad)) return false;
  } else {
    const ArrayView view(grad.ptr());
    if (!view.aligned() || !take_dtype(tensor, view.dtype()) || !view.contiguous() ||
        (options.zero_grad && !view.writable()))
      return false;
    if (view.dimensions() != 1 || view.length() != end - begin) return false;
    if (begin < end && own_.overlaps({view.data(), (end - begin) * grad_size(tensor)})) return false;
    tensor.grad = static_cast<char*>(view.data()) - begin * grad_size(tensor);
  }
  if (!owners_hold()) return false;
  if (begin == end) return true;
  if (shared_ && !shared_->load(index, tensor)) return false;
  const fastopt_plan all = plan();
  const fastopt_options own = on_team(options);
  fastopt_status status;
  {
    const ReleasedGil release;
    const auto writing = access_.writing();
    status = fastopt_step_part(&all, &own, static_cast<int64_t>(index), begin, end);
    if (status == FASTOPT_OK) report_.grad_norm = -1;
  }
  raise_on(status);
  return true;
}

void Plan::count(size_t index) {
  const auto guard = access_.lock();
  const fastopt_plan all = plan();
  raise_on(fastopt_count(&all, static_cast<int64_t>(index)));
  if (shared_) shared_->store(index, tensors_[index]);
}

void Plan::end() {
  const auto guard = access_.lock();
  count_up(completed_);
}

std::optional<double> Plan::grad_norm() {
  const auto guard = access_.lock();
  return report_.grad_norm == -1 ? std::nullopt : std::optional<double>(report_.grad_norm);
}

int32_t Plan::running_count() const { return fastopt_rule_at(groups_.front().rule)->running_count; }

Plan::Progress Plan::progress_of(size_t index) {
  const auto guard = access_.lock();
  access_.check_whole();
  const fastopt_tensor& tensor = tensors_.at(index);
  return {tensor.steps, {tensor.running, tensor.running + running_count()}};
}

void Plan::set_progress(const std::vector<Progress>& progress) {
  const auto guard = access_.lock();
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
  report_ = kUnseen;
  access_.mend();
}

void Plan::share_progress(const SharedProgress::Arrays& arrays) {
  const auto guard = access_.lock();
  if (arrays.size() != tensors_.size()) throw py::value_error("expected an entry for each tensor");
  shared_.emplace(arrays);
}

bool Plan::load_progress() {
  for (size_t i = 0; shared_ && i < tensors_.size(); ++i) {
    if (!shared_->load(i, tensors_[i])) return false;
  }
  return true;
}

void Plan::store_progress() const {
  for (size_t i = 0; shared_ && i < tensors_.size(); ++i) shared_->store(i, tensors_[i]);
}

int64_t Plan::completed() {
  const auto guard = access_.lock();
  return completed_;
}

void Plan::set_completed(int64_t steps) {
  const auto guard = access_.lock();
  completed_ = steps;
}

int64_t Plan::skipped() {
  const auto guard = access_.lock();
  return skipped_;
}

void Plan::set_skipped(int64_t steps) {
  const auto guard = access_.lock();
  skipped_ = steps;
}

uint64_t Plan::seed() {
  const auto guard = access_.lock();
  return seed_;
}

void Plan::set_seed(uint64_t seed) {
  const auto guard = access_.lock();
  seed_ = seed;
}

void Plan::floor(const fastopt_options& options) {
  auto guard = access_.lock();
  fastopt_status status = FASTOPT_OK;
  {
    const ReleasedGil release;
    for (size_t i = 0; i < bound_.size() && status == FASTOPT_OK; ++i) {
      fastopt_tensor tensor = tensors_[i];
      tensor.grad = bound_[i].data;
      tensor.grad_format = bound_[i].format;
      int32_t count = 0;  // of the slots in use, moved to the front
      for (size_t k = 0; k < std::size(tensor.state); ++k) {
        if (!tensor.state[k]) continue;
        tensor.state[count] = tensor.state[k];
        tensor.state_extra[count] = tensor.state_extra[k];
        tensor.state_format[count++] = tensor.state_format[k];
      }
      const fastopt_plan one = plan_of(&tensor, 1, nullptr, 0, 0);
      if (tensor.grad) status = fastopt_floor(&one, 0, count, &options);
    }
    guard.unlock();  // before waiting for the GIL
  }
  raise_on(status);
}

void register_plan(py::module_& module) {
  py::class_<Plan> plan(module, "Plan", "The tensors, groups and counts that a step runs over.");
  define_fast<Plan, step, 2>(plan, "step", "step($self, grads, options, /)\n--\n\nTakes one step.");
  plan.def(py::init<const std::string&, const py::list&, int64_t, uint64_t>(), py::arg("rule"), py::arg("tensors"),
           py::arg("groups"), py::arg("seed"))
      .def("set_group", &Plan::set_group, py::arg("index"), py::arg("lr"), py::arg("weight_decay"),
           py::arg("decoupled"), py::arg("l1"), py::arg("maximize"), py::arg("hyperparameters"))
      .def("bind", &Plan::bind, py::arg("grads"), py::arg("owners"))
      .def("unmoved", &Plan::unmoved)
      .def("bound_unmoved", &Plan::bound_unmoved)
      .def("lend", &Plan::lend, py::arg("team"))
      .def("step_part", &Plan::step_part, py::arg("grad"), py::arg("index"), py::arg("begin"), py::arg("end"),
           py::arg("options"))
      .def("count", &Plan::count, py::arg("index"))
      .def("end", &Plan::end)
      .def_property_readonly("grad_norm", &Plan::grad_norm)
      .def("floor", &Plan::floor, py::arg("options"))
      .def("progress_of", &Plan::progress_of, py::arg("index"))
      .def("set_progress", &Plan::set_progress, py::arg("progress"))
      .def("ignore_history", &Plan::ignore_history)
      .def("share_progress", &Plan::share_progress, py::arg("arrays"))
      .def_property("completed", &Plan::completed, &Plan::set_completed)
      .def_property("skipped", &Plan::skipped, &Plan::set_skipped)
      .def_property("seed", &Plan::seed, &Plan::set_seed);
}

}  // namespace fastopt::python
