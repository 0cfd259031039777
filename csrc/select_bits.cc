// One loop, compiled for each set of instructions: the compiler makes of the 32 tests what the machine has for them.
#include "select_bits.h"

#include "simd.h"

namespace fastmask {
namespace {

template <class Element>
FASTMASK_INLINE void select_words(const uint32_t* row, int64_t words, const Element* in, Element forbidden,
                                  Element* out) {
  for (int64_t w = 0; w < words; ++w)
    for (int i = 0; i < 32; ++i) {
      const auto keep = static_cast<Element>(-static_cast<Element>((row[w] >> i) & 1));  // all ones or all zeros
      out[32 * w + i] = static_cast<Element>((in[32 * w + i] & keep) | (forbidden & ~keep));
    }
}

template <class Element>
void select_plain(const uint32_t* row, int64_t words, const Element* in, Element forbidden, Element* out) {
  select_words(row, words, in, forbidden, out);
}

#ifdef FASTMASK_X86
template <class Element>
FASTMASK_AVX2 void select_avx2(const uint32_t* row, int64_t words, const Element* in, Element forbidden, Element* out) {
  select_words(row, words, in, forbidden, out);
}

template <class Element>
FASTMASK_AVX512 void select_avx512(const uint32_t* row, int64_t words, const Element* in, Element forbidden,
                                   Element* out) {
  select_words(row, words, in, forbidden, out);
}
#endif

template <class Element>
auto choose_select() {
#ifdef FASTMASK_X86
  if (simd() == Simd::kAvx512) return &select_avx512<Element>;
  if (simd() == Simd::kAvx2) return &select_avx2<Element>;
#endif
  return &select_plain<Element>;
}

}  // namespace

template <class Element>
void select_bits(const uint32_t* row, int64_t count, const Element* in, Element forbidden, Element* out) {
  static const auto select = choose_select<Element>();
  const int64_t words = count / 32;
  select(row, words, in, forbidden, out);
  for (int64_t t = 32 * words; t < count; ++t) out[t] = (row[t >> 5] >> (t & 31)) & 1 ? in[t] : forbidden;
}

template void select_bits(const uint32_t*, int64_t, const uint16_t*, uint16_t, uint16_t*);
template void select_bits(const uint32_t*, int64_t, const uint32_t*, uint32_t, uint32_t*);
template void select_bits(const uint32_t*, int64_t, const uint64_t*, uint64_t, uint64_t*);

}  // namespace fastmask
