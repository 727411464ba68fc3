// The extension module fastopt._core.
#include <pybind11/pybind11.h>

#include "formats.h"
#include "gradients.h"
#include "introspection.h"
#include "options.h"
#include "plan.h"
#include "tensors.h"

PYBIND11_MODULE(_core, module) {
  module.doc() = "The update kernels behind fastopt; private.";
  module.attr("__version__") = FASTOPT_VERSION;
  module.attr("compiler") = __VERSION__;
  fastopt::bindings::register_options(module);
  fastopt::bindings::register_plan(module);
  fastopt::bindings::register_formats(module);
  fastopt::bindings::register_gradients(module);
  fastopt::bindings::register_tensors(module);
  fastopt::bindings::register_introspection(module);
}
