#include "python/row.h"

#include <structmember.h>

#include <algorithm>
#include <memory>
#include <vector>

#include "python/fast_method.h"
#include "python/numbers.h"
#include "python/plan.h"

namespace fastopt::python {
namespace {

// A hyperparameter of the group.
struct Setting {
  Number number;
  double now[kMostNumbers];  // as the plan has it
  py::object seen;           // what Python took as that, whatever its type, if it cannot change

  // Means what Number's does.  If anything depends on which numbers are 0, these have to stay the same ones.
  template <class Read> bool read(PyObject* given, double* values, Read number_from) const {
    const auto same = [](double a, double b) { return (a == 0) == (b == 0); };
    return number.read(given, values, number_from) &&
           (!number.steady || std::equal(values, values + number.count, now, same));
  }
};

// What stays the same object from step to step, such as a flag.
struct Constant {
  py::object name, value;
};

struct Contents {
  std::vector<Setting> settings;
  std::vector<Constant> constants;
  TensorReader reader;
};

// The base class of `Group`.  Python connects it after each change that takes its own checks.
struct Row {
  PyObject_HEAD PyObject* values;  // the group's dict
  PyObject* schedule;              // what says `lr`, or None
  PyObject* plan;
  Plan* on_cpu;  // the plan, unless it is a GPU's
  int64_t index;
  std::shared_ptr<Contents> contents;
  char closed;  // Python is about to change it, and has the group's lock
};

Row& row_of(PyObject* object) { return *reinterpret_cast<Row*>(object); }

int traverse(PyObject* self, visitproc visit, void* arg) {
  const Row& row = row_of(self);
  Py_VISIT(Py_TYPE(self));
  Py_VISIT(row.values);
  Py_VISIT(row.schedule);
  Py_VISIT(row.plan);
  return 0;
}

int clear(PyObject* self) {
  Row& row = row_of(self);
  row.on_cpu = nullptr;
  Py_CLEAR(row.values);
  Py_CLEAR(row.schedule);
  Py_CLEAR(row.plan);
  return 0;
}

void destroy(PyObject* self) {
  PyTypeObject* const type = Py_TYPE(self);
  PyObject_GC_UnTrack(self);
  clear(self);
  row_of(self).contents.~shared_ptr();  // memory of 0 is one that points to nothing
  type->tp_free(self);
  Py_DECREF(type);
}

Setting* find(Row& row, PyObject* key) {
  if (!row.contents || !row.plan) return nullptr;
  for (Setting& setting : row.contents->settings) {
    if (setting.number.name.ptr() == key) return &setting;
  }
  if (!PyUnicode_CheckExact(key)) return nullptr;
  for (Setting& setting : row.contents->settings) {
    if (PyUnicode_Compare(setting.number.name.ptr(), key) == 0) return &setting;
  }
  return nullptr;
}

// What a group has for them: a float, or a tuple of floats.
py::object kept(int count, const double* values) {
  if (count == 1) return py::float_(values[0]);
  py::tuple all(count);
  for (int i = 0; i < count; ++i) all[i] = py::float_(values[i]);
  return std::move(all);
}

// Gives numbers to the plan and to the group's dict at once: false, with nothing done, if Python changes the group, or
// has changed it while this waited for a step of another thread.
bool write(Row& row, PyObject* name, int place, int count, const double* values) {
  const py::object value = kept(count, values);
  if (!row.on_cpu) {
    py::handle(reinterpret_cast<PyObject*>(&row)).attr("_store")(py::handle(name), place, value);
    return true;
  }
  const std::shared_ptr<Contents> connected = row.contents;
  const auto guard = row.on_cpu->lock();  // from here on no other thread runs Python until this returns
  if (row.closed || row.contents != connected) return false;
  if (PyDict_SetItem(row.values, name, value.ptr()) != 0) throw py::error_already_set();
  std::copy(values, values + count, row.on_cpu->numbers_of(row.index) + place);
  return true;
}

bool write(Row& row, Setting& setting, const double* values) {
  const Number& number = setting.number;
  const std::shared_ptr<Contents> kept_alive = row.contents;
  if (!write(row, number.name.ptr(), number.place, number.count, values)) return false;
  std::copy(values, values + number.count, setting.now);
  setting.seen = {};
  return true;
}

bool assign(Row& row, PyObject* key, PyObject* given) {
  Setting* const setting = find(row, key);
  double values[kMostNumbers];
  return setting && setting->read(given, values, number_of) && write(row, *setting, values);
}

// Calls `body`, which may throw.
template <class Result, class Body> Result guarded(Result failed, Body body) {
  try {
    return body();
  } catch (abi::__forced_unwind&) {  // the end of a thread
    throw;
  } catch (...) {
    py::detail::try_translate_exceptions();
    return failed;
  }
}

// `row[key] = given`; what is not plainly right goes to Python, which takes it or says what is wrong.
int set_item(PyObject* self, PyObject* key, PyObject* given) {
  if (!given) {
    PyErr_Format(PyExc_TypeError, "%S: a group's hyperparameters cannot be deleted", key);
    return -1;
  }
  return guarded(-1, [&] {
    if (assign(row_of(self), key, given)) return 0;
    py::dict one;
    if (PyDict_SetItem(one.ptr(), key, given) != 0) throw py::error_already_set();
    py::handle(self).attr("update")(one);
    return 0;
  });
}

// connect(plan, index, numbers): from now on `numbers`, rows of (name, place, count, low, high, steady), are set here.
PyObject* connect(PyObject* self, PyObject* const* arguments, Py_ssize_t count) {
  return guarded<PyObject*>(nullptr, [&]() -> PyObject* {
    if (count != 3) throw py::type_error("expected plan, index, numbers");
    Row& row = row_of(self);
    auto contents = std::make_shared<Contents>();
    const auto values = py::reinterpret_borrow<py::dict>(row.values);
    for (const py::handle entry : py::reinterpret_borrow<py::tuple>(arguments[2])) {
      Setting setting{Number(entry), {}, {}};
      const py::object value = values[setting.number.name];
      for (int i = 0; i < setting.number.count; ++i) {
        setting.now[i] = (setting.number.count == 1 ? value : py::object(value[py::int_(i)])).cast<double>();
      }
      contents->settings.push_back(std::move(setting));
    }
    row.contents = std::move(contents);
    row.index = PyLong_AsLongLong(arguments[1]);
    row.on_cpu = py::isinstance<Plan>(arguments[0]) ? &value_of<Plan>(arguments[0]) : nullptr;
    Py_XSETREF(row.plan, Py_NewRef(arguments[0]));
    row.closed = 0;
    Py_RETURN_NONE;
  });
}

// watch(values): what Python has taken from a mapping, whose objects follow() compares with.
PyObject* watch(PyObject* self, PyObject* const* arguments, Py_ssize_t count) {
  return guarded<PyObject*>(nullptr, [&]() -> PyObject* {
    Row& row = row_of(self);
    if (count != 1 || !row.contents) throw py::type_error("expected a dict, after connect()");
    row.contents->constants.clear();
    for (const auto& [name, value] : py::cast<py::dict>(py::handle(arguments[0]))) {
      if (Setting* const setting = find(row, name.ptr())) {
        setting->seen = py::reinterpret_borrow<py::object>(value);
        continue;
      }
      row.contents->constants.push_back(
          {py::reinterpret_borrow<py::object>(name), py::reinterpret_borrow<py::object>(value)});
    }
    Py_RETURN_NONE;
  });
}

bool constants_hold(const Contents& contents, PyObject* mapping) {
  const auto holds = [mapping](const Constant& constant) {
    return PyDict_GetItemWithError(mapping, constant.name.ptr()) == constant.value.ptr();
  };
  return std::all_of(contents.constants.begin(), contents.constants.end(), holds);
}

// Takes on a mapping's numbers; false, with nothing done, unless all of them are plainly right.
bool follow_numbers(Row& row, Contents& contents, PyObject* mapping) {
  const auto number_from = [&contents](PyObject* value, double& number) {
    return number_of(value, number) || number_of_tensor(contents.reader, value, number);
  };
  struct Change {
    Setting* setting;
    double values[kMostNumbers];
  } changes[FASTOPT_MAX_HYPERPARAMETERS + 3];
  int changed = 0;
  for (Setting& setting : contents.settings) {
    Change& change = changes[changed];
    PyObject* const given = PyDict_GetItemWithError(mapping, setting.number.name.ptr());
    if (!given) return false;
    if (given == setting.seen.ptr()) continue;
    if (!setting.read(given, change.values, number_from)) return false;
    if (std::equal(change.values, change.values + setting.number.count, setting.now)) continue;
    change.setting = &setting;
    ++changed;
  }
  return std::all_of(changes, changes + changed,
                     [&row](const Change& change) { return write(row, *change.setting, change.values); });
}

// follow(mapping): False unless the plan has now all that the mapping has.
PyObject* follow(PyObject* self, PyObject* mapping) {
  return guarded<PyObject*>(nullptr, [&]() -> PyObject* {
    Row& row = row_of(self);
    const std::shared_ptr<Contents> contents = row.contents;
    const bool same = contents && row.plan && PyDict_Check(mapping) && constants_hold(*contents, mapping) &&
                      follow_numbers(row, *contents, mapping);
    PyErr_Clear();
    return PyBool_FromLong(same);
  });
}

// set_each(rows, key, value): the same value for all rows; False, with nothing done, unless all take it here.
PyObject* set_each(PyObject*, PyObject* const* arguments, Py_ssize_t count) {
  return guarded<PyObject*>(nullptr, [&]() -> PyObject* {
    if (count != 3) throw py::type_error("expected rows, key, value");
    const auto rows = py::reinterpret_borrow<py::tuple>(arguments[0]);
    double values[kMostNumbers];
    for (const py::handle each : rows) {
      Row& row = row_of(each.ptr());
      const Setting* const setting = find(row, arguments[1]);
      if (row.closed || !setting || !setting->read(arguments[2], values, number_of)) Py_RETURN_FALSE;
    }
    for (const py::handle each : rows) {
      if (set_item(each.ptr(), arguments[1], arguments[2]) != 0) throw py::error_already_set();
    }
    Py_RETURN_TRUE;
  });
}

// follow_schedules(rows): asks the schedules of a dict's rows, and when all have said theirs, gives each row its lr.
PyObject* follow_schedules(PyObject*, PyObject* given) {
  return guarded<PyObject*>(nullptr, [&]() -> PyObject* {
    static PyObject* const lr = PyUnicode_InternFromString("lr");
    const auto rows = py::reinterpret_steal<py::list>(PyDict_Values(given));  // as they are now, whatever others do
    if (!rows) throw py::error_already_set();
    if (rows.empty()) Py_RETURN_NONE;
    const Row& first = row_of(rows[0].ptr());
    const py::object steps =
        first.on_cpu ? py::int_(first.on_cpu->completed()) : py::handle(first.plan).attr("completed");
    std::vector<double> rates;
    for (const py::handle each : rows) {
      const auto schedule = py::reinterpret_borrow<py::object>(row_of(each.ptr()).schedule);
      const auto rate = py::reinterpret_steal<py::object>(PyObject_CallOneArg(schedule.ptr(), steps.ptr()));
      if (!rate) throw py::error_already_set();
      double number = 0;
      const bool is_rate = number_of(rate.ptr(), number) && number >= 0 && number < HUGE_VAL;
      if (!is_rate) {
        number = py::cast<double>(each.attr("checked_rate")(rate));
      }
      rates.push_back(number);
    }
    for (size_t i = 0; i < rates.size(); ++i) {
      Row& row = row_of(rows[i].ptr());
      if (write(row, lr, 0, 1, &rates[i])) continue;
      py::dict one;
      one["lr"] = rates[i];
      rows[i].attr("assign")(one);
    }
    Py_RETURN_NONE;
  });
}

template <class Function> PyCFunction method(Function function) {
  return reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(function));
}

}  // namespace

