#include "python/own_memory.h"

#include <pybind11/stl.h>

#include <algorithm>
#include <tuple>

namespace fastopt::python {
namespace {

ArrayView view_of(const py::object& object) {
  if (!ArrayView::is_array(object.ptr())) throw py::type_error("expected ndarrays");
  return ArrayView(object.ptr());
}

}  // namespace

bool sort_disjoint(std::vector<Interval>& intervals) {
  std::sort(intervals.begin(), intervals.end());
  const auto meet = [](const Interval& a, const Interval& b) { return b.begin < a.end; };
  return std::adjacent_find(intervals.begin(), intervals.end(), meet) == intervals.end();
}

void* OwnMemory::keep(const py::object& object, void* data, int64_t bytes) {
  arrays_.emplace_back(object);
  if (bytes) intervals_.emplace_back(data, bytes);
  return data;
}

void* OwnMemory::take(const py::object& object, const ArrayView& like, int64_t element_size) {
  if (object.is_none()) return nullptr;
  const ArrayView view = view_of(object);
  if (!view.dense() || !view.aligned() || !view.writable() || view.element_size() != element_size ||
      !view.same_layout(like)) {
    throw py::value_error("expected dense, writable arrays of one shape, layout and dtype");
  }
  return keep(object, view.data(), view.length() * element_size);
}

// What a format has for `length` elements in spans of `format.extra_span`.
void* OwnMemory::take_extra(const py::object& object, int64_t length, const fastopt_format& format) {
  const int64_t bytes = (length + format.extra_span - 1) / format.extra_span * format.extra_size;
  const ArrayView view = view_of(object);
  if (!view.dense() || !view.aligned() || !view.writable() || view.element_size() * view.length() != bytes) {
    throw py::value_error("expected a dense, writable array beside the elements");
  }
  return keep(object, view.data(), bytes);
}

void* OwnMemory::take_in_format(const py::object& entry, const ArrayView& like, int32_t dtype, void*& extra,
                                int32_t& format) {
  const auto [data, beside, index] = py::cast<std::tuple<py::object, py::object, int32_t>>(entry);
  const fastopt_format* row = fastopt_format_at(index);
  if (index != 0 && !row) throw py::value_error("no such format");
  format = index;
  if (row && row->extra_size > 0) extra = take_extra(beside, like.length(), *row);
  if (!row || row->extra_span == 1) return take(data, like, row ? row->size : ArrayView::size_of(dtype));
  return take_extra(data, like.length(),
                    {row->name, row->size, row->extra_span * row->size, row->extra_span});  // codes, in whole blocks
}

void OwnMemory::close() {
  if (!sort_disjoint(intervals_)) throw py::value_error("arrays overlap");
}

bool OwnMemory::overlaps(Interval memory) const {
  const auto next = std::upper_bound(intervals_.begin(), intervals_.end(), memory);
  if (next != intervals_.end() && next->begin < memory.end) return true;
  return next != intervals_.begin() && std::prev(next)->end > memory.begin;
}

}  // namespace fastopt::python
