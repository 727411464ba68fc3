// What the kernels say of themselves: rules, instruction sets, threads.
#pragma once
#include <pybind11/pybind11.h>

namespace fastopt::python {

void register_introspection(pybind11::module_& module);

}  // namespace fastopt::python
