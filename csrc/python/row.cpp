#include "python/row.h"

#include <structmember.h>

#include <algorithm>
#include <vector>

#include "python/fast_method.h"
#include "python/numbers.h"
#include "python/plan.h"

namespace fastopt::python {
namespace {

constexpr int kMost = 4;  // numbers in one hyperparameter

// A hyperparameter of one number or several side by side, such as `betas`.
struct Number {
  py::str name;
  int place, count;        // in a fastopt_group's numbers, from `lr` on
  double low, high;        // the least and the largest value
  bool steady;             // being 0 or not decides on the state or on other values: then it stays as it is
  double now[kMost] = {};  // as the plan has it
  py::object seen;         // what Python took as that, whatever its type, if it cannot change
};

// What stays the same object from step to step, such as a flag.
struct Constant {
  py::object name, value;
};

struct Contents {
  std::vector<Number> numbers;
  std::vector<Constant> constants;
  TensorReader reader;
};

// The base class of `Group`.  Python connects it after each change that takes its own checks.
struct Row {
  PyObject_HEAD
  PyObject* values;    // the group's dict
  PyObject* schedule;  // what says `lr`, or None
  PyObject* plan;
  Plan* on_cpu;  // the plan, unless it is a GPU's
  int64_t index;
  Contents* contents;
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
  delete row_of(self).contents;
  type->tp_free(self);
  Py_DECREF(type);
}

Number* find(Row& row, PyObject* key) {
  if (!row.contents || !row.plan) return nullptr;
  for (Number& number : row.contents->numbers) {
    if (number.name.ptr() == key) return &number;
  }
  if (!PyUnicode_CheckExact(key)) return nullptr;
  for (Number& number : row.contents->numbers) {
    if (PyUnicode_Compare(number.name.ptr(), key) == 0) return &number;
  }
  return nullptr;
}

bool in_range(const Number& number, const double* values) {
  for (int i = 0; i < number.count; ++i) {
    if (!(number.low <= values[i] && values[i] <= number.high && is_plain(values[i]))) return false;
    if (number.steady && (values[i] == 0) != (number.now[i] == 0)) return false;
  }
  return true;
}

// Reads what a program gives for a hyperparameter; false unless Python would take these numbers without a word.
template <class Read> bool read(const Number& number, PyObject* given, double* values, Read number_from) {
  if (number.count == 1) return number_from(given, *values) && in_range(number, values);
  if (!PyTuple_CheckExact(given) && !PyList_CheckExact(given)) return false;
  if (PySequence_Fast_GET_SIZE(given) != number.count) return false;
  for (int i = 0; i < number.count; ++i) {
    if (!number_from(PySequence_Fast_GET_ITEM(given, i), values[i])) return false;
  }
  return in_range(number, values);
}

// What a group has for them: a float, or a tuple of floats.
py::object kept(const Number& number, const double* values) {
  if (number.count == 1) return py::float_(values[0]);
  py::tuple all(number.count);
  for (int i = 0; i < number.count; ++i) all[i] = py::float_(values[i]);
  return std::move(all);
}

// Gives them to the plan and to the group's dict at once: false, with nothing done, while Python changes the group.
bool store(Row& row, Number& number, const double* values) {
  const py::object value = kept(number, values);
  if (!row.on_cpu) {
    const py::handle self(reinterpret_cast<PyObject*>(&row));
    self.attr("_store")(number.name, number.place, value);
  } else {
    const auto guard = row.on_cpu->lock();  // after this no other thread runs Python until it returns
    if (row.closed) return false;
    if (PyDict_SetItem(row.values, number.name.ptr(), value.ptr()) != 0) throw py::error_already_set();
    std::copy(values, values + number.count, row.on_cpu->numbers_of(row.index) + number.place);
  }
  std::copy(values, values + number.count, number.now);
  number.seen = {};
  return true;
}

bool assign(Row& row, PyObject* key, PyObject* given) {
  Number* const number = find(row, key);
  double values[kMost];
  return number && read(*number, given, values, number_of) && store(row, *number, values);
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
    std::vector<Number> numbers;
    const py::dict values = py::reinterpret_borrow<py::dict>(row.values);
    for (const py::handle entry : py::reinterpret_borrow<py::tuple>(arguments[2])) {
      const auto fields = py::cast<py::tuple>(entry);
      Number number{fields[0],        fields[1].cast<int>(),    fields[2].cast<int>(),
                    fields[3].cast<double>(), fields[4].cast<double>(), fields[5].cast<bool>()};
      if (number.count > kMost) throw py::value_error("too many numbers in a hyperparameter");
      const py::object value = values[number.name];
      for (int i = 0; i < number.count; ++i) {
        number.now[i] = (number.count == 1 ? value : py::object(value[py::int_(i)])).cast<double>();
      }
      numbers.push_back(std::move(number));
    }
    if (!row.contents) row.contents = new Contents;
    row.contents->numbers.swap(numbers);
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
      if (Number* const number = find(row, name.ptr())) {
        number->seen = py::reinterpret_borrow<py::object>(value);
        continue;
      }
      row.contents->constants.push_back(
          {py::reinterpret_borrow<py::object>(name), py::reinterpret_borrow<py::object>(value)});
    }
    Py_RETURN_NONE;
  });
}

