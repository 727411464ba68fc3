// How many processors this process may use.
#pragma once

namespace fastopt {

// The processors of the affinity mask, or fewer if a container's quota gives less time than that; at least 1.
// Found out when the library is loaded.
int available_processors();

}  // namespace fastopt
