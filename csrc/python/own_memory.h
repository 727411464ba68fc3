// The arrays that a plan writes, and the memory that they cover.
#pragma once
#include <pybind11/pybind11.h>

#include <stdint.h>

#include <vector>

#include "python/arrays.h"
#include "python/gil.h"

namespace fastopt::python {

struct Interval {
  Interval(const void* data, int64_t bytes) : begin(reinterpret_cast<uintptr_t>(data)), end(begin + bytes) {}

  bool operator<(const Interval& other) const { return begin < other.begin; }

  uintptr_t begin, end;
};

// Sorts intervals; whether no two overlap.
bool sort_disjoint(std::vector<Interval>& intervals);

// Python has worded the errors of these arrays; what is wrong here all the same is refused without ceremony.
class OwnMemory {
 public:
  // Keeps an array whose elements lie as those of `like`; its memory, or nullptr for None.
  void* take(const py::object& object, const ArrayView& like, int64_t element_size);

  // Keeps what a format has for the elements of `like`, (array, array beside it or None, index of the format); the
  // memory of the first array, and of the second in `extra`.
  void* take_in_format(const py::object& entry, const ArrayView& like, int32_t dtype, void*& extra, int32_t& format);

  // To be called when everything has been taken; throws if any of it overlaps.
  void close();

  bool overlaps(Interval memory) const;

 private:
  void* take_extra(const py::object& object, int64_t length, const fastopt_format& format);
  void* keep(const py::object& object, void* data, int64_t bytes);

  std::vector<Kept> arrays_;
  std::vector<Interval> intervals_;  // sorted once closed
};

}  // namespace fastopt::python
