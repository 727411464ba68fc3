// U32 for 64-bit ARM's NEON: 4 words of 32 bits, for the codecs.
#pragma once
#include <arm_neon.h>
#include <stdint.h>

#include "simd/neon.h"

namespace fastopt::FASTOPT_ISA {

struct U32 {
  static constexpr int width = 4;
  uint32x4_t x;
  static FASTOPT_INLINE U32 broadcast(uint32_t w) { return {vdupq_n_u32(w)}; }
  static FASTOPT_INLINE U32 load(const uint32_t* from) { return {vld1q_u32(from)}; }
  static FASTOPT_INLINE U32 load(const uint16_t* from) { return {vmovl_u16(vld1_u16(from))}; }
  static FASTOPT_INLINE U32 load(const uint8_t* from) {
    uint32_t four;
    __builtin_memcpy(&four, from, sizeof four);
    return {vmovl_u16(vget_low_u16(vmovl_u8(vcreate_u8(four))))};
  }
  // Loads signed numbers.
  static FASTOPT_INLINE U32 load_signed(const uint8_t* from) {
    const int32x4_t shifted = vreinterpretq_s32_u32(vshlq_n_u32(load(from).x, 24));
    return {vreinterpretq_u32_s32(vshrq_n_s32(shifted, 24))};
  }
  static FASTOPT_INLINE U32 load_signed(const uint16_t* from) {
    return {vreinterpretq_u32_s32(vmovl_s16(vreinterpret_s16_u16(vld1_u16(from))))};
  }
  static FASTOPT_INLINE U32 count() {
    constexpr uint32_t each[4] = {0, 1, 2, 3};
    return load(each);
  }
  FASTOPT_INLINE void store(uint32_t* to) const { vst1q_u32(to, x); }
};

FASTOPT_INLINE U32 operator+(U32 a, U32 b) { return {vaddq_u32(a.x, b.x)}; }
FASTOPT_INLINE U32 operator-(U32 a, U32 b) { return {vsubq_u32(a.x, b.x)}; }
FASTOPT_INLINE U32 operator*(U32 a, U32 b) { return {vmulq_u32(a.x, b.x)}; }
FASTOPT_INLINE U32 operator&(U32 a, U32 b) { return {vandq_u32(a.x, b.x)}; }
FASTOPT_INLINE U32 operator|(U32 a, U32 b) { return {vorrq_u32(a.x, b.x)}; }
FASTOPT_INLINE U32 operator^(U32 a, U32 b) { return {veorq_u32(a.x, b.x)}; }
FASTOPT_INLINE U32 operator<<(U32 a, int bits) { return {vshlq_u32(a.x, vdupq_n_s32(bits))}; }
FASTOPT_INLINE U32 operator>>(U32 a, int bits) { return {vshlq_u32(a.x, vdupq_n_s32(-bits))}; }
FASTOPT_INLINE U32 min(U32 a, U32 b) { return {vminq_u32(a.x, b.x)}; }
FASTOPT_INLINE U32 max(U32 a, U32 b) { return {vmaxq_u32(a.x, b.x)}; }
// `a` as a signed number, raised to 0 from below if `b` is 0.
FASTOPT_INLINE U32 positive_where_zero(U32 b, U32 a) {
  const uint32x4_t raised = vreinterpretq_u32_s32(vmaxq_s32(vreinterpretq_s32_u32(a.x), vdupq_n_s32(0)));
  return {vbslq_u32(vceqq_u32(b.x, vdupq_n_u32(0)), raised, a.x)};
}
// `a` if b < limit, else 0.
FASTOPT_INLINE U32 where_below(U32 b, U32 limit, U32 a) { return {vandq_u32(vcltq_u32(b.x, limit.x), a.x)}; }
// `a` if `b` is not 0, else 0.
FASTOPT_INLINE U32 where_nonzero(U32 b, U32 a) { return {vandq_u32(vtstq_u32(b.x, b.x), a.x)}; }
FASTOPT_INLINE U32 select(uint32x4_t mask, U32 a, U32 b) { return {vbslq_u32(mask, a.x, b.x)}; }
FASTOPT_INLINE U32 bits_of(F32 a) { return {vreinterpretq_u32_f32(a.x)}; }
FASTOPT_INLINE F32 floats_of(U32 a) { return {vreinterpretq_f32_u32(a.x)}; }
// Convert signed numbers; to_int truncates.
FASTOPT_INLINE F32 to_float(U32 a) { return {vcvtq_f32_s32(vreinterpretq_s32_u32(a.x))}; }
FASTOPT_INLINE U32 to_int(F32 a) { return {vreinterpretq_u32_s32(vcvtq_s32_f32(a.x))}; }
// Convert IEEE's 16 bits, in words of 32; to_half rounds to nearest even.
FASTOPT_INLINE F32 from_half(U32 a) { return {vcvt_f32_f16(vreinterpret_f16_u16(vmovn_u32(a.x)))}; }
FASTOPT_INLINE U32 to_half(F32 a) { return {vmovl_u16(vreinterpret_u16_f16(vcvt_f16_f32(a.x)))}; }
// Store the low byte or half of each word, those of `a[0]` first.
FASTOPT_INLINE void store_low(const U32 (&a)[4], uint8_t* to) {
  const uint16x8_t first = vcombine_u16(vmovn_u32(a[0].x), vmovn_u32(a[1].x));
  const uint16x8_t second = vcombine_u16(vmovn_u32(a[2].x), vmovn_u32(a[3].x));
  vst1q_u8(to, vcombine_u8(vmovn_u16(first), vmovn_u16(second)));
}
FASTOPT_INLINE void store_low(U32 a, uint16_t* to) { vst1_u16(to, vmovn_u32(a.x)); }
FASTOPT_INLINE void store_low(U32 a, uint8_t* to) {
  const uint16x4_t halves = vmovn_u32(a.x);
  const uint64_t bytes = vget_lane_u64(vreinterpret_u64_u8(vmovn_u16(vcombine_u16(halves, halves))), 0);
  const auto four = static_cast<uint32_t>(bytes);
  __builtin_memcpy(to, &four, sizeof four);
}
// Store the upper half, or the second byte, of each word.
FASTOPT_INLINE void store_high(U32 a, uint16_t* to) { vst1_u16(to, vshrn_n_u32(a.x, 16)); }
FASTOPT_INLINE void store_second(U32 a, uint8_t* to) { store_low(a >> 8, to); }
// Stores the low half of each word.
FASTOPT_INLINE void store_halves(U32 a, uint16_t* to, bool) { vst1_u16(to, vmovn_u32(a.x)); }

}  // namespace fastopt::FASTOPT_ISA
