#include "python/options.h"

#include "fastopt.h"

namespace fastopt::python {

namespace py = pybind11;

void register_options(py::module_& module) {
  py::class_<fastopt_options>(module, "Options", "The stages that hold for all tensors of a step; 0 is none.")
      .def(py::init([](double grad_scale, double clip_value, double max_norm, double ema_decay, bool skip_nonfinite,
                       bool zero_grad, double norm_eps) {
             return fastopt_options{sizeof(fastopt_options), grad_scale, clip_value, max_norm, ema_decay,
                                    skip_nonfinite,          zero_grad,  norm_eps,   nullptr};
           }),
           py::arg("grad_scale"), py::arg("clip_value"), py::arg("max_norm"), py::arg("ema_decay"),
           py::arg("skip_nonfinite"), py::arg("zero_grad"), py::arg("norm_eps") = 0.0)
      .def_readonly("size", &fastopt_options::size)
      .def_readonly("grad_scale", &fastopt_options::grad_scale)
      .def_readonly("clip_value", &fastopt_options::clip_value)
      .def_readonly("max_norm", &fastopt_options::max_norm)
      .def_readonly("ema_decay", &fastopt_options::ema_decay)
      .def_property_readonly("skip_nonfinite",
                             [](const fastopt_options& options) { return options.skip_nonfinite != 0; })
      .def_property_readonly("zero_grad", [](const fastopt_options& options) { return options.zero_grad != 0; })
      .def_readonly("norm_eps", &fastopt_options::norm_eps);
}

}  // namespace fastopt::python
