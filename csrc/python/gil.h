// Work without the GIL.
#pragma once
#include <pybind11/pybind11.h>

#include <chrono>
#include <thread>

namespace fastopt::python {

// Gives up the GIL for a scope.  While the interpreter ends, a thread that wants the GIL back never returns: until 3.13
// Python ends such a thread by unwinding it through our frames, whose destructors need the GIL, and the process aborts.
class ReleasedGil {
 public:
  ReleasedGil() : state_(PyEval_SaveThread()) {}
  ~ReleasedGil() {
    try {
      PyEval_RestoreThread(state_);
    } catch (...) {  // the unwinding, which goes on when this block ends: it does not
      for (;;) std::this_thread::sleep_for(std::chrono::hours(1));
    }
  }
  ReleasedGil(const ReleasedGil&) = delete;
  ReleasedGil& operator=(const ReleasedGil&) = delete;

 private:
  PyThreadState* const state_;
};

}  // namespace fastopt::python
