#include "cpu/door/formats.h"

#include <string.h>

#include <algorithm>
#include <string>

#include "cpu/door/isa.h"
#include "cpu/work/float_control.h"
#include "cpu/work/line.h"
#include "step/noise_key.h"

namespace fastopt {
namespace {

constexpr int64_t kTile = GradientTile::kLength;

struct FormatRow {
  const char* name;
  int32_t roles;
};

#define FASTOPT_FORMAT_ROW(NAME, CODEC, ROLES) {NAME, ROLES},
constexpr FormatRow kRows[kFormats] = {{"", ~0}, FASTOPT_FORMATS(FASTOPT_FORMAT_ROW)};

// A set of formats that has kernels: the formats of parameter, gradient and both kinds of state.
struct FormatSet {
  int32_t param, grad, signed_state, non_negative_state;
};

int32_t index_of(const std::string& name) {
  for (int32_t i = 0; i < kFormats; ++i) {
    if (name == kRows[i].name) return i;
  }
  return -1;
}

#define FASTOPT_FORMAT_SET_ROW(PARAM, GRAD, STATE, P, G, S) \
  {index_of(PARAM), index_of(GRAD), index_of(STATE), index_of(STATE " non-negative")},

const FormatSet* format_sets() {
  static const FormatSet rows[] = {FASTOPT_FORMAT_SETS(FASTOPT_FORMAT_SET_ROW)};
  return rows;
}

const Format& format_of(int32_t index) { return *active_kernels().formats[index]; }

bool suits(int32_t format, int32_t role) { return format >= 0 && format < kFormats && kRows[format].roles & role; }

// The elements of an array from `begin` on.
Elements elements(const Format& format, void* data, void* extra, int64_t begin) {
  char* const beside = static_cast<char*>(extra);
  return {static_cast<char*>(data) + begin * format.size,
          beside ? beside + begin / format.extra_span * format.extra_size : nullptr};
}

Elements elements(int32_t format, void* data, void* extra, int64_t begin) {
  return elements(format_of(format), data, extra, begin);
}

bool lacks_extra(int32_t format, const void* extra) {
  return format != 0 && format_of(format).extra_size > 0 && !extra;
}

int32_t role_of(int32_t kind) {
  return kind == FASTOPT_SIGNED ? kSigned : kind == FASTOPT_NON_NEGATIVE ? kNonNegative : 0;
}

// How many elements from `index` on share its noise_start: all until the upper half of the index changes.
int64_t noise_run(uint64_t index) { return static_cast<int64_t>(0x100000000 - static_cast<uint32_t>(index)); }

constexpr int64_t kSpare = 64;  // words that kernels may write beyond the requested ones

void fill_noise(uint32_t key, uint64_t index, int64_t count, uint32_t* words) {
  while (count > 0) {
    const int64_t run = std::min(count, noise_run(index));
    active_kernels().noise(noise_start(key, index), run, words);
    words += run;
    index += static_cast<uint64_t>(run);
    count -= run;
  }
}

// Visits each slot that has a format, with its indices in the variant and in the rule: Piece::state is in the order of
// the variant's slots, fastopt_tensor::state in the order of the rule's.
template <class Visit>
void for_each_slot_in_format(const fastopt_tensor& tensor, const fastopt_variant& variant, const Visit& visit) {
  for (int32_t k = 0; k < variant.slot_count; ++k) {
    if (tensor.state_format[variant.slots[k]] != 0) visit(k, variant.slots[k]);
  }
}

}  // namespace

fastopt_status check_grad_format(const fastopt_tensor& tensor) {
  return suits(tensor.grad_format, kGradients) ? FASTOPT_OK : FASTOPT_BAD_FORMAT;
}

fastopt_status check_formats(const fastopt_tensor& tensor, const fastopt_rule& rule, const fastopt_variant& variant) {
  if (!suits(tensor.param_format, kParameters)) return FASTOPT_BAD_FORMAT;
  if (lacks_extra(tensor.param_format, tensor.param_extra)) return FASTOPT_NULL_POINTER;
  if (tensor.param_format != 0 && tensor.dtype != FASTOPT_FLOAT32) return FASTOPT_BAD_FORMAT;
  for (int32_t k = 0; k < variant.slot_count; ++k) {
    const int32_t slot = variant.slots[k], format = tensor.state_format[slot];
    if (format == 0) continue;
    if (!suits(format, role_of(rule.slot_kinds[slot]))) return FASTOPT_BAD_FORMAT;
    if (lacks_extra(format, tensor.state_extra[slot])) return FASTOPT_NULL_POINTER;
    if (format_of(format).extra_span > 1 && tensor.offset % FASTOPT_BLOCK != 0) return FASTOPT_BAD_RANGE;
  }
  if (kernels_of(tensor, rule, variant).row < 0) return FASTOPT_BAD_FORMAT;
  return check_grad_format(tensor);
}

KernelChoice kernels_of(const fastopt_tensor& tensor, const fastopt_rule& rule, const fastopt_variant& variant) {
  bool native = true;
  for_each_slot_in_format(tensor, variant, [&](int32_t, int32_t) { native = false; });
  const bool decodes = tensor.param_format != 0 || tensor.grad_format != 0;
  int32_t row = native ? tensor.dtype : -1;
  if (tensor.dtype != FASTOPT_FLOAT32 || (native && !decodes)) return {row, decodes};
  for (int32_t i = kDtypes; i < kFormatSets; ++i) {
    const FormatSet& set = format_sets()[i - kDtypes];
    bool fits = true;
    for (int32_t k = 0; fits && k < variant.slot_count; ++k) {
      const int32_t slot = variant.slots[k];
      const bool is_signed = rule.slot_kinds[slot] == FASTOPT_SIGNED;
      fits = tensor.state_format[slot] == (is_signed ? set.signed_state : set.non_negative_state);
    }
    if (fits && set.param == tensor.param_format && set.grad == tensor.grad_format) return {i, false};
    if (fits && !native && set.param == 0 && set.grad == 0) row = i;
  }
  return {row, decodes};
}

bool has_blocks(const fastopt_tensor& tensor, const fastopt_variant& variant) {
  bool found = false;
  for_each_slot_in_format(tensor, variant, [&](int32_t, int32_t slot) {
    found = found || format_of(tensor.state_format[slot]).extra_span > 1;
  });
  return found;
}

int64_t grad_size(const fastopt_tensor& tensor) {
  return tensor.grad_format == 0 ? element_size(tensor.dtype) : format_of(tensor.grad_format).size;
}

void* GradientTile::load(const fastopt_tensor& tensor, int64_t begin, int64_t length) {
  if (tensor.grad_format == 0) return static_cast<char*>(tensor.grad) + begin * element_size(tensor.dtype);
  const Format& format = format_of(tensor.grad_format);
  format.decode(elements(format, tensor.grad, nullptr, begin), narrow_, length);
  if (tensor.dtype == FASTOPT_FLOAT32) return narrow_;
  active_kernels().widen(narrow_, wide_, length);
  return wide_;
}

void GradientTile::store(const fastopt_tensor& tensor, int64_t begin, int64_t length) const {
  const Format& format = format_of(tensor.grad_format);
  format.round(narrow_, elements(format, tensor.grad, nullptr, begin), length);
}

void decode_elements(int32_t format, void* data, void* extra, int64_t begin, int64_t length, float* to) {
  format_of(format).decode(elements(format, data, extra, begin), to, length);
}

void update_in_formats(const fastopt_tensor& tensor, const fastopt_variant& variant, const Piece& piece,
                       const KernelSet& set, Kernel kernel, bool decodes, uint64_t seed, int64_t begin) {
  GradientTile grad;
  alignas(64) float scratch[kTile];
  const int64_t size = element_size(tensor.dtype), end = begin + piece.length;
  const int64_t step = tensor.steps + 1;
  const uint32_t key = noise_key(seed, step), param_turn = noise_turn(FASTOPT_PARAMETER_STREAM, step);
  const Format native{static_cast<int32_t>(size), 0, 1, nullptr, nullptr, nullptr};
  const auto row_of = [&](int32_t format) -> const Format& { return format == 0 ? native : format_of(format); };
  for (int64_t at = begin; at < end;) {
    const auto index = static_cast<uint64_t>(tensor.offset) + static_cast<uint64_t>(at);
    const int64_t most = std::min(end - at, noise_run(index)), length = decodes ? std::min(most, kTile) : most;
    const auto move = [&](void*& array, int64_t bytes) {
      if (array) array = static_cast<char*>(array) + (at - begin) * bytes;
    };
    const Format& param_format = row_of(tensor.param_format);
    const Elements param = elements(param_format, tensor.param, tensor.param_extra, at);
    Piece part = piece;
    part.param = param.data;
    part.param_extra = param.extra;
    part.grad = elements(row_of(tensor.grad_format), tensor.grad, nullptr, at).data;
    move(part.ema, size);
    move(part.copy, element_size(tensor.copy_dtype));
    for (int32_t k = 0; k < variant.slot_count; ++k) {
      const int32_t slot = variant.slots[k];
      const Elements state =
          elements(row_of(tensor.state_format[slot]), tensor.state[slot], tensor.state_extra[slot], at);
      part.state[k] = state.data;
      part.state_extra[k] = state.extra;
      part.state_turns[k] = noise_turn(slot, step);
    }
    part.length = length;
    part.noise = noise_start(key, index);
    part.param_turn = param_turn;
    part.stochastic = tensor.stochastic;
    if (decodes) {
      part.grad = grad.load(tensor, at, length);
      if (tensor.param_format != 0) {
        param_format.decode(param, scratch, length);
        part.param = scratch;
      }
    }
    run(set, kernel, part);
    if (decodes && tensor.param_format != 0) {
      if (tensor.stochastic) {
        alignas(64) uint32_t words[kTile + kSpare];
        fill_noise(key, index, length, words);
        param_format.encode(scratch, param, length, words, param_turn);
      } else {
        param_format.round(scratch, param, length);
      }
    }
    if (decodes && tensor.grad_format != 0 && piece.stages->zero_grad) {
      const int64_t bytes = grad_size(tensor);
      memset(static_cast<char*>(tensor.grad) + at * bytes, 0, static_cast<size_t>(length * bytes));
    }
    at += length;
  }
}

}  // namespace fastopt

