// A rule's function over the caller's own arrays: the calls that are plainly right.
#pragma once
#include <pybind11/pybind11.h>

namespace fastopt::python {

void register_function(pybind11::module_& module);

}  // namespace fastopt::python
