#include "python/teams.h"

#include "guests/openmp.h"

namespace fastopt::python {

namespace py = pybind11;

void register_teams(py::module_& module) {
  using guests::OpenMp;
  py::class_<OpenMp>(module, "OpenMp", "The threads of the OpenMP runtime that a loaded library uses.")
      .def(py::init<const char*, const char*>(), py::arg("library"), py::arg("threads"))
      .def_property_readonly("regions", &OpenMp::regions);
}

}  // namespace fastopt::python
