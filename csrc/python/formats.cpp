#include "python/formats.h"

#include <pybind11/stl.h>

#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "python/arrays.h"
#include "python/plan.h"

namespace fastopt::python {
namespace {

using Row = std::tuple<std::string, int32_t, int32_t, int32_t>;
using Noise = std::tuple<uint64_t, int64_t, int32_t, int64_t>;  // seed, step, stream, offset

std::vector<Row> formats() {
  std::vector<Row> rows;
  for (int32_t i = 1; const fastopt_format* format = fastopt_format_at(i); ++i) {
    rows.emplace_back(format->name, format->size, format->extra_size, format->extra_span);
  }
  return rows;
}

int32_t find(const std::string& name) {
  const int32_t index = fastopt_find_format(name.c_str());
  if (index < 0) throw py::value_error("no format named " + name);
  return index;
}

// The memory of an ndarray of `count` elements of `size` bytes.
void* memory(const py::object& object, int64_t count, int64_t size, bool written) {
  if (!ArrayView::is_array(object.ptr())) throw py::type_error("expected ndarrays");
  const ArrayView view(object.ptr());
  if (!view.contiguous() || (written && !view.writable()) || view.element_size() != size || view.length() != count) {
    throw py::value_error("expected a contiguous array of the format's size");
  }
  return view.data();
}

void* extra_memory(const py::object& object, int64_t length, const fastopt_format& format, bool written) {
  if (format.extra_size == 0) return nullptr;
  return memory(object, (length + format.extra_span - 1) / format.extra_span, format.extra_size, written);
}

py::array_t<float> decode(const std::string& name, const py::object& data, const py::object& extra) {
  const int32_t index = find(name);
  const fastopt_format& format = *fastopt_format_at(index);
  if (!ArrayView::is_array(data.ptr())) throw py::type_error("expected ndarrays");
  const int64_t length = ArrayView(data.ptr()).length();
  const void* from = memory(data, length, format.size, false);
  const void* beside = extra_memory(extra, length, format, false);
  py::array_t<float> values(length);
  raise_on(fastopt_decode(index, from, beside, length, values.mutable_data()));
  return values;
}

void encode(const std::string& name, const py::object& values, const py::object& data, const py::object& extra,
            const std::optional<Noise>& noise) {
  const int32_t index = find(name);
  const fastopt_format& format = *fastopt_format_at(index);
  if (!ArrayView::is_array(values.ptr())) throw py::type_error("expected ndarrays");
  const ArrayView view(values.ptr());
  if (view.dtype() != FASTOPT_FLOAT32 || !view.contiguous())
    throw py::value_error("expected contiguous float32 values");
  void* to = memory(data, view.length(), format.size, true);
  void* beside = extra_memory(extra, view.length(), format, true);
  fastopt_noise words{};
  if (noise) words = {std::get<0>(*noise), std::get<1>(*noise), std::get<3>(*noise), std::get<2>(*noise)};
  raise_on(fastopt_encode(index, static_cast<const float*>(view.data()), view.length(), noise ? &words : nullptr, to,
                          beside));
}

}  // namespace

void register_formats(py::module_& module) {
  module.def("formats", &formats);
  module.def("decode", &decode, py::arg("format"), py::arg("data"), py::arg("extra"));
  module.def("encode", &encode, py::arg("format"), py::arg("values"), py::arg("data"), py::arg("extra"),
             py::arg("noise"));
}

}  // namespace fastopt::python
