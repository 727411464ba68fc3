// A group's row of a plan, as the mapping that programs write hyperparameters to.
#pragma once
#include <pybind11/pybind11.h>

namespace fastopt::python {

void register_row(pybind11::module_& module);

}  // namespace fastopt::python
