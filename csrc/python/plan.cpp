#include "python/plan.h"

#include <pybind11/stl.h>

#include <algorithm>

#include "python/gil.h"
#include "python/grad_format.h"

namespace fastopt::python {
namespace {

// Sets a flag for a scope.
class Raised {
 public:
  explicit Raised(bool& flag) : flag_(flag) { flag_ = true; }
  ~Raised() { flag_ = false; }
  Raised(const Raised&) = delete;
  Raised& operator=(const Raised&) = delete;

 private:
  bool& flag_;
};

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
    tensor.param = take_in_format(row["param"], like, tensor.dtype, tensor.param_extra, tensor.param_format);
    for (size_t k = 0; k < slots; ++k) {
      if (state[k].is_none()) continue;
      tensor.state[k] = take_in_format(state[k], like, tensor.dtype, tensor.state_extra[k], tensor.state_format[k]);
    }
    tensor.ema = take_array(row["ema"], like, ArrayView::size_of(tensor.dtype));
    tensor.copy = take_array(row["copy"], like, ArrayView::size_of(tensor.copy_dtype));
    for (const char* const name : {"owner", "copy_owner"}) {
      if (py::object owner = row[name]; !owner.is_none()) owners_.emplace_back(std::move(owner), true);
    }
    params_.push_back(param);
    tensors_.push_back(tensor);
  }
  std::sort(own_.begin(), own_.end());
  if (std::adjacent_find(own_.begin(), own_.end(), meet) != own_.end()) throw py::value_error("arrays overlap");
}

// The memory of an array of the plan, which from now on it keeps; nullptr for None.
void* Plan::take_array(const py::object& object, const ArrayView& like, int64_t element_size) {
  if (object.is_none()) return nullptr;
  if (!ArrayView::is_array(object.ptr())) throw py::type_error("expected ndarrays");
  const ArrayView view(object.ptr());
  if (!view.dense() || !view.aligned() || !view.writable() || view.element_size() != element_size ||
      !view.same_layout(like)) {
    throw py::value_error("expected dense, writable arrays of one shape, layout and dtype");
  }
  arrays_.push_back(object);
  if (view.length()) own_.push_back(memory(view.data(), view.length() * element_size));
  return view.data();
}

// The memory of what a format has beside `length` elements, which the plan keeps too.
void* Plan::take_extra(const py::object& object, int64_t length, const fastopt_format* format) {
  const int64_t bytes = (length + format->extra_span - 1) / format->extra_span * format->extra_size;
  if (!ArrayView::is_array(object.ptr())) throw py::type_error("expected ndarrays");
  const ArrayView view(object.ptr());
  if (!view.dense() || !view.aligned() || !view.writable() || view.element_size() * view.length() != bytes) {
    throw py::value_error("expected a dense, writable array beside the elements");
  }
  arrays_.push_back(object);
  if (bytes) own_.push_back(memory(view.data(), bytes));
  return view.data();
}

void* Plan::take_in_format(const py::object& entry, const ArrayView& like, int32_t dtype, void*& extra,
                           int32_t& format) {
  const auto [data, beside, index] = py::cast<std::tuple<py::object, py::object, int32_t>>(entry);
  const fastopt_format* row = fastopt_format_at(index);
  if (index != 0 && !row) throw py::value_error("no such format");
  format = index;
  if (row && row->extra_size > 0) extra = take_extra(beside, like.length(), row);
  if (!row || row->extra_span == 1) return take_array(data, like, row ? row->size : ArrayView::size_of(dtype));
  const fastopt_format codes{row->name, row->size, row->extra_span * row->size, row->extra_span};  // in whole blocks
  return take_extra(data, like.length(), &codes);
}

Plan::Interval Plan::memory(void* data, int64_t bytes) {
  const auto begin = reinterpret_cast<uintptr_t>(data);
  return {begin, begin + bytes};
}

bool Plan::meet(const Interval& a, const Interval& b) { return b.begin < a.end; }

