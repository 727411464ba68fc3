// Lion: Chen et al. (arXiv:2302.06675).
struct lion {
  template <class V> static FASTOPT_INLINE void plain(const lion_scalars<V>& s, V& p, V g, V& exp_avg) {
    p = fnma(s.step_size, sign(fma(s.gain1, g, s.decay1 * exp_avg)), p);
    exp_avg = lerp(exp_avg, g, s.gain2);
  }
};
