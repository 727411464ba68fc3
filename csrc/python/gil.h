// Work without the GIL.
#pragma once
#include <pybind11/pybind11.h>

#include <chrono>
#include <thread>
#include <utility>

namespace fastopt::python {

// While the interpreter ends, a thread that wants the GIL back never returns: until 3.13 Python ends such a thread by
// unwinding it through our frames, whose destructors need the GIL, and the process aborts.  For the handler of such a
// call: the unwinding goes on when the handler ends, which this never does.
[[noreturn]] inline void stay() {
  for (;;) std::this_thread::sleep_for(std::chrono::hours(1));
}

// Gives up the GIL for a scope.
class ReleasedGil {
 public:
  ReleasedGil() : state_(PyEval_SaveThread()) {}
  ~ReleasedGil() {
    try {
      PyEval_RestoreThread(state_);
    } catch (...) {
      stay();
    }
  }
  ReleasedGil(const ReleasedGil&) = delete;
  ReleasedGil& operator=(const ReleasedGil&) = delete;

 private:
  PyThreadState* const state_;
};

// A reference whose end may give up the GIL, as that of an array over an mmap does.
class Kept : public pybind11::object {
 public:
  Kept() = default;
  explicit Kept(pybind11::object object) : pybind11::object(std::move(object)) {}
  Kept(Kept&&) noexcept = default;
  Kept& operator=(Kept&& other) noexcept {
    std::swap(m_ptr, other.m_ptr);
    return *this;
  }
  Kept(const Kept&) = delete;
  Kept& operator=(const Kept&) = delete;
  ~Kept() {
    try {
      Py_XDECREF(release().ptr());
    } catch (...) {
      stay();
    }
  }
};

}  // namespace fastopt::python
