// The extension module fastopt._core.
#include <pybind11/pybind11.h>

#include "python/formats.h"
#include "python/function.h"
#include "python/gradients.h"
#include "python/introspection.h"
#include "python/options.h"
#include "python/plan.h"
#include "python/row.h"
#include "python/teams.h"
#include "python/tensors.h"

PYBIND11_MODULE(_core, module) {
  module.doc() = "The update kernels behind fastopt; private.";
  module.attr("__version__") = FASTOPT_VERSION;
  module.attr("compiler") = __VERSION__;
  fastopt::python::register_options(module);
  fastopt::python::register_teams(module);
  fastopt::python::register_plan(module);
  fastopt::python::register_row(module);
  fastopt::python::register_function(module);
  fastopt::python::register_formats(module);
  fastopt::python::register_gradients(module);
  fastopt::python::register_tensors(module);
  fastopt::python::register_introspection(module);
}
