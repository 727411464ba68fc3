// Methods that each step of a program calls.
#pragma once
#include <pybind11/pybind11.h>

#include <cxxabi.h>

namespace fastopt::python {

namespace py = pybind11;

// The C++ object in an instance of a class that pybind11 made for T.
template <class T> T& value_of(PyObject* object) {
  static const PyObject* const type = py::type::of<T>().ptr();
  if (reinterpret_cast<PyObject*>(Py_TYPE(object)) != type) return py::cast<T&>(py::handle(object));
  auto* const instance = reinterpret_cast<py::detail::instance*>(object);
  auto* const value = static_cast<T*>(instance->get_value_and_holder().value_ptr());
  if (!value) throw py::type_error("__init__ was not called");
  return *value;
}

// Calls `body(T&, arguments)` as CPython calls its own methods: without pybind11's dispatcher, which takes 80 ns to
// turn arguments into tuples and back, a fifth of the smallest step.
template <class T, PyObject* (*body)(T&, PyObject* const*), Py_ssize_t expected>
PyObject* call_fast(PyObject* self, PyObject* const* arguments, Py_ssize_t count) {
  if (count != expected) {
    PyErr_Format(PyExc_TypeError, "expected %zd arguments, got %zd", expected, count);
    return nullptr;
  }
  try {
    return body(value_of<T>(self), arguments);
  } catch (abi::__forced_unwind&) {  // the end of a thread
    throw;
  } catch (...) {
    py::detail::try_translate_exceptions();
    return nullptr;
  }
}

// Makes `body` a method of a class that pybind11 made, with `expected` arguments by position.  `doc` begins with the
// signature, as CPython reads it: "name($self, first, second, /)\n--\n\nWhat it does."
template <class T, PyObject* (*body)(T&, PyObject* const*), Py_ssize_t expected>
void define_fast(py::class_<T>& type, const char* name, const char* doc) {
  static PyMethodDef method{name,
                            reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(&call_fast<T, body, expected>)),
                            METH_FASTCALL, doc};
  auto* const descriptor = PyDescr_NewMethod(reinterpret_cast<PyTypeObject*>(type.ptr()), &method);
  if (!descriptor) throw py::error_already_set();
  type.attr(name) = py::reinterpret_steal<py::object>(descriptor);
}

}  // namespace fastopt::python
