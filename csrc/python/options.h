// fastopt_options for Python.
#pragma once
#include <pybind11/pybind11.h>

namespace fastopt::python {

void register_options(pybind11::module_& module);

}  // namespace fastopt::python
