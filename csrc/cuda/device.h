// Fits CUDA's compiler to the shared headers: functions of the device under the names of the host's builtins.
#pragma once

#define FASTOPT_ISA cuda
#define FASTOPT_INLINE __device__ __forceinline__
#define FASTOPT_OUTLINE __device__ __noinline__

// A hint that the memory there will be read.
#ifndef FASTOPT_PREFETCH
#define FASTOPT_PREFETCH(at) asm volatile("prefetch.global.L1 [%0];" ::"l"(__cvta_generic_to_global(at)))
#endif

#define __builtin_memcpy memcpy
#define __builtin_fmaf ::fmaf
#define __builtin_fma ::fma
#define __builtin_sqrtf ::sqrtf
#define __builtin_sqrt ::sqrt
#define __builtin_fabsf ::fabsf
#define __builtin_fabs ::fabs
#define __builtin_copysignf ::copysignf
#define __builtin_copysign ::copysign
