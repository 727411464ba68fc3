// RMSprop: Tieleman & Hinton, Neural Networks for Machine Learning, lecture 6.5 (2012); centered: Graves
// (arXiv:1308.0850).
struct rmsprop {
  template <class V> static FASTOPT_INLINE V divided(const rmsprop_scalars<V>& s, V g, V square) {
    return g / (sqrt(square + s.inside_root) + s.outside_root);
  }

  template <class V> static FASTOPT_INLINE V scaled(const rmsprop_scalars<V>& s, V g, V& square_avg) {
    square_avg = fma(s.gain * g, g, s.decay * square_avg);
    return divided(s, g, square_avg);
  }

  template <class V>
  static FASTOPT_INLINE V standardized(const rmsprop_scalars<V>& s, V g, V& square_avg, V& grad_avg) {
    square_avg = fma(s.gain * g, g, s.decay * square_avg);
    grad_avg = lerp(grad_avg, g, s.gain);
    // Under a steady gradient the variance is 0 but for rounding, of which no root must become NaN, nor a divisor that
    // is far too small where the averages are stored in few bits.
    const V zero = V::broadcast(0);
    const V least = select(equal(s.variance_share, zero), zero, s.variance_share * square_avg);  // 0*Inf would be NaN
    return divided(s, g, max(fnma(grad_avg, grad_avg, square_avg), least));
  }

  template <class V> static FASTOPT_INLINE void roll(const rmsprop_scalars<V>& s, V& p, V step, V& buffer) {
    buffer = fma(s.buffer_gain, step, s.buffer_decay * buffer);
    p = fnma(s.buffer_step, buffer, p);
  }

  template <class V> static FASTOPT_INLINE void plain(const rmsprop_scalars<V>& s, V& p, V g, V& square_avg) {
    p = fnma(s.step_size, scaled(s, g, square_avg), p);
  }

  template <class V>
  static FASTOPT_INLINE void heavy_ball(const rmsprop_scalars<V>& s, V& p, V g, V& square_avg, V& buffer) {
    roll(s, p, scaled(s, g, square_avg), buffer);
  }

  template <class V>
  static FASTOPT_INLINE void centered(const rmsprop_scalars<V>& s, V& p, V g, V& square_avg, V& grad_avg) {
    p = fnma(s.step_size, standardized(s, g, square_avg, grad_avg), p);
  }

  template <class V>
  static FASTOPT_INLINE void centered_heavy_ball(const rmsprop_scalars<V>& s, V& p, V g, V& square_avg, V& grad_avg,
                                                 V& buffer) {
    roll(s, p, standardized(s, g, square_avg, grad_avg), buffer);
  }
};
