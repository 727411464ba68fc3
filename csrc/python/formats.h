// Storage formats for Python: their rows, decoding and encoding.
#pragma once
#include <pybind11/pybind11.h>

namespace fastopt::python {

void register_formats(pybind11::module_& module);

}  // namespace fastopt::python
