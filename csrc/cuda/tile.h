// Moves one tile of an array between memory and a warp's lanes, in accesses of 16 bytes wherever the array begins.
#pragma once
#include <stdint.h>

#include "codecs/bits.h"
#include "cuda/warp.h"
#include "fastopt.h"

namespace fastopt::cuda {

constexpr int kBlock = FASTOPT_BLOCK;

struct alignas(16) Vector {
  uint32_t words[4];
};
constexpr int kBytes = sizeof(Vector);

// Memory in which the lanes of a warp exchange a tile, large enough for the widest elements.
struct Exchange {
  Vector vectors[kBlock * sizeof(double) / kBytes];
  template <class D> FASTOPT_INLINE D* elements() { return reinterpret_cast<D*>(vectors); }
};

// The elements of a tile that a step covers.  The step takes the others for zeros and leaves them as they are.
struct Window {
  int begin, end;
  FASTOPT_INLINE bool has(int i) const { return begin <= i && i < end; }
  FASTOPT_INLINE bool holds(int length) const { return begin <= 0 && end >= length; }
};

// The index in a tile of a lane's k-th element, if neighbours come in runs of `kRun`.
template <int kRun> FASTOPT_INLINE int element(int k) { return (k / kRun * kLanes + lane()) * kRun + k % kRun; }

// Elements of type D, `kEach` in each lane.  A whole tile at a multiple of 16 bytes goes straight into the lanes'
// registers if a run is a vector.  Any other tile goes through the exchange.  Memory and exchange trade whole vectors
// too, except for the bytes before the first vector and behind the last.
template <class D, int kRun, int kEach> class Tile {
 public:
  D values[kEach];

  // Begins to read, so that the reads of several arrays are under way together.
  FASTOPT_INLINE void fetch(const D* from, Window window) {
    fast_ = is_fast(from, window);
    if (!fast_) {
#pragma unroll 1
      for (int i = lane() * kIn; i < kTile; i += kLanes * kIn) {
        if (window.has(i)) FASTOPT_PREFETCH(from + i);
      }
      return;
    }
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      const int i = r * kLanes + lane();
      if (i < kVectors) rows_[r] = reinterpret_cast<const Vector*>(from)[i];
    }
  }

