// Stochastic gradient descent: plain, heavy-ball momentum, Nesterov's accelerated gradient.
// Sutskever et al., On the importance of initialization and momentum in deep learning, ICML 2013.
// The first step's buffer, dampening and the place of lr are all in the scalars (sgd.py).
struct sgd {
  template <class V> static FASTOPT_INLINE void plain(const sgd_scalars<V>& s, V& p, V g) {
    p = fnma(s.gradient_step, g, p);
  }

  template <class V> static FASTOPT_INLINE void heavy_ball(const sgd_scalars<V>& s, V& p, V g, V& buffer) {
    buffer = fma(s.buffer_gain, g, s.buffer_decay * buffer);
    p = fnma(s.buffer_step, buffer, p);
  }

  template <class V> static FASTOPT_INLINE void accelerated(const sgd_scalars<V>& s, V& p, V g, V& buffer) {
    heavy_ball(s, p, g, buffer);  // buffer_step holds the factor momentum
    p = fnma(s.gradient_step, g, p);
  }
};
