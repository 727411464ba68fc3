// Adadelta: Zeiler (arXiv:1212.5701).  Two roots, since the root of the ratio would lose the smallest ratios to
// denormals.
struct adadelta {
  template <class V>
  static FASTOPT_INLINE void plain(const adadelta_scalars<V>& s, V& p, V g, V& square_avg, V& acc_delta) {
    square_avg = fma(s.gain * g, g, s.decay * square_avg);
    const V delta = sqrt(acc_delta + s.inside_root) / sqrt(square_avg + s.inside_root) * g;
    acc_delta = fma(s.gain * delta, delta, s.decay * acc_delta);
    p = fnma(s.step_size, delta, p);
  }
};