  // Ends the read.
  FASTOPT_INLINE void take(const D* from, Window window, Exchange& exchange) {
    if constexpr (kDirect) {
      if (fast_) {
        __builtin_memcpy(values, rows_, sizeof values);
        return;
      }
    }
    if (fast_) {
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
        const int i = r * kLanes + lane();
        if (i < kVectors) exchange.vectors[i] = rows_[r];
      }
    } else {
      gather(from, window, exchange);
    }
    __syncwarp();
#pragma unroll
    for (int k = 0; k < kEach; k += kRun) {
      const Run run = exchange.template elements<Run>()[k / kRun * kLanes + lane()];
#pragma unroll
      for (int j = 0; j < kRun; ++j) values[k + j] = run.each[j];
    }
    __syncwarp();
  }

  FASTOPT_INLINE void put(D* to, Window window, Exchange& exchange) const {
    const bool fast = is_fast(to, window);
    if constexpr (kDirect) {
      if (fast) {
        Vector rows[kRows];
        __builtin_memcpy(rows, values, sizeof values);
#pragma unroll
        for (int r = 0; r < kRows; ++r) reinterpret_cast<Vector*>(to)[r * kLanes + lane()] = rows[r];
        return;
      }
    }
#pragma unroll
    for (int k = 0; k < kEach; k += kRun) {
      Run run;
#pragma unroll
      for (int j = 0; j < kRun; ++j) run.each[j] = values[k + j];
      exchange.template elements<Run>()[k / kRun * kLanes + lane()] = run;
    }
    __syncwarp();
    if (fast) {
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
        const int i = r * kLanes + lane();
        if (i < kVectors) reinterpret_cast<Vector*>(to)[i] = exchange.vectors[i];
      }
    } else {
      scatter(to, window, exchange);
    }
    __syncwarp();
  }

  FASTOPT_INLINE void fill(D value) {
#pragma unroll
    for (int k = 0; k < kEach; ++k) values[k] = value;
  }

 private:
  static constexpr int kTile = kEach * kLanes;
  static constexpr int kIn = kBytes / sizeof(D);                  // elements of a vector
  static constexpr int kVectors = kTile / kIn;                    // vectors of a tile
  static constexpr int kRows = (kVectors + kLanes - 1) / kLanes;  // rows of vectors, one vector for each lane
  static constexpr bool kDirect = kRun * sizeof(D) == sizeof(Vector);

  // Elements between the start of the first element's vector in memory and that element.
  static FASTOPT_INLINE int shift(const D* at) {
    return static_cast<int>(reinterpret_cast<uintptr_t>(at) % kBytes / sizeof(D));
  }

  static FASTOPT_INLINE bool is_fast(const D* at, Window window) { return shift(at) == 0 && window.holds(kTile); }

  // Neighbours that one access moves.
  static constexpr int kRunBytes = kRun * sizeof(D);
  struct alignas(kRunBytes < kBytes ? kRunBytes : kBytes) Run {
    D each[kRun];
  };

  // Visits the vectors in memory that the window touches.  Calls whole(i) for a vector within the window, with the
  // index of its first element in the tile, and single(j) for each element that the window holds of any other vector.
  template <class Whole, class Single>
  static FASTOPT_INLINE void visit(const D* at, Window window, Whole whole, Single single) {
    const int begin = window.begin > 0 ? window.begin : 0, end = window.end < kTile ? window.end : kTile;
    const int first = (shift(at) + begin) / kIn * kIn - shift(at);
#pragma unroll 1
    for (int i = first + lane() * kIn; i < end; i += kLanes * kIn) {
      if (i >= begin && i + kIn <= end) {
        whole(i);
      } else {
#pragma unroll 1
        for (int j = i > begin ? i : begin; j < i + kIn && j < end; ++j) single(j);
      }
    }
  }

  // Puts zeros outside the window.
  static FASTOPT_OUTLINE void gather(const D* from, Window window, Exchange& exchange) {
    D* const elements = exchange.template elements<D>();
#pragma unroll 1
    for (int i = lane(); i < kTile; i += kLanes) elements[i] = 0;
    __syncwarp();
    const auto whole = [&](int i) {
      D each[kIn];
      const Vector vector = *reinterpret_cast<const Vector*>(from + i);
      __builtin_memcpy(each, &vector, sizeof each);
#pragma unroll
      for (int j = 0; j < kIn; ++j) elements[i + j] = each[j];
    };
    visit(from, window, whole, [&](int i) { elements[i] = from[i]; });
  }

  static FASTOPT_OUTLINE void scatter(D* to, Window window, Exchange& exchange) {
    const D* const elements = exchange.template elements<D>();
    const auto whole = [&](int i) {
      D each[kIn];
#pragma unroll
      for (int j = 0; j < kIn; ++j) each[j] = elements[i + j];
      Vector vector;
      __builtin_memcpy(&vector, each, sizeof each);
      *reinterpret_cast<Vector*>(to + i) = vector;
    };
    visit(to, window, whole, [&](int i) { to[i] = elements[i]; });
  }

  Vector rows_[kRows];
  bool fast_;
};

// The tile of an array that a format lacks.
template <int kRun, int kEach> class Tile<None, kRun, kEach> {
 public:
  None values[kEach];
  FASTOPT_INLINE void fetch(const None*, Window) {}
  FASTOPT_INLINE void take(const None*, Window, Exchange&) {}
  FASTOPT_INLINE void put(None*, Window, Exchange&) const {}
};

}  // namespace fastopt::cuda
