// The threads that share a step.
#pragma once
#include <stdint.h>

#include "fastopt.h"

namespace fastopt {

// How many threads a step may use.  `team`: threads that the caller lends, or nullptr.
int thread_count(const fastopt_team* team);

using ChunkFunction = void (*)(void* context, int64_t chunk);

// Chunks that threads share.
struct Work {
  int64_t chunks;
  ChunkFunction run;  // called as run(context, c) for every c in [0, chunks)
  void* context;
  bool long_job;                       // worth waking threads that sleep: 100 microseconds, say
  bool backwards = false;              // each thread begins at the end of its share
  const fastopt_team* team = nullptr;  // threads that the caller lends, or nullptr
};

// Does all chunks on the calling thread and as many awake helpers as there are; returns when all are done.  Each thread
// has its share of the chunks, the same one in every step of as many chunks, and then takes what others have left.
// While another step uses the helpers, the caller does all of it alone.  Helpers that sleep are woken for a long job
// and within a loop of jobs.  If a team is lent, its threads are the helpers, unless it declines.
void parallel(const Work& work);

}  // namespace fastopt
