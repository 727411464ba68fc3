// V (Vec<float>, Vec<double>) and U32 of the instruction set that a file is compiled for.
#pragma once
#include "simd/target.h"

#ifdef __CUDACC__
#include "simd/scalar_words.h"  // the V of one lane
#else
#define FASTOPT_STRING(x) #x
// clang-format off
#define FASTOPT_WORDS_HEADER_OF(isa) FASTOPT_STRING(simd/isa##_words.h)
#define FASTOPT_WORDS_HEADER(isa) FASTOPT_WORDS_HEADER_OF(isa)
// clang-format on
#include FASTOPT_WORDS_HEADER(FASTOPT_ISA)
#endif

#include "simd/common.h"
