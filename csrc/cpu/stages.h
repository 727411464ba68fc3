// The stages before the rule, written once for all rules: unscale and maximize, L1, L2, decoupled decay.
namespace fastopt::FASTOPT_ISA {

template <class V> struct Stages {
  V grad_scale, l1, minus_l1, l2, keep;
  bool has_l1, has_l2;

  explicit Stages(const StageScalars& s)
      : grad_scale(V::broadcast(s.grad_scale)),
        l1(V::broadcast(s.l1)),
        minus_l1(V::broadcast(-s.l1)),
        l2(V::broadcast(s.l2)),
        keep(V::broadcast(s.keep)),
        has_l1(s.l1 != 0),
        has_l2(s.l2 != 0) {}

  FASTOPT_INLINE void apply(V& p, V& g) const {
    g = g * grad_scale;  // times 1 changes no bit; a sum with 0*p would, where p is Inf
    if (has_l1) {
      const V zero = V::broadcast(0);
      g = g + select(less(zero, p), l1, select(less(p, zero), minus_l1, zero));
    }
    if (has_l2) g = fma(l2, p, g);
    // torch's form.  In float32 the factor is off by up to 3e-8, the same at every step: p - decay*p would not be, but
    // would leave torch's numbers by half a unit a step.
    p = p * keep;
  }
};

}  // namespace fastopt::FASTOPT_ISA
