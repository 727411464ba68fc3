// Storage formats within guarded memory: how much memory their arrays take, which formats an array is refused, and
// every reader and writer of formats other than steps.
#pragma once
#include <math.h>
#include <stdint.h>
#include <string.h>

#include <string>
#include <vector>

#include "guarded.h"
#include "statuses.h"

namespace {

// The memory of an array in a format.  In format 0 an element has `native` bytes.
struct Layout {
  int64_t size, extra_size = 0, extra_span = 1;

  Layout(int32_t format, int64_t native) : size(native) {
    if (format == 0) return;
    const fastopt_format* row = fastopt_format_at(format);
    expect(row != nullptr, "there is no format " + std::to_string(format));
    size = row->size, extra_size = row->extra_size, extra_span = row->extra_span;
  }
  int64_t spans(int64_t length) const { return (length + extra_span - 1) / extra_span; }
  size_t data_bytes(int64_t length) const { return static_cast<size_t>(spans(length) * extra_span * size); }
  size_t extra_bytes(int64_t length) const { return static_cast<size_t>(spans(length) * extra_size); }
};

int32_t format_named(const char* name) {
  const int32_t format = fastopt_find_format(name);
  expect(format > 0, std::string("there is no format ") + name);
  return format;
}

// ---- Refusals -----------------------------------------------------------------------------------------------------

// Expects the refusal of a format for one array of the second tensor, which has no data beside its elements.
void refuses_formats(fastopt_status expected, const char* name, int32_t fastopt_tensor::* array) {
  refuses(expected, name, [&](Scene& s) { s.tensors[1].*array = format_named(name); });
}

void refuses_state(const char* name, int32_t slot) {
  refuses(FASTOPT_BAD_FORMAT, name, [&](Scene& s) {
    s.tensors[1].state_format[slot] = format_named(name);
    s.tensors[1].state_extra[slot] = s.arrays[0][0];
  });
}

void check_bad_formats() {
  int32_t count = 1;
  while (fastopt_format_at(count)) ++count;
  for (const int32_t bad : {-1, count, INT32_MIN, INT32_MAX}) {
    refuses(FASTOPT_BAD_FORMAT, "parameter", [&](Scene& s) { s.tensors[1].param_format = bad; });
    refuses(FASTOPT_BAD_FORMAT, "gradient", [&](Scene& s) { s.tensors[1].grad_format = bad; });
    for (int k = 0; k < 3; ++k)
      refuses(FASTOPT_BAD_FORMAT, "state", [&](Scene& s) { s.tensors[1].state_format[k] = bad; });
  }
  for (const char* name : {"float32", "8bit", "8bit non-negative", "bfloat16 non-negative"})
    refuses_formats(FASTOPT_BAD_FORMAT, name, &fastopt_tensor::param_format);
  for (const char* name : {"8bit", "8bit non-negative", "bfloat16 non-negative", "bfloat16 24bit", "float16 float32"})
    refuses_formats(FASTOPT_BAD_FORMAT, name, &fastopt_tensor::grad_format);
  for (const char* name : {"float16", "float32", "bfloat16 24bit", "float16 32bit"}) {
    for (int32_t slot = 0; slot < 3; ++slot) refuses_state(name, slot);
  }
  for (const char* name : {"bfloat16 non-negative", "8bit non-negative"}) refuses_state(name, 0);
  for (const char* name : {"bfloat16", "8bit"}) {
    refuses_state(name, 1);
    refuses_state(name, 2);
  }
}

void check_formats_of_float64() {
  const auto wide = [](auto break_it) {
    return [break_it](Scene& s) {
      s.tensors[1].dtype = FASTOPT_FLOAT64;
      s.tensors[1].length = Scene::kLength / 2;
      break_it(s.tensors[1]);
    };
  };
  refuses(FASTOPT_BAD_FORMAT, "float64: parameter",
          wide([](fastopt_tensor& t) { t.param_format = format_named("bfloat16"); }));
  refuses(FASTOPT_BAD_FORMAT, "float64: signed state",
          wide([](fastopt_tensor& t) { t.state_format[0] = format_named("bfloat16"); }));
  refuses(FASTOPT_BAD_FORMAT, "float64: state",
          wide([](fastopt_tensor& t) { t.state_format[1] = format_named("bfloat16 non-negative"); }));
  refuses(FASTOPT_BAD_FORMAT, "one slot of two",
          [](Scene& s) { s.tensors[1].state_format[0] = format_named("bfloat16"); });
}

void check_extras() {
  for (const char* master :
       {"bfloat16 24bit", "bfloat16 32bit", "bfloat16 float32", "float16 24bit", "float16 32bit", "float16 float32"})
    refuses_formats(FASTOPT_NULL_POINTER, master, &fastopt_tensor::param_format);
  const char* const kinds[] = {"8bit", "8bit non-negative", "8bit non-negative"};
  for (int k = 0; k < 3; ++k) {
    refuses(FASTOPT_NULL_POINTER, "no block words",
            [&](Scene& s) { s.tensors[1].state_format[k] = format_named(kinds[k]); });
    for (const int64_t offset : {1, FASTOPT_BLOCK - 1, FASTOPT_BLOCK + 1, 128}) {
      refuses(FASTOPT_BAD_RANGE, "an offset within a block", [&](Scene& s) {
        s.tensors[1].state_format[k] = format_named(kinds[k]);
        s.tensors[1].state_extra[k] = s.arrays[0][0];
        s.tensors[1].offset = offset;
      });
    }
  }
}

// fastopt_measure and fastopt_clip look at the gradient's format alone.
void check_sweeps() {
  const Scene good;
  Scene scene;
  fastopt_report report{};
  report.size = sizeof report;
  const auto both = [&](fastopt_status measured, fastopt_status clipped, const char* words) {
    scene.options.grad_scale = 0.5;
    expect(fastopt_measure(&scene.plan, &scene.options, &report) == measured, std::string("measure: ") + words);
    expect(fastopt_clip(&scene.plan, &scene.options, &report) == clipped, std::string("clip: ") + words);
    expect(memcmp(scene.arrays, good.arrays, sizeof good.arrays) == 0, std::string("a sweep wrote: ") + words);
  };
  for (const int32_t bad : {-1, 99, format_named("8bit"), format_named("float16 32bit")}) {
    scene.tensors[1].grad_format = bad;
    both(FASTOPT_BAD_FORMAT, FASTOPT_BAD_FORMAT, "a gradient's bad format");
  }
  scene.tensors[1].grad_format = format_named("bfloat16");
  scene.tensors[1].dtype = FASTOPT_FLOAT64;
  scene.tensors[1].param_format = -1;  // measure and clip do not look at this
  both(FASTOPT_OK, FASTOPT_BAD_FORMAT, "bfloat16 gradients of float64 parameters");
}

void check_bad_codes() {
  float values[4] = {1, 2, 3, 4}, decoded[4] = {9, 9, 9, 9};
  uint16_t data[4] = {7, 7, 7, 7};
  uint8_t extra[4] = {7, 7, 7, 7};
  const int32_t bare = format_named("bfloat16"), split = format_named("bfloat16 24bit");
  const fastopt_noise good{1, 1, 0, 0};
  const auto decode = [&](int32_t format, const void* from, const void* beside, int64_t length, float* to) {
    return fastopt_decode(format, from, beside, length, to);
  };
  const auto encode = [&](int32_t format, int64_t length, fastopt_noise noise) {
    return fastopt_encode(format, values, length, &noise, data, extra);
  };
  for (const int32_t bad : {-1, 0, 99}) {
    expect(decode(bad, data, extra, 4, decoded) == FASTOPT_BAD_FORMAT, "decode: a bad format");
    expect(encode(bad, 4, good) == FASTOPT_BAD_FORMAT, "encode: a bad format");
    expect(fastopt_encode(bad, values, 0, nullptr, nullptr, nullptr) == FASTOPT_BAD_FORMAT, "encode: a bad format");
  }
  expect(decode(bare, data, nullptr, -1, decoded) == FASTOPT_BAD_LENGTH, "decode: length -1");
  expect(encode(bare, -1, good) == FASTOPT_BAD_LENGTH, "encode: length -1");
  expect(encode(bare, 4, {1, -1, 0, 0}) == FASTOPT_BAD_LENGTH, "encode: step -1");
  expect(encode(bare, 4, {1, 1, -1, 0}) == FASTOPT_BAD_LENGTH, "encode: offset -1");
  for (const int32_t stream : {FASTOPT_PARAMETER_STREAM - 1, FASTOPT_MAX_SLOTS})
    expect(encode(bare, 4, {1, 1, 0, stream}) == FASTOPT_BAD_RANGE, "encode: a bad stream");
  expect(decode(bare, nullptr, nullptr, 4, decoded) == FASTOPT_NULL_POINTER, "decode: no data");
  expect(decode(bare, data, nullptr, 4, nullptr) == FASTOPT_NULL_POINTER, "decode: no values");
  expect(decode(split, data, nullptr, 4, decoded) == FASTOPT_NULL_POINTER, "decode: nothing beside the data");
  for (const fastopt_noise* noise : {&good, static_cast<const fastopt_noise*>(nullptr)}) {
    const auto missing = [&](int32_t format, const float* from, void* to, void* beside) {
      expect(fastopt_encode(format, from, 4, noise, to, beside) == FASTOPT_NULL_POINTER, "encode: an array is missing");
    };
    missing(bare, nullptr, data, nullptr);
    missing(bare, values, nullptr, nullptr);
    missing(split, values, data, nullptr);
    must(fastopt_encode(split, nullptr, 0, noise, nullptr, nullptr));
  }
  must(fastopt_decode(split, nullptr, nullptr, 0, nullptr));
  for (int i = 0; i < 4; ++i) expect(decoded[i] == 9 && data[i] == 7 && extra[i] == 7, "a refused call wrote");
}

void check_format_names() {
  int32_t count = 1;
  for (; fastopt_format_at(count); ++count) {
    const fastopt_format& row = *fastopt_format_at(count);
    expect(fastopt_find_format(row.name) == count, "a format is not found by its name");
    expect(row.size > 0 && row.extra_size >= 0, "a format without bytes");
    expect(row.extra_span == 1 || row.extra_span == FASTOPT_BLOCK, "blocks of another length");
  }
  expect(count > 1, "there are no formats");
  for (const int32_t bad : {0, -1, count + 1, INT32_MIN, INT32_MAX})
    expect(!fastopt_format_at(bad), "there is a format outside the table");
  for (const char* name : {"", "none", "8bit ", static_cast<const char*>(nullptr)})
    expect(fastopt_find_format(name) == -1, "a format without a name was found");
}

// ---- Round trips ---------------------------------------------------------------------------------------------------

// Encodes and decodes.  8-bit codes end with the last element, without padding.
void check_round_trip(int32_t format, int64_t length, const fastopt_noise* noise, size_t shift) {
  const Layout layout(format, sizeof(float));
  const auto bytes = [&](int64_t elements, int64_t size) { return static_cast<size_t>(elements * size); };
  Guarded values(bytes(length, sizeof(float)), shift * sizeof(float) % 64);
  Guarded data(bytes(length, layout.size), shift * layout.size % 64);
  Guarded extra(layout.extra_bytes(length), shift * 3 * layout.extra_size % 64);
  Guarded decoded(bytes(length, sizeof(float)), shift * 5 * sizeof(float) % 64);
  auto* const from = reinterpret_cast<float*>(values.data());
  for (int64_t i = 0; i < length; ++i) from[i] = static_cast<float>(1 + i % 7) * 0.37F;
  const std::vector<unsigned char> before(values.data(), values.data() + values.bytes());
  for (const Control control : {Control::kKeep, Control::kFlush, Control::kUpward}) {
    const CallersControl caller(control);
    must(fastopt_encode(format, from, length, noise, data.data(), extra.data()));
    must(fastopt_decode(format, data.data(), extra.data(), length, reinterpret_cast<float*>(decoded.data())));
  }
  for (const Guarded* array : {&values, &data, &extra, &decoded}) array->check_padding();
  expect(before.empty() || memcmp(values.data(), before.data(), before.size()) == 0, "encode changed its values");
  for (int64_t i = 0; i < length; ++i) {
    const float error = reinterpret_cast<const float*>(decoded.data())[i] - from[i];
    expect(error < 0.07F && error > -0.07F, "a value did not come back from its format");
  }
}

void check_round_trips() {
  const std::string active = fastopt_isa();
  const fastopt_noise noises[] = {
      {0, 1, 0, 0}, {5, INT64_MAX, 0x100000000 - 300, FASTOPT_PARAMETER_STREAM}, {5, 1, INT64_MAX - 1, 0}};
  for (int32_t i = 0; fastopt_isa_at(i); ++i) {
    if (!fastopt_isa_available(fastopt_isa_at(i))) continue;
    must(fastopt_set_isa(fastopt_isa_at(i)));
    for (int32_t format = 1; fastopt_format_at(format); ++format) {
      for (const int64_t length : {0, 1, 3, 17, 255, 256, 257, 511, 512, 513, 1300}) {
        check_round_trip(format, length, nullptr, static_cast<size_t>(length % 16));
        for (const fastopt_noise& noise : noises) check_round_trip(format, length, &noise, 3);
      }
    }
  }
  must(fastopt_set_isa(active.c_str()));
}

// ---- Gradients alone, and the floor --------------------------------------------------------------------------------

void check_sweeps_of(int32_t dtype, int32_t format, int64_t length) {
  const Layout layout(format, 0);
  const auto bytes = static_cast<size_t>(length * layout.size);
  Guarded grad(bytes, static_cast<size_t>(layout.size)), halves(bytes, 0);
  const std::vector<float> ones(length, 1.0F), half(length, 0.5F);
  must(fastopt_encode(format, ones.data(), length, nullptr, grad.data(), nullptr));
  must(fastopt_encode(format, half.data(), length, nullptr, halves.data(), nullptr));
  fastopt_tensor tensor{};
  tensor.grad = grad.data();
  tensor.length = length;
  tensor.dtype = dtype;
  tensor.grad_format = format;
  const fastopt_plan plan = plan_of(&tensor, 1, nullptr, 0, 0);
  const fastopt_options options{sizeof options, 0.5, 0, 1e3, 0, 0, 0, 0, nullptr};
  fastopt_report report{};
  report.size = sizeof report;
  must(fastopt_measure(&plan, &options, &report));
  expect(report.grad_norm == sqrt(static_cast<double>(length) / 4), "the norm of a gradient in a format");
  if (dtype == FASTOPT_FLOAT64) return;
  must(fastopt_clip(&plan, &options, &report));
  grad.check_padding();
  expect(bytes == 0 || memcmp(grad.data(), halves.data(), bytes) == 0,
         "a gradient in a format was not scaled in place");
}

void check_floor_of(const char* param, const char* grad, const char* state, int64_t length) {
  std::vector<Guarded> kept;
  const auto take = [&](const char* name, void*& data, void*& extra) {
    const int32_t format = *name ? format_named(name) : 0;
    const Layout layout(format, sizeof(float));
    kept.emplace_back(layout.data_bytes(length), static_cast<size_t>(layout.size));
    data = kept.back().data();
    kept.emplace_back(layout.extra_bytes(length), static_cast<size_t>(layout.extra_size));
    if (layout.extra_size > 0) extra = kept.back().data();
    return format;
  };
  fastopt_tensor tensor{};
  tensor.length = length;
  tensor.param_format = take(param, tensor.param, tensor.param_extra);
  void* none = nullptr;
  tensor.grad_format = take(grad, tensor.grad, none);
  for (int32_t k = 0; k < 2; ++k) tensor.state_format[k] = take(state, tensor.state[k], tensor.state_extra[k]);
  const fastopt_plan plan = plan_of(&tensor, 1, nullptr, 0, 0);
  const fastopt_options options{sizeof options, 1, 0, 0, -1, 0, 0, 0, nullptr};
  must(fastopt_floor(&plan, 0, 2, &options));
  for (const Guarded& array : kept) array.check_padding();
}

void check_other_passes() {
  for (const int64_t length : {0, 1, 3, 255, 256, 257, 511, 512, 513, 4095, 4097, 40'003}) {
    for (const char* name : {"bfloat16", "float16", "float32"}) {
      for (const int32_t dtype : {FASTOPT_FLOAT32, FASTOPT_FLOAT64}) check_sweeps_of(dtype, format_named(name), length);
    }
    check_floor_of("", "bfloat16", "8bit", length);
    check_floor_of("bfloat16 24bit", "bfloat16", "8bit", length);
    check_floor_of("float16 32bit", "", "bfloat16", length);
    check_floor_of("bfloat16 float32", "float32", "", length);
  }
}

void check_formats() {
  check_format_names();
  check_bad_formats();
  check_formats_of_float64();
  check_extras();
  check_sweeps();
  check_bad_codes();
  check_round_trips();
  check_other_passes();
}

}  // namespace
