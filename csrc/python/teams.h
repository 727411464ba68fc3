// Threads of other libraries that plans may step on.
#pragma once
#include <pybind11/pybind11.h>

namespace fastopt::python {

void register_teams(pybind11::module_& module);

}  // namespace fastopt::python
