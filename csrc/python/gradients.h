// Norm, finiteness and clipping of gradients that belong to no plan.
#pragma once
#include <pybind11/pybind11.h>

namespace fastopt::python {

void register_gradients(pybind11::module_& module);

}  // namespace fastopt::python
