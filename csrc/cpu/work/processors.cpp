#include "cpu/work/processors.h"

#include <math.h>
#include <stdio.h>

#include <algorithm>
#include <string>
#include <thread>

#if defined(__linux__)
#include <sched.h>
#include <unistd.h>
#endif

namespace fastopt {
namespace {

int affinity() {
#if defined(__linux__)
  cpu_set_t set;
  // The process's, not this thread's: a program may pin each of its threads.
  if (sched_getaffinity(getpid(), sizeof set, &set) == 0) return CPU_COUNT(&set);
#endif
  return static_cast<int>(std::thread::hardware_concurrency());
}

std::string read(const std::string& path) {
  std::string text;
  if (FILE* file = fopen(path.c_str(), "r")) {
    char buffer[4096];
    text.assign(buffer, fread(buffer, 1, sizeof buffer, file));
    fclose(file);
  }
  return text;
}

// Processors' worth of time in one control group: quota over period of cpu.max (version 2) or cfs (version 1).
double quota(const std::string& folder) {
  double limit = 0, period = 0;
  if (sscanf(read(folder + "/cpu.max").c_str(), "%lf %lf", &limit, &period) == 2 && period > 0) return limit / period;
  if (sscanf(read(folder + "/cpu.cfs_quota_us").c_str(), "%lf", &limit) == 1 && limit > 0 &&
      sscanf(read(folder + "/cpu.cfs_period_us").c_str(), "%lf", &period) == 1 && period > 0) {
    return limit / period;
  }
  return HUGE_VAL;
}

// The tightest quota of the process's control group and of the groups around it.
double container_quota() {
  double least = HUGE_VAL;
  const std::string groups = read("/proc/self/cgroup");  // lines "id:controllers:/path"
  for (size_t begin = 0; begin < groups.size();) {
    const size_t end = std::min(groups.find('\n', begin), groups.size());
    const std::string line = groups.substr(begin, end - begin);
    begin = end + 1;
    const size_t first = line.find(':'), second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    // Version 2 has one line without controllers; version 1 one for each folder of controllers, such as "cpu,cpuacct".
    const std::string controllers = line.substr(first + 1, second - first - 1);
    if (!controllers.empty() && ("," + controllers + ",").find(",cpu,") == std::string::npos) continue;
    const std::string root = "/sys/fs/cgroup/" + controllers;
    for (std::string path = line.substr(second + 1);; path.erase(path.rfind('/'))) {
      least = std::min(least, quota(root + path));
      if (path.rfind('/') == std::string::npos) break;
    }
  }
  return least;
}

int count_processors() {
  int count = affinity();
  if (const double share = container_quota(); share < count) count = static_cast<int>(ceil(share));
  return std::max(count, 1);
}

// Counted when the library is loaded, so that no fork can come in between.
const int processors = count_processors();

}  // namespace

int available_processors() { return processors; }

}  // namespace fastopt
