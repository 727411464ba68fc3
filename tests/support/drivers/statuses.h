// The error statuses of every function: each refusal has its status, and nothing was written or counted.
#pragma once
#include <math.h>
#include <string.h>

#include <string>

#include "guarded.h"

namespace {

// Two good tensors of amsgrad, whose variant has the most state.  Each test breaks one thing in the second, and the
// first shows whether anything was written.
struct Scene {
  static constexpr int kLength = 5, kArrays = 5;
  float arrays[2][kArrays][kLength];
  fastopt_group group{};
  fastopt_tensor tensors[2]{};
  fastopt_plan plan = plan_of(tensors, 2, &group, 1, 0);
  fastopt_options options{sizeof options, 1, 0, 0, 0, 0, 0, 0, nullptr};

  Scene() {
    group.rule = fastopt_find_rule("adam");
    group.lr = 0.1;
    const fastopt_rule* rule = fastopt_rule_at(group.rule);
    for (int32_t i = 0; i < rule->hyperparameter_count; ++i) {
      if (strcmp(rule->hyperparameters[i], "amsgrad") == 0) group.hyperparameters[i] = 1;
    }
    for (int t = 0; t < 2; ++t) {
      for (int a = 0; a < kArrays; ++a) {
        for (int i = 0; i < kLength; ++i) arrays[t][a][i] = static_cast<float>(1 + t + a + i);
      }
      tensors[t].param = arrays[t][0];
      tensors[t].grad = arrays[t][1];
      for (int k = 0; k < 3; ++k) tensors[t].state[k] = arrays[t][2 + k];
      tensors[t].length = kLength;
      tensors[t].dtype = FASTOPT_FLOAT32;
    }
  }
};

template <class Break> void refuses(fastopt_status expected, const char* what, Break break_it) {
  const Scene good;
  Scene scene;
  break_it(scene);
  const int64_t before[2] = {scene.tensors[0].steps, scene.tensors[1].steps};
  const auto untouched = [&](fastopt_status status, const char* call) {
    const std::string words = std::string(what) + ": " + call;
    expect(status == expected, words + " gave \"" + fastopt_status_message(status) + '"');
    expect(memcmp(scene.arrays, good.arrays, sizeof good.arrays) == 0, words + " wrote");
    expect(scene.tensors[0].steps == before[0] && scene.tensors[1].steps == before[1], words + " counted");
  };
  untouched(fastopt_step(&scene.plan, &scene.options, nullptr), "fastopt_step");
  untouched(fastopt_step_part(&scene.plan, &scene.options, 1, 0, 2), "fastopt_step_part");
}

void bad_part(int64_t tensor, int64_t begin, int64_t end) {
  const Scene good;
  Scene scene;
  expect(fastopt_step_part(&scene.plan, &scene.options, tensor, begin, end) == FASTOPT_BAD_RANGE,
         "a bad part was taken");
  expect(memcmp(scene.arrays, good.arrays, sizeof good.arrays) == 0, "a bad part was written");
}

void check_needs_all() {
  for (int stage = 0; stage < 2; ++stage) {
    const Scene good;
    Scene scene;
    (stage == 0 ? scene.options.max_norm : scene.options.grad_scale) = 1;
    scene.options.skip_nonfinite = stage;
    expect(fastopt_step_part(&scene.plan, &scene.options, 0, 0, 2) == FASTOPT_NEEDS_ALL,
           "a part without all gradients");
    expect(memcmp(scene.arrays, good.arrays, sizeof good.arrays) == 0, "a refused part was written");
  }
}

void check_plans() {
  Scene good;
  must(fastopt_step(&good.plan, &good.options, nullptr));
  refuses(FASTOPT_BAD_RULE, "rule -1", [](Scene& s) { s.group.rule = -1; });
  refuses(FASTOPT_BAD_RULE, "rule past the end", [](Scene& s) { s.group.rule = fastopt_rule_count(); });
  refuses(FASTOPT_BAD_GROUP, "group -1", [](Scene& s) { s.tensors[1].group = -1; });
  refuses(FASTOPT_BAD_GROUP, "group past the end", [](Scene& s) { s.tensors[1].group = 1; });
  refuses(FASTOPT_BAD_GROUP, "no groups", [](Scene& s) { s.plan.groups = nullptr, s.plan.group_count = 0; });
  refuses(FASTOPT_BAD_DTYPE, "dtype -1", [](Scene& s) { s.tensors[1].dtype = -1; });
  refuses(FASTOPT_BAD_DTYPE, "dtype 2", [](Scene& s) { s.tensors[1].dtype = 2; });
  refuses(FASTOPT_BAD_LENGTH, "length -1", [](Scene& s) { s.tensors[1].length = -1; });
  refuses(FASTOPT_BAD_LENGTH, "offset -1", [](Scene& s) { s.tensors[1].offset = -1; });
  refuses(FASTOPT_BAD_LENGTH, "steps -1", [](Scene& s) { s.tensors[1].steps = -1; });
  refuses(FASTOPT_NULL_POINTER, "no parameter", [](Scene& s) { s.tensors[1].param = nullptr; });
  for (int k = 0; k < 3; ++k)
    refuses(FASTOPT_NULL_POINTER, "no state", [k](Scene& s) { s.tensors[1].state[k] = nullptr; });
  refuses(FASTOPT_BAD_OPTION, "an infinite scale", [](Scene& s) { s.options.grad_scale = INFINITY; });
  refuses(FASTOPT_BAD_OPTION, "clip_value -1", [](Scene& s) { s.options.clip_value = -1; });
  refuses(FASTOPT_BAD_OPTION, "max_norm NaN", [](Scene& s) { s.options.max_norm = NAN; });
  refuses(FASTOPT_BAD_OPTION, "ema_decay 1", [](Scene& s) { s.options.ema_decay = 1; });
  for (const double bad : {-1.0, -5e-324, double{INFINITY}, double{NAN}})
    refuses(FASTOPT_BAD_OPTION, "a bad norm_eps", [bad](Scene& s) { s.options.norm_eps = bad; });
  fastopt_team team{sizeof team, [](void*) { return 1; },
                    [](void*, int32_t, void (*)(void*, int32_t), void*) { return 0; }, nullptr};
  const auto with_team = [&team](Scene& s) { s.options.team = &team; };
  team.size = sizeof team - 1;
  refuses(FASTOPT_BAD_SIZE, "a team of no size", with_team);
  team.size = sizeof team + 8;
  refuses(FASTOPT_NEWER, "a longer team", with_team);
  team.size = sizeof team;
  team.threads = nullptr;
  refuses(FASTOPT_BAD_OPTION, "a team that cannot count", with_team);
  team = {sizeof team, [](void*) { return 1; }, nullptr, nullptr};
  refuses(FASTOPT_BAD_OPTION, "a team that cannot run", with_team);
  refuses(FASTOPT_BAD_DTYPE, "a copy of dtype 4", [](Scene& s) {
    s.tensors[1].copy = s.tensors[1].grad;
    s.tensors[1].copy_dtype = 4;
  });
  check_needs_all();
  bad_part(-1, 0, 1);
  bad_part(2, 0, 1);
  bad_part(0, -1, 1);
  bad_part(0, 3, 2);
  bad_part(0, 0, Scene::kLength + 1);
  bad_part(0, INT64_MIN, INT64_MAX);
}

void check_gradients() {
  const Scene good;
  Scene scene;
  scene.tensors[1].grad = nullptr;
  must(fastopt_step(&scene.plan, &scene.options, nullptr));
  expect(scene.tensors[0].steps == 1 && memcmp(scene.arrays[0], good.arrays[0], sizeof good.arrays[0]) != 0,
         "a tensor was left out");
  expect(scene.tensors[1].steps == 0 && memcmp(scene.arrays[1], good.arrays[1], sizeof good.arrays[1]) == 0,
         "a tensor without a gradient was not left alone");
  expect(fastopt_step_part(&scene.plan, &scene.options, 1, 0, 1) == FASTOPT_BAD_RANGE,
         "a part without a gradient was taken");
  expect(fastopt_count(&scene.plan, -1) == FASTOPT_BAD_RANGE && fastopt_count(&scene.plan, 2) == FASTOPT_BAD_RANGE,
         "a tensor that is not there was counted");
  const fastopt_plan empty = plan_of(nullptr, 0, nullptr, 0, 0);
  must(fastopt_step(&empty, &scene.options, nullptr));
  fastopt_tensor nothing{};  // no elements, and so no arrays
  const fastopt_plan zero = plan_of(&nothing, 1, &scene.group, 1, 0);
  must(fastopt_step(&zero, &scene.options, nullptr));
}

void check_floor() {
  Scene scene;
  const auto floor = [&](auto break_it, int32_t slots) {
    fastopt_tensor tensor = scene.tensors[0];
    break_it(tensor);
    const fastopt_plan plan = plan_of(&tensor, 1, nullptr, 0, 0);
    return fastopt_floor(&plan, 0, slots, &scene.options);
  };
  const auto keep = [](fastopt_tensor&) {};
  expect(floor(keep, -1) == FASTOPT_BAD_RULE && floor(keep, FASTOPT_MAX_SLOTS + 1) == FASTOPT_BAD_RULE,
         "floor: bad slot count");
  expect(floor([](fastopt_tensor& t) { t.dtype = 2; }, 3) == FASTOPT_BAD_DTYPE, "floor: bad dtype");
  expect(floor([](fastopt_tensor& t) { t.length = -1; }, 3) == FASTOPT_BAD_LENGTH, "floor: bad length");
  expect(floor([](fastopt_tensor& t) { t.param = nullptr; }, 3) == FASTOPT_NULL_POINTER, "floor: no parameter");
  expect(floor([](fastopt_tensor& t) { t.grad = nullptr; }, 3) == FASTOPT_NULL_POINTER, "floor: no gradient");
  expect(floor([](fastopt_tensor& t) { t.param_format = 99; }, 3) == FASTOPT_BAD_FORMAT, "floor: bad format");
  expect(floor([](fastopt_tensor& t) { t.grad_format = 99; }, 3) == FASTOPT_BAD_FORMAT, "floor: bad format");
  expect(floor([](fastopt_tensor& t) { t.state_format[2] = -1; }, 3) == FASTOPT_BAD_FORMAT, "floor: bad format");
  expect(floor([](fastopt_tensor& t) { t.state_format[0] = fastopt_find_format("8bit"); }, 3) == FASTOPT_NULL_POINTER,
         "floor: no block words");
  expect(floor(keep, 4) == FASTOPT_NULL_POINTER, "floor: no state");
  expect(memcmp(scene.arrays, Scene().arrays, sizeof scene.arrays) == 0, "a refused floor wrote");
  must(floor(keep, 3));
}

void check_names() {
  expect(fastopt_rule_count() > 0, "there are no rules");
  for (int32_t i = 0; i < fastopt_rule_count(); ++i) {
    const fastopt_rule* rule = fastopt_rule_at(i);
    expect(rule && fastopt_find_rule(rule->name) == i, "a rule is not found by its name");
  }
  expect(!fastopt_rule_at(-1) && !fastopt_rule_at(fastopt_rule_count()), "there is a rule outside the table");
  expect(fastopt_find_rule("none") == -1 && fastopt_find_rule(nullptr) == -1, "a rule without a name was found");
  fastopt_group group{};
  double scalars[FASTOPT_MAX_SCALARS];
  double running[FASTOPT_MAX_RUNNING] = {};
  const auto derive = [&](const fastopt_group* of, int64_t t) { return fastopt_derive(of, t, running, scalars); };
  expect(derive(&group, 0) == FASTOPT_BAD_LENGTH, "step 0 was derived");
  group.rule = fastopt_find_rule("nadam");
  expect(fastopt_derive(&group, 1, nullptr, scalars) == FASTOPT_NULL_POINTER, "derived without a running scalar");
  group.rule = fastopt_rule_count();
  expect(derive(&group, 1) == FASTOPT_BAD_RULE && derive(nullptr, 1) == FASTOPT_BAD_RULE,
         "a rule outside the table was derived");
  expect(fastopt_variant_of(&group) == -1 && fastopt_variant_of(nullptr) == -1, "a bad group has a variant");

  int32_t sets = 0;
  for (; fastopt_isa_at(sets); ++sets) {
    const bool runs = fastopt_isa_available(fastopt_isa_at(sets));
    expect(fastopt_set_isa(fastopt_isa_at(sets)) == (runs ? FASTOPT_OK : FASTOPT_BAD_ISA),
           "availability and choice differ");
    expect(!runs || strcmp(fastopt_isa(), fastopt_isa_at(sets)) == 0,
           "the chosen instruction set is not the active one");
  }
  expect(sets > 0 && strcmp(fastopt_isa_at(sets - 1), "scalar") == 0, "the last instruction set is not scalar");
  expect(!fastopt_isa_at(-1) && !fastopt_isa_at(sets + 1), "there is an instruction set outside the table");
  const std::string active = fastopt_isa();
  expect(fastopt_set_isa("sse") == FASTOPT_BAD_ISA && fastopt_set_isa(nullptr) == FASTOPT_BAD_ISA,
         "a bad instruction set was taken");
  expect(fastopt_isa_available(nullptr) == 0 && active == fastopt_isa(),
         "a refused instruction set changed the active one");
  expect(fastopt_num_threads() >= 1, "fewer than one thread");
  const int32_t threads = fastopt_num_threads();
  expect(fastopt_set_num_threads(0) == FASTOPT_BAD_THREADS && fastopt_set_num_threads(-1) == FASTOPT_BAD_THREADS,
         "0 threads were taken");
  expect(fastopt_num_threads() == threads, "a refused number of threads changed it");
  for (int status = FASTOPT_OK; status <= FASTOPT_NEWER + 1; ++status) {
    const char* message = fastopt_status_message(static_cast<fastopt_status>(status));
    const bool known = strcmp(message, "unknown status") != 0;
    expect(known == (status <= FASTOPT_NEWER) && *message, "a status has no message of its own");
  }
}

}  // namespace