extern "C" {

const fastopt_format* fastopt_format_at(int32_t index) {
  using namespace fastopt;
  struct Table {
    fastopt_format rows[kFormats];
    Table() {
      for (int32_t i = 1; i < kFormats; ++i) {
        const Format& format = format_of(i);
        rows[i] = {kRows[i].name, format.size, format.extra_size, format.extra_span};
      }
    }
  };
  static const Table table;
  return index < 1 || index >= kFormats ? nullptr : &table.rows[index];
}

int32_t fastopt_find_format(const char* name) {
  for (int32_t i = 1; name && i < fastopt::kFormats; ++i) {
    if (strcmp(fastopt::kRows[i].name, name) == 0) return i;
  }
  return -1;
}

fastopt_status fastopt_decode(int32_t format, const void* data, const void* extra, int64_t length, float* values) {
  using namespace fastopt;
  if (format < 1 || format >= kFormats) return FASTOPT_BAD_FORMAT;
  if (length < 0) return FASTOPT_BAD_LENGTH;
  if (length == 0) return FASTOPT_OK;
  if (!data || !values || lacks_extra(format, extra)) return FASTOPT_NULL_POINTER;
  const FloatControl control;
  format_of(format).decode({const_cast<void*>(data), const_cast<void*>(extra)}, values, length);
  return FASTOPT_OK;
}

fastopt_status fastopt_encode(int32_t format, const float* values, int64_t length, const fastopt_noise* noise,
                              void* data, void* extra) {
  using namespace fastopt;
  if (format < 1 || format >= kFormats) return FASTOPT_BAD_FORMAT;
  if (length < 0 || (noise && (noise->step < 0 || noise->offset < 0))) return FASTOPT_BAD_LENGTH;
  if (noise && (noise->stream < FASTOPT_PARAMETER_STREAM || noise->stream >= FASTOPT_MAX_SLOTS))
    return FASTOPT_BAD_RANGE;
  if (length == 0) return FASTOPT_OK;
  if (!data || !values || lacks_extra(format, extra)) return FASTOPT_NULL_POINTER;
  const FloatControl control;
  if (!noise) {
    format_of(format).round(values, {data, extra}, length);
    return FASTOPT_OK;
  }
  uint32_t words[kTile + kSpare];
  const uint32_t turn = noise_turn(noise->stream, noise->step), key = noise_key(noise->seed, noise->step);
  for (int64_t at = 0; at < length; at += kTile) {
    fill_noise(key, static_cast<uint64_t>(noise->offset) + static_cast<uint64_t>(at), kTile, words);
    const Elements to = elements(format, data, extra, at);
    format_of(format).encode(values + at, to, std::min(kTile, length - at), words, turn);
  }
  return FASTOPT_OK;
}

}  // extern "C"
