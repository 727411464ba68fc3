#include "python/gradients.h"

#include <pybind11/stl.h>

#include <vector>

#include "python/arrays.h"
#include "python/gil.h"
#include "python/grad_format.h"
#include "python/plan.h"

namespace fastopt::python {
namespace {

// Runs `sweep` over ndarrays that Python has checked; the norm, and whether all was finite.
template <class Sweep>
py::tuple run(const std::vector<py::object>& arrays, const fastopt_options& options, Sweep sweep) {
  std::vector<fastopt_tensor> tensors;
  for (const py::object& array : arrays) {
    if (!ArrayView::is_array(array.ptr())) throw py::type_error("expected ndarrays");
    const ArrayView view(array.ptr());
    fastopt_tensor tensor{};
    tensor.grad = view.data();
    tensor.length = view.length();
    const int32_t dtype = view.dtype();
    tensor.dtype = dtype == FASTOPT_FLOAT64 ? FASTOPT_FLOAT64 : FASTOPT_FLOAT32;
    tensor.grad_format = grad_format_of(tensor.dtype, dtype);
    if (dtype < 0) tensor.dtype = dtype;
    tensors.push_back(tensor);
  }
  const fastopt_plan plan = plan_of(tensors.data(), tensors.size(), nullptr, 0, 0);
  fastopt_report report{};
  report.size = sizeof report;
  fastopt_status status;
  {
    const ReleasedGil release;
    status = sweep(&plan, &options, &report);
  }
  raise_on(status);
  return py::make_tuple(report.grad_norm, report.finite != 0);
}

}  // namespace

void register_gradients(py::module_& module) {
  module.def(
      "measure",
      [](const std::vector<py::object>& arrays, const fastopt_options& options) {
        return run(arrays, options, fastopt_measure);
      },
      py::arg("arrays"), py::arg("options"));
  module.def(
      "clip",
      [](const std::vector<py::object>& arrays, const fastopt_options& options) {
        return run(arrays, options, fastopt_clip);
      },
      py::arg("arrays"), py::arg("options"));
}

}  // namespace fastopt::python
