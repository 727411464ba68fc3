// The tensors of a step in one line of tiles, cut into chunks that the threads share.
#pragma once
#include <stddef.h>
#include <stdint.h>

#include <vector>

#include "cpu/work/float_control.h"
#include "cpu/work/threads.h"
#include "fastopt.h"

namespace fastopt {

// A range of one tensor.
struct Range {
  fastopt_tensor* tensor;
  int64_t begin, end;  // elements
  int64_t first_tile;  // in the line
  int32_t row;         // the step's
};

inline int64_t element_size(int32_t dtype) { return dtype == FASTOPT_FLOAT64 ? 8 : dtype == FASTOPT_FLOAT32 ? 4 : 2; }

class Line {
 public:
  static constexpr int64_t kTile = 1024;        // elements; whole blocks
  static constexpr int64_t kLargestChunk = 64;  // tiles

  // Empties the line; its chunks are for this team, or for the library's own threads.
  void begin(const fastopt_team* team);
  void add(fastopt_tensor& tensor, int64_t begin, int64_t end, int32_t row);
  const std::vector<Range>& ranges() const { return ranges_; }
  int64_t work() const { return work_; }  // elements, and some for each range

  enum class Order { kForwards, kBackwards };

  // Calls run(chunk) for every chunk, on all threads, under default floating-point control.  The order is that of each
  // thread's own chunks.
  template <class Run> void for_each_chunk(const Run& run, Order order = Order::kForwards) const {
    if (tiles_ == 0) return;
    const int64_t size = chunk_size(), count = (tiles_ + size - 1) / size;
    struct Job {
      const Run& run;
      int64_t size;
    } job{run, size};
    const auto call = [](void* context, int64_t index) {
      const FloatControl control;
      const Job& job = *static_cast<const Job*>(context);
      job.run({index * job.size, (index + 1) * job.size});
    };
    parallel({count, call, &job, is_long(), order == Order::kBackwards, team_});
  }

  struct Chunk {
    int64_t begin, end;  // tiles
  };

  // Calls visit(range, begin, end) for the elements of each range within a chunk.
  template <class Visit> void visit(Chunk chunk, const Visit& visit) const {
    for (size_t i = range_at(chunk.begin); i < ranges_.size() && ranges_[i].first_tile < chunk.end; ++i) {
      const Range& range = ranges_[i];
      if (range.begin == range.end) continue;
      const int64_t first = chunk.begin - range.first_tile, last = chunk.end - range.first_tile;
      const int64_t begin = range.begin + (first > 0 ? first : 0) * kTile, end = range.begin + last * kTile;
      visit(range, begin, end < range.end ? end : range.end);
    }
  }

  template <class Visit> void for_each_piece(const Visit& piece, Order order = Order::kForwards) const {
    for_each_chunk([&](Chunk chunk) { visit(chunk, piece); }, order);
  }

 private:
  int64_t chunk_size() const;           // tiles
  bool is_long() const;                 // worth waking sleeping threads
  size_t range_at(int64_t tile) const;  // the last one that begins there or before

  const fastopt_team* team_ = nullptr;
  std::vector<Range> ranges_;
  int64_t tiles_ = 0;
  int64_t work_ = 0;  // elements, and kTensor for each range
};

}  // namespace fastopt
