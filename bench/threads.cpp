// The cost of handing a step to threads, in microseconds, with fastopt's pool and with OpenMP, for docs/threads.md.
//
//   g++ -std=c++17 -O3 -fopenmp -Iinclude -Icsrc bench/threads.cpp csrc/cpu/work/threads.cpp \
//     csrc/cpu/work/processors.cpp -o build/threads
//   build/threads pool; build/threads openmp
#include <time.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <thread>
#include <vector>

#include "cpu/work/threads.h"
#include "fastopt.h"

namespace {

using Clock = std::chrono::steady_clock;
using Run = void (*)(int64_t chunks, fastopt::ChunkFunction, void*, bool);

double microseconds(Clock::duration time) { return std::chrono::duration<double, std::micro>(time).count(); }

void pool(int64_t chunks, fastopt::ChunkFunction run, void* context, bool long_job) {
  fastopt::parallel({chunks, run, context, long_job});
}

void openmp(int64_t chunks, fastopt::ChunkFunction run, void* context, bool) {
#pragma omp parallel for schedule(dynamic, 1) num_threads(2)
  for (int64_t c = 0; c < chunks; ++c) run(context, c);
}

void nothing(void*, int64_t) {}

// A chunk that ends when each thread has begun one.
void meet(void* context, int64_t) {
  auto& arrived = *static_cast<std::atomic<int>*>(context);
  arrived.fetch_add(1);
  while (arrived.load() < 2) {
  }
}

void sleep_for(int microseconds) {
  const timespec time{0, microseconds * 1000L};
  nanosleep(&time, nullptr);
}

struct Spread {
  double median, high;  // high: the 90th percentile
};

Spread spread(std::vector<double> times) {
  std::sort(times.begin(), times.end());
  return {times[times.size() / 2], times[times.size() * 9 / 10]};
}

Spread measure(Run run, fastopt::ChunkFunction chunk, int rest, int count) {
  std::vector<double> times;
  for (int i = 0; i < count + 10; ++i) {
    std::atomic<int> arrived{0};
    if (rest) sleep_for(rest);
    const auto start = Clock::now();
    run(2, chunk, &arrived, true);
    if (i >= 10) times.push_back(microseconds(Clock::now() - start));
  }
  return spread(times);
}

double process_seconds() {
  timespec time;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return time.tv_sec + time.tv_nsec * 1e-9;
}

// Processor time that the process uses in the 20 ms after a step, while the caller sleeps.
Spread idle_use(Run run) {
  std::vector<double> times;
  for (int i = 0; i < 50; ++i) {
    std::atomic<int> arrived{0};
    run(2, meet, &arrived, true);
    const double before = process_seconds();
    sleep_for(20'000);
    times.push_back((process_seconds() - before) * 1e6);
  }
  return spread(times);
}

// A chunk of about 30 microseconds.
void work(void*, int64_t) {
  volatile double x = 1;
  for (int i = 0; i < 8'000; ++i) x = x * 0.999 + 0.001;
}

void alone(int64_t chunks, fastopt::ChunkFunction run, void* context, bool) {
  for (int64_t c = 0; c < chunks; ++c) run(context, c);
}

Spread busy(Run run) {
  std::vector<double> times;
  for (int i = 0; i < 200; ++i) {
    const auto start = Clock::now();
    run(64, work, nullptr, true);
    times.push_back(microseconds(Clock::now() - start));
  }
  return spread(times);
}

void print(const char* what, Spread times) { std::printf("%-55s %10.2f %10.2f\n", what, times.median, times.high); }

}  // namespace

// Each process measures one kind of threads: OpenMP's threads spin on after a step and would disturb the pool.
int main(int argc, char** argv) {
  const bool is_pool = argc > 1 && std::strcmp(argv[1], "pool") == 0;
  if (!is_pool && (argc < 2 || std::strcmp(argv[1], "openmp") != 0))
    return std::fprintf(stderr, "threads pool|openmp\n"), 2;
  const Run run = is_pool ? pool : openmp;
  fastopt_set_num_threads(2);
  std::printf("%-55s %10s %10s\n", argv[1], "median", "90 %");
  print("back to back, two empty chunks", measure(run, nothing, 0, 20'000));
  print("back to back, until both threads are at work", measure(run, meet, 0, 20'000));
  print("after 5 ms of rest, two empty chunks", measure(run, nothing, 5'000, 300));
  print("after 5 ms of rest, until both threads are at work", measure(run, meet, 5'000, 300));
  print("processor time in the 20 ms after a step", idle_use(run));
  print("64 chunks of 30 us on one thread", busy(alone));
  print("64 chunks of 30 us on two", busy(run));
  std::atomic<bool> stop{false};
  std::thread neighbour([&] {
    while (!stop.load()) {
    }
  });
  print("64 chunks of 30 us on two, one with a busy neighbour", busy(run));
  stop = true;
  neighbour.join();
}