void register_row(py::module_& module) {
  static PyMethodDef methods[] = {{"connect", method(connect), METH_FASTCALL,
                                   "connect($self, plan, index, numbers, /)\n--\n\n"
                                   "From now on these numbers of the group are set here."},
                                  {"watch", method(watch), METH_FASTCALL,
                                   "watch($self, values, /)\n--\n\nWhat follow() expects of all that is no number."},
                                  {"follow", follow, METH_O,
                                   "follow($self, mapping, /)\n--\n\n"
                                   "Takes on a dict's numbers; False unless all of it is plainly right."},
                                  {nullptr, nullptr, 0, nullptr}};
  static PyMemberDef members[] = {{"_values", T_OBJECT_EX, offsetof(Row, values), 0, nullptr},
                                  {"schedule", T_OBJECT, offsetof(Row, schedule), 0, nullptr},
                                  {"_plan", T_OBJECT, offsetof(Row, plan), READONLY, nullptr},
                                  {"_index", T_LONGLONG, offsetof(Row, index), READONLY, nullptr},
                                  {"_closed", T_BOOL, offsetof(Row, closed), 0, nullptr},
                                  {nullptr, 0, 0, 0, nullptr}};
  static char doc[] = "A group's row of a plan: numbers that are plainly right reach it by one check and one store.";
  static PyType_Slot slots[] = {{Py_tp_dealloc, reinterpret_cast<void*>(destroy)},
                                {Py_tp_traverse, reinterpret_cast<void*>(traverse)},
                                {Py_tp_clear, reinterpret_cast<void*>(clear)},
                                {Py_mp_ass_subscript, reinterpret_cast<void*>(set_item)},
                                {Py_tp_methods, methods},
                                {Py_tp_members, members},
                                {Py_tp_doc, doc},
                                {0, nullptr}};
  static PyType_Spec spec{"fastopt._core.Row", sizeof(Row), 0,
                          Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC, slots};
  module.attr("Row") = py::reinterpret_steal<py::object>(PyType_FromSpec(&spec));
  static PyMethodDef functions[] = {{"set_each", method(set_each), METH_FASTCALL,
                                     "set_each(rows, key, value, /)\n--\n\n"
                                     "Sets a number in all rows; False, with nothing done, unless all take it."},
                                    {"follow_schedules", follow_schedules, METH_O,
                                     "follow_schedules(rows, /)\n--\n\n"
                                     "Gives each row of a dict the lr that its schedule says for the next step."},
                                    {nullptr, nullptr, 0, nullptr}};
  if (PyModule_AddFunctions(module.ptr(), functions) != 0) throw py::error_already_set();
}

}  // namespace fastopt::python
