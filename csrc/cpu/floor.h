// The floor of a step: the same arrays read and written, and one addition, without which a compiler would drop a read.
namespace fastopt::FASTOPT_ISA {

// Values move from each array to the next, so that nothing grows however often it runs.
template <class V, int kSlots> const char* floor_pass(const Piece& piece) {
  using T = typename V::Element;
  T* param = static_cast<T*>(piece.param);
  const T* grad = static_cast<const T*>(piece.grad);
  T* state[kSlots + 1];
  for (int k = 0; k < kSlots; ++k) state[k] = static_cast<T*>(piece.state[k]);
  int64_t at = 0;
  for (; at + V::width <= piece.length; at += V::width) {
    V previous = V::load(param + at);
    const V g = V::load(grad + at);
    for (int k = 0; k < kSlots; ++k) {
      const V own = V::load(state[k] + at);
      previous.store(state[k] + at);
      previous = own;
    }
    (g + previous).store(param + at);
  }
  for (; at < piece.length; ++at) param[at] = grad[at];
  return FASTOPT_ISA_NAME;
}

}  // namespace fastopt::FASTOPT_ISA