// follow(mapping): takes on the mapping's numbers; False, with nothing done, unless all of it is plainly right.
PyObject* follow(PyObject* self, PyObject* mapping) {
  return guarded<PyObject*>(nullptr, [&]() -> PyObject* {
    Row& row = row_of(self);
    if (!row.contents || !row.plan || !PyDict_Check(mapping)) Py_RETURN_FALSE;
    Contents& contents = *row.contents;
    for (const Constant& constant : contents.constants) {
      if (PyDict_GetItemWithError(mapping, constant.name.ptr()) != constant.value.ptr()) {
        PyErr_Clear();
        Py_RETURN_FALSE;
      }
    }
    const auto number_from = [&contents](PyObject* value, double& number) {
      return number_of(value, number) || number_of_tensor(contents.reader, value, number);
    };
    struct Change {
      Number* number;
      double values[kMost];
    } changes[FASTOPT_MAX_HYPERPARAMETERS + 3];
    int changed = 0;
    for (Number& number : contents.numbers) {
      Change& change = changes[changed];
      PyObject* const given = PyDict_GetItemWithError(mapping, number.name.ptr());
      if (given && given == number.seen.ptr()) continue;
      if (!given || !read(number, given, change.values, number_from)) {
        PyErr_Clear();
        Py_RETURN_FALSE;
      }
      if (std::equal(change.values, change.values + number.count, number.now)) continue;
      change.number = &number;
      ++changed;
    }
    for (int i = 0; i < changed; ++i) {
      if (!store(row, *changes[i].number, changes[i].values)) Py_RETURN_FALSE;
    }
    Py_RETURN_TRUE;
  });
}

// set_each(rows, key, value): the same value for all rows; False, with nothing done, unless all take it here.
PyObject* set_each(PyObject*, PyObject* const* arguments, Py_ssize_t count) {
  return guarded<PyObject*>(nullptr, [&]() -> PyObject* {
    if (count != 3) throw py::type_error("expected rows, key, value");
    const py::tuple rows = py::reinterpret_borrow<py::tuple>(arguments[0]);
    double values[kMost];
    for (const py::handle each : rows) {
      Row& row = row_of(each.ptr());
      const Number* const number = find(row, arguments[1]);
      if (row.closed || !number || !read(*number, arguments[2], values, number_of)) Py_RETURN_FALSE;
    }
    for (const py::handle each : rows) {
      if (set_item(each.ptr(), arguments[1], arguments[2]) != 0) throw py::error_already_set();
    }
    Py_RETURN_TRUE;
  });
}

// follow_schedules(rows): asks the rows' schedules, and when all have said theirs, gives each row its lr.
PyObject* follow_schedules(PyObject*, PyObject* given) {
  return guarded<PyObject*>(nullptr, [&]() -> PyObject* {
    static PyObject* const lr = PyUnicode_InternFromString("lr");
    const py::tuple rows = py::reinterpret_borrow<py::tuple>(given);
    if (rows.empty()) Py_RETURN_NONE;
    const Row& first = row_of(rows[0].ptr());
    const py::object steps =
        first.on_cpu ? py::int_(first.on_cpu->completed()) : py::handle(first.plan).attr("completed");
    std::vector<double> rates;
    for (const py::handle each : rows) {
      const py::object schedule = py::reinterpret_borrow<py::object>(row_of(each.ptr()).schedule);
      const auto rate = py::reinterpret_steal<py::object>(PyObject_CallOneArg(schedule.ptr(), steps.ptr()));
      if (!rate) throw py::error_already_set();
      double number;
      if (!number_of(rate.ptr(), number) || !(number >= 0 && number < HUGE_VAL)) {
        number = py::cast<double>(each.attr("checked_rate")(rate));
      }
      rates.push_back(number);
    }
    for (size_t i = 0; i < rates.size(); ++i) {
      Row& row = row_of(rows[i].ptr());
      Number number{py::reinterpret_borrow<py::str>(lr), 0, 1, 0, HUGE_VAL, false};
      if (store(row, number, &rates[i])) continue;
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
  static PyMethodDef methods[] = {
      {"connect", method(connect), METH_FASTCALL, "connect($self, plan, index, numbers, /)\n--\n\n"
                                                  "From now on these numbers of the group are set here."},
      {"watch", method(watch), METH_FASTCALL, "watch($self, values, /)\n--\n\nWhat follow() expects of all that is no number."},
      {"follow", follow, METH_O, "follow($self, mapping, /)\n--\n\n"
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
  static PyMethodDef functions[] = {
      {"set_each", method(set_each), METH_FASTCALL, "set_each(rows, key, value, /)\n--\n\n"
                                                    "Sets a number in all rows; False, with nothing done, unless all take it."},
      {"follow_schedules", follow_schedules, METH_O, "follow_schedules(rows, /)\n--\n\n"
                                                     "Gives each row the lr that its schedule says for the next step."},
      {nullptr, nullptr, 0, nullptr}};
  if (PyModule_AddFunctions(module.ptr(), functions) != 0) throw py::error_already_set();
}

}  // namespace fastopt::python
