// How often this process has come out of a fork: what another thread had locked stays locked in the child.
#pragma once
#include <stdint.h>

namespace fastopt::python {

uint32_t fork_count();

}  // namespace fastopt::python
