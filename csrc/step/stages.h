// The stages around the rule, written once for all rules.
#pragma once
#include "simd/vec.h"
#include "step/stage_scalars.h"

namespace fastopt::FASTOPT_ISA {

// The stages of gradients alone: unscale and maximize, clip_value, max_norm.
template <class V> struct GradientStages {
  V grad_scale, clip_value, minus_clip_value, norm_factor;
  bool clips;

  FASTOPT_INLINE explicit GradientStages(const StageScalars& s)
      : grad_scale(V::broadcast(s.grad_scale)),
        clip_value(V::broadcast(s.clip_value)),
        minus_clip_value(V::broadcast(-s.clip_value)),
        norm_factor(V::broadcast(s.norm_factor)),
        clips(s.clip_value != 0) {}

  FASTOPT_INLINE V scaled(V g) const { return g * grad_scale; }
  FASTOPT_INLINE V clipped(V g) const { return clips ? max(min(g, clip_value), minus_clip_value) : g; }
  // Multiplying by 1 changes no bit.
  FASTOPT_INLINE V apply(V g) const { return clipped(scaled(g)) * norm_factor; }
};

// Before the rule: the gradients' stages, then L1, L2, decoupled decay.  After the rule: the average.
template <class V, StageLevel kLevel> struct Stages {
  GradientStages<V> gradient;
  V l1, l2, keep, ema_gain;
  bool has_l1, has_l2, ema_starts;

  FASTOPT_INLINE explicit Stages(const StageScalars& s)
      : gradient(s),
        l1(V::broadcast(s.l1)),
        l2(V::broadcast(s.l2)),
        keep(V::broadcast(s.keep)),
        ema_gain(V::broadcast(s.ema_gain)),
        has_l1(s.l1 != 0),
        has_l2(s.l2 != 0),
        ema_starts(s.ema_starts) {}

  FASTOPT_INLINE void before(V& p, V& g) const {
    g = kLevel == kWhole ? gradient.apply(g) : gradient.scaled(g);
    // A sum with 0*p instead of these branches would change bits if p is Inf.
    if (has_l1) g = fma(l1, sign(p), g);
    if (has_l2) g = fma(l2, p, g);
    // torch's form.  In float32 the factor is off by up to 3e-8, by the same amount at every step.  p - decay*p would
    // not be off, but would differ from torch's numbers by half a unit a step.
    p = p * keep;
  }

  FASTOPT_INLINE V average(V ema, V p) const { return ema_starts ? p : lerp(ema, p, ema_gain); }
};

}  // namespace fastopt::FASTOPT_ISA
