// One loop: the compiler makes of its 32 tests what each set of instructions has for them.
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

}  // namespace

template <class Element>
void select_bits(const uint32_t* row, int64_t count, const Element* in, Element forbidden, Element* out) {
  const int64_t words = count / 32;
  ForMachine<&select_words<Element>>::call(row, words, in, forbidden, out);
  for (int64_t t = 32 * words; t < count; ++t) out[t] = (row[t >> 5] >> (t & 31)) & 1 ? in[t] : forbidden;
}

template void select_bits(const uint32_t*, int64_t, const uint16_t*, uint16_t, uint16_t*);
template void select_bits(const uint32_t*, int64_t, const uint32_t*, uint32_t, uint32_t*);
template void select_bits(const uint32_t*, int64_t, const uint64_t*, uint64_t, uint64_t*);

}  // namespace fastmask
