// The table of storage formats.  Format 0, the arithmetic's own, has no row.
#pragma once

#define FASTOPT_FORMATS(X)                                                                     \
  /* name, codec, what it may hold: gradients, parameters, signed slots, non-negative slots */ \
  X("bfloat16", Bfloat16<false>, kGradients | kParameters | kSigned)                           \
  X("bfloat16 non-negative", Bfloat16<true>, kNonNegative)                                     \
  X("float16", Float16, kGradients | kParameters)                                              \
  X("float32", Float32, kGradients)                                                            \
  X("8bit", Block8<false>, kSigned)                                                            \
  X("8bit non-negative", Block8<true>, kNonNegative)                                           \
  X("bfloat16 24bit", SplitBfloat16<uint8_t>, kParameters)                                     \
  X("bfloat16 32bit", SplitBfloat16<uint16_t>, kParameters)                                    \
  X("bfloat16 float32", FullCopy<Bfloat16<false>>, kParameters)                                \
  X("float16 24bit", SplitFloat16<uint8_t>, kParameters)                                       \
  X("float16 32bit", SplitFloat16<uint16_t>, kParameters)                                      \
  X("float16 float32", FullCopy<Float16>, kParameters)

// Sets of formats whose codecs are compiled into the rules' kernels.  Every format of state has a set, since its codec
// depends on the slot.  Parameter and gradient are float32 there, and may be scratch for any other format.  The
// remaining sets are the most common ones.
#define FASTOPT_FORMAT_SETS(X)                                                                   \
  /* formats of parameter, gradient and state by name, and their codecs */                       \
  X("", "", "bfloat16", Float32, Float32, Bfloat16)                                              \
  X("", "", "8bit", Float32, Float32, Block8)                                                    \
  X("bfloat16 24bit", "bfloat16", "bfloat16", SplitBfloat16<uint8_t>, Bfloat16<false>, Bfloat16) \
  X("bfloat16 24bit", "bfloat16", "8bit", SplitBfloat16<uint8_t>, Bfloat16<false>, Block8)

namespace fastopt {

enum Role { kGradients = 1, kParameters = 2, kSigned = 4, kNonNegative = 8 };

#define FASTOPT_COUNT(NAME, CODEC, ROLES) +1
constexpr int kFormats = 1 FASTOPT_FORMATS(FASTOPT_COUNT);
#undef FASTOPT_COUNT

#define FASTOPT_COUNT(PARAM, GRAD, STATE, P, G, S) +1
constexpr int kDtypes = 2;
constexpr int kFormatSets = kDtypes FASTOPT_FORMAT_SETS(FASTOPT_COUNT);
#undef FASTOPT_COUNT

}  // namespace fastopt