// Called with the GIL held.  Whoever has the mutex may be waiting for the GIL, and while the interpreter ends waits for
// ever: this waits for neither while it has the other.
std::unique_lock<std::recursive_mutex> Plan::lock() {
  if (forks_ != fork_count()) after_fork();
  std::unique_lock lock(*mutex_, std::try_to_lock);
  while (!lock) {
    {
      const ReleasedGil release;
      const std::scoped_lock wait(*mutex_);
    }
    if (lock.try_lock()) break;
  }
  return lock;
}

// In the child another thread may have left the mutex locked, and a step between its first and its last element.
void Plan::after_fork() {
  mutex_.release();  // NOLINT(bugprone-unused-return-value): a locked mutex cannot be destroyed
  mutex_ = std::make_unique<std::recursive_mutex>();
  forks_ = fork_count();
  torn_ = torn_ || writing_;
  looking_ = writing_ = false;
}

void Plan::check_steppable() const {
  if (looking_)
    throw std::runtime_error("step: called by a gradient's own code, while a step of this optimizer looks at it");
  check_whole();
}

void Plan::check_whole() const {
  if (torn_)
    throw std::runtime_error(
        "this process was forked while another thread was in a step of this optimizer: some elements have had that "
        "step "
        "and others have not; load parameters and state (load_state_dict), or build another optimizer");
}

bool Plan::unmoved() {
  const auto guard = lock();
  return owners_hold();
}

bool Plan::bound_unmoved() {
  const auto guard = lock();
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

bool Plan::overlaps_own(Interval memory) const {
  const auto next = std::upper_bound(own_.begin(), own_.end(), memory);
  if (next != own_.end() && next->begin < memory.end) return true;
  return next != own_.begin() && std::prev(next)->end > memory.begin;
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
  if (tensor.length && overlaps_own(memory(data, tensor.length * grad_size(tensor)))) return false;
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
    if (tensor.grad && tensor.length) intervals_.push_back(memory(tensor.grad, tensor.length * grad_size(tensor)));
  }
  std::sort(intervals_.begin(), intervals_.end());
  if (std::adjacent_find(intervals_.begin(), intervals_.end(), meet) != intervals_.end()) return false;
  disjoint_.clear();
  for (const fastopt_tensor& tensor : tensors_) disjoint_.push_back({tensor.grad, tensor.grad_format});
  return true;
}

// Points the tensors at `grads`, which `held` keeps alive.
bool Plan::take(const py::object& grads, std::vector<py::object>& held, bool written) {
  const Raised looking(looking_);
  const size_t count = tensors_.size();
  if (PyList_Check(grads.ptr()) || PyTuple_Check(grads.ptr())) {
    if (static_cast<size_t>(PySequence_Fast_GET_SIZE(grads.ptr())) != count) return false;
    PyObject** items = PySequence_Fast_ITEMS(grads.ptr());
    held.reserve(count);
    for (size_t i = 0; i < count; ++i) {
      if (i + 16 < count) {  // objects of a big model are not in the cache
        __builtin_prefetch(items[i + 16]);
        __builtin_prefetch(params_[i + 16].ptr());
      }
      held.push_back(py::reinterpret_borrow<py::object>(items[i]));
      if (!take_one(i, items[i], written)) return false;
    }
    return !written || disjoint();  // what is only read may come twice
  }
  if (count != 1 || grads.is_none()) return false;
  held.push_back(grads);
  return take_one(0, grads.ptr(), written);
}

bool Plan::bind(const py::object& grads, const py::list& owners) {
  std::vector<py::object> held;  // before the lock, so that no array is freed while it is held
  const auto guard = lock();
  check_steppable();
  if (!take(grads, held, false)) return false;
  bound_.clear();
  for (const fastopt_tensor& tensor : tensors_) bound_.push_back({tensor.grad, tensor.grad_format});
  bound_are_disjoint_ = disjoint();
  bound_arrays_.swap(held);
  bound_owners_.clear();
  for (const py::handle owner : owners) {
    if (!owner.is_none()) bound_owners_.emplace_back(py::reinterpret_borrow<py::object>(owner), false);
  }
  return true;
}

