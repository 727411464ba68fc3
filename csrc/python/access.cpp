#include "python/access.h"

#include <stdexcept>

#include "python/gil.h"

namespace fastopt::python {

void Access::wait(Lock& lock) {
  do {
    const ReleasedGil release;
    const std::scoped_lock wait(*lock.mutex());
  } while (!lock.try_lock());
}

// In the child another thread may have left the mutex locked, and a step between its first and its last element.
void Access::after_fork() {
  mutex_.release();  // NOLINT(bugprone-unused-return-value): a locked mutex cannot be destroyed
  mutex_ = std::make_unique<std::recursive_mutex>();
  forks_ = fork_count();
  torn_ = torn_ || writing_;
  looking_ = writing_ = false;
}

void Access::refuse() const {
  if (looking_)
    throw std::runtime_error("step: called by a gradient's own code, while a step of this optimizer looks at it");
  refuse_torn();
}

void Access::refuse_torn() {
  throw std::runtime_error(
      "this process was forked while another thread was in a step of this optimizer: some elements have had that step "
      "and others have not; load parameters and state (load_state_dict), or build another optimizer");
}

}  // namespace fastopt::python
