// Operations that every V has by way of the others.  A maximum is a compare and a select, so that NaN behaves alike
// everywhere.
namespace fastopt::FASTOPT_ISA {

template <class V> FASTOPT_INLINE V max(V a, V b) { return select(less(a, b), b, a); }

}  // namespace fastopt::FASTOPT_ISA
