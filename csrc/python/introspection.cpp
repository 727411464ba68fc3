#include "python/introspection.h"

#include <pybind11/stl.h>

#include <algorithm>
#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "fastopt.h"
#include "step/exact_sum.h"

namespace fastopt::python {
namespace {

#include "headers.h"  // generated

namespace py = pybind11;

std::vector<std::string> names(const char* const* first, int32_t count) { return {first, first + count}; }

py::dict rules() {
  py::dict result;
  for (int32_t i = 0; i < fastopt_rule_count(); ++i) {
    const fastopt_rule& rule = *fastopt_rule_at(i);
    py::dict variants;
    for (int32_t v = 0; v < rule.variant_count; ++v) {
      const fastopt_variant& variant = rule.variants[v];
      std::vector<std::string> slots(variant.slot_count);
      for (int32_t k = 0; k < variant.slot_count; ++k) slots[k] = rule.slots[variant.slots[k]];
      variants[variant.name] = slots;
    }
    py::dict entry;
    entry["hyperparameters"] = names(rule.hyperparameters, rule.hyperparameter_count);
    entry["slots"] = names(rule.slots, rule.slot_count);
    entry["running"] = names(rule.running, rule.running_count);
    entry["scalars"] = names(rule.scalars, rule.scalar_count);
    entry["variants"] = variants;
    result[rule.name] = entry;
  }
  return result;
}

fastopt_group make_group(const std::string& rule, double lr, const std::vector<double>& hyperparameters) {
  fastopt_group group{fastopt_find_rule(rule.c_str()), 0, 0, lr, 0, 0, {}};
  if (group.rule < 0) throw py::value_error("no rule named " + rule);
  if (hyperparameters.size() != static_cast<size_t>(fastopt_rule_at(group.rule)->hyperparameter_count)) {
    throw py::value_error("wrong number of hyperparameters");
  }
  std::copy(hyperparameters.begin(), hyperparameters.end(), group.hyperparameters);
  return group;
}

std::vector<double> derive(const std::string& rule, double lr, const std::vector<double>& hyperparameters, int64_t t,
                           std::vector<double> running) {
  const fastopt_group group = make_group(rule, lr, hyperparameters);
  if (running.size() != static_cast<size_t>(fastopt_rule_at(group.rule)->running_count)) {
    throw py::value_error("wrong number of running scalars");
  }
  std::vector<double> scalars(fastopt_rule_at(group.rule)->scalar_count);
  if (fastopt_derive(&group, t, running.data(), scalars.data()) != FASTOPT_OK)
    throw py::value_error("t: expected a step number from 1");
  return scalars;
}

std::string variant_of(const std::string& rule, const std::vector<double>& hyperparameters) {
  const fastopt_group group = make_group(rule, 0, hyperparameters);
  return fastopt_rule_at(group.rule)->variants[fastopt_variant_of(&group)].name;
}

std::vector<std::string> isa_compiled() {
  std::vector<std::string> result;
  for (int32_t i = 0; const char* name = fastopt_isa_at(i); ++i) result.emplace_back(name);
  return result;
}

std::optional<std::string> isa_last_run() {
  const char* name = fastopt_isa_last_run();
  return name ? std::optional<std::string>(name) : std::nullopt;
}

// Seconds of a processor's cycle, now: a chain of operations of one cycle each, by a clock; 0 if that is not known
// here.
double cycle_seconds() {
#if defined(__x86_64__) || defined(__aarch64__)
  constexpr int64_t kRounds = 20000, kEach = 16;
  double best = 1;
  for (int attempt = 0; attempt < 5; ++attempt) {
    uint64_t x = 1, y = 3;
    const auto begin = std::chrono::steady_clock::now();
    for (int64_t i = 0; i < kRounds; ++i) {
      for (int64_t k = 0; k < kEach; ++k) {
#ifdef __x86_64__
        asm volatile("xor %1, %0" : "+r"(x) : "r"(y));
#else
        asm volatile("eor %0, %0, %1" : "+r"(x) : "r"(y));
#endif
      }
    }
    const std::chrono::duration<double> passed = std::chrono::steady_clock::now() - begin;
    best = std::min(best, passed.count() / (kRounds * kEach));
  }
  return best;
#else
  return 0;
#endif
}

// The limits of the structures, by which Python lays out a step on a GPU.
py::dict limits() {
  py::dict result;
  result["slots"] = FASTOPT_MAX_SLOTS;
  result["running"] = FASTOPT_MAX_RUNNING;
  result["hyperparameters"] = FASTOPT_MAX_HYPERPARAMETERS;
  result["limbs"] = kSumLimbs;
  return result;
}

// What a kernel for a GPU is compiled from: text by name in `#include`.
py::dict cuda_headers() {
  py::dict texts;
  for (const auto& [name, text] : kHeaders) texts[name] = text;
  return texts;
}

}  // namespace

void register_introspection(py::module_& module) {
  module.def("rules", &rules);
  module.def("derive", &derive, py::arg("rule"), py::arg("lr"), py::arg("hyperparameters"), py::arg("t"),
             py::arg("running"));
  module.def("variant_of", &variant_of, py::arg("rule"), py::arg("hyperparameters"));
  module.def("limits", &limits);
  module.def("isa_compiled", &isa_compiled);
  module.def(
      "isa_available", [](const std::string& name) { return fastopt_isa_available(name.c_str()) != 0; },
      py::arg("name"));
  module.def("isa_active", [] { return std::string(fastopt_isa()); });
  module.def("isa_last_run", &isa_last_run);
  module.def(
      "set_isa", [](const std::string& name) { return fastopt_set_isa(name.c_str()) == FASTOPT_OK; }, py::arg("name"));
  module.def("cuda_headers", &cuda_headers);
  module.def("cycle_seconds", &cycle_seconds);
  module.def("num_threads", &fastopt_num_threads);
  module.def(
      "set_num_threads", [](int32_t count) { return fastopt_set_num_threads(count) == FASTOPT_OK; }, py::arg("count"));
}

}  // namespace fastopt::python
