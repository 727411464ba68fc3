// The threads that share a step.
#pragma once
#include <stdint.h>

#include "fastopt.h"

namespace fastopt {

// How many threads a step may use.  `team`: threads that the caller lends, or nullptr.
int thread_count(const fastopt_team* team);

using ChunkFunction = void (*)(void* context, int64_t chunk);

// Calls run(context, c) for every c in [0, chunks), on the calling thread and as many awake helpers as there are, each
// taking the next chunk when it is free; returns when all are done.  While another step uses the helpers, the caller
// does all of it alone.  Helpers that sleep are woken for a long job (of 100 microseconds, say) and within a loop of
// jobs.  If a team is lent, its threads are the helpers, unless it declines.
void parallel(int64_t chunks, ChunkFunction run, void* context, bool long_job, const fastopt_team* team);

}  // namespace fastopt
