// The threads that share a step.
#pragma once
#include <stdint.h>

namespace fastopt {

using ChunkFunction = void (*)(void* context, int64_t chunk);

// Calls run(context, c) for every c in [0, chunks), on the calling thread and as many awake helpers as there are, each
// taking the next chunk when it is free; returns when all are done.  While another step uses the helpers, the caller
// does all of it alone.  Helpers that sleep are woken for a long job (of 100 microseconds, say) and within a loop of
// jobs.
void parallel(int64_t chunks, ChunkFunction run, void* context, bool long_job);

}  // namespace fastopt