bool Plan::bound_are_writable() const {
  return std::all_of(bound_arrays_.begin(), bound_arrays_.end(),
                     [](const py::object& grad) { return grad.is_none() || ArrayView(grad.ptr()).writable(); });
}

fastopt_plan Plan::plan() { return plan_of(tensors_.data(), tensors_.size(), groups_.data(), groups_.size(), seed_); }

bool Plan::step(const py::object& grads, const fastopt_options& options) {
  std::vector<py::object> held;  // as in bind()
  auto guard = lock();
  check_steppable();
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
  fastopt_status status;
  {
    const ReleasedGil release;
    const Raised writing(writing_);
    status = fastopt_step(&all, &options, &report_);
    if (status == FASTOPT_OK) count_up(report_.skipped ? skipped_ : completed_);
    store_progress();
    guard.unlock();  // before waiting for the GIL
  }
  raise_on(status);
  return true;
}

bool Plan::step_part(const py::object& grad, size_t index, int64_t begin, int64_t end, const fastopt_options& options) {
  auto guard = lock();
  check_steppable();
  const Raised looking(looking_);
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
    if (begin < end && overlaps_own(memory(view.data(), (end - begin) * grad_size(tensor)))) return false;
    tensor.grad = static_cast<char*>(view.data()) - begin * grad_size(tensor);
  }
  if (!owners_hold()) return false;
  if (begin == end) return true;
  if (shared_ && !shared_->load(index, tensor)) return false;
  const fastopt_plan all = plan();
  fastopt_status status;
  {
    const ReleasedGil release;
    const Raised writing(writing_);
    status = fastopt_step_part(&all, &options, static_cast<int64_t>(index), begin, end);
    if (status == FASTOPT_OK) report_.grad_norm = -1;
  }
  raise_on(status);
  return true;
}

void Plan::count(size_t index) {
  const auto guard = lock();
  const fastopt_plan all = plan();
  raise_on(fastopt_count(&all, static_cast<int64_t>(index)));
  if (shared_) shared_->store(index, tensors_[index]);
}

void Plan::end() {
  const auto guard = lock();
  count_up(completed_);
}

std::optional<double> Plan::grad_norm() {
  const auto guard = lock();
  return report_.grad_norm == -1 ? std::nullopt : std::optional<double>(report_.grad_norm);
}

int32_t Plan::running_count() const { return fastopt_rule_at(groups_.front().rule)->running_count; }

Plan::Progress Plan::progress_of(size_t index) {
  const auto guard = lock();
  check_whole();
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
  report_ = kUnseen;
  torn_ = false;
}

void Plan::share_progress(const SharedProgress::Arrays& arrays) {
  const auto guard = lock();
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
  const auto guard = lock();
  return completed_;
}

void Plan::set_completed(int64_t steps) {
  const auto guard = lock();
  completed_ = steps;
}

int64_t Plan::skipped() {
  const auto guard = lock();
  return skipped_;
}

void Plan::set_skipped(int64_t steps) {
  const auto guard = lock();
  skipped_ = steps;
}

uint64_t Plan::seed() {
  const auto guard = lock();
  return seed_;
}

void Plan::set_seed(uint64_t seed) {
  const auto guard = lock();
  seed_ = seed;
}

void Plan::floor(const fastopt_options& options) {
  auto guard = lock();
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
  py::class_<Plan>(module, "Plan", "The tensors, groups and counts that a step runs over.")
      .def(py::init<const std::string&, const py::list&, int64_t, uint64_t>(), py::arg("rule"), py::arg("tensors"),
           py::arg("groups"), py::arg("seed"))
      .def("set_group", &Plan::set_group, py::arg("index"), py::arg("lr"), py::arg("weight_decay"),
           py::arg("decoupled"), py::arg("l1"), py::arg("maximize"), py::arg("hyperparameters"))
      .def("bind", &Plan::bind, py::arg("grads"), py::arg("owners"))
      .def("unmoved", &Plan::unmoved)
      .def("bound_unmoved", &Plan::bound_unmoved)
      .def("step", &Plan::step, py::arg("grads"), py::arg("options"))
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
