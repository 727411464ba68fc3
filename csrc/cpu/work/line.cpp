#include "cpu/work/line.h"

#include <algorithm>

namespace fastopt {
namespace {

// Work is handed out in whole tiles of a tensor.  A chunk costs some 0.2 microseconds, so small steps are cut into few;
// a large step is cut into chunks that keep the threads' streams long enough for the memory and yet wait for nobody
// long.  Below kParallel one thread is done sooner (docs/threads.md).
constexpr int64_t kSmallestChunk = 24;            // tiles
constexpr int64_t kChunksPerThread = 4;           // if that makes them no smaller than the smallest
constexpr int64_t kTensor = 256;                  // elements that take as long as the start of a tensor
constexpr int64_t kParallel = int64_t{24} << 10;  // elements
constexpr int64_t kLong = int64_t{512} << 10;     // elements that repay the wake-up of a thread

int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

}  // namespace

void Line::begin(const fastopt_team* team) {
  team_ = team;
  ranges_.clear();
  tiles_ = work_ = 0;
}

void Line::add(fastopt_tensor& tensor, int64_t begin, int64_t end, int32_t row) {
  ranges_.push_back({&tensor, begin, end, tiles_, row});
  tiles_ += divide_up(end - begin, kTile);
  work_ += end - begin + kTensor;
}

// Gives each thread the same number of chunks.
int64_t Line::chunk_size() const {
  if (work_ < kParallel) return tiles_;
  const int64_t share = divide_up(tiles_, thread_count(team_));
  const int64_t few = std::clamp<int64_t>(share / kSmallestChunk, 1, kChunksPerThread);
  return divide_up(share, std::max(few, divide_up(share, kLargestChunk)));
}

bool Line::is_long() const { return work_ >= kLong; }

size_t Line::range_at(int64_t tile) const {
  const auto after = std::upper_bound(ranges_.begin(), ranges_.end(), tile,
                                      [](int64_t t, const Range& range) { return t < range.first_tile; });
  return static_cast<size_t>(after - ranges_.begin()) - 1;
}

}  // namespace fastopt
