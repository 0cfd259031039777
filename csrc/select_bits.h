// A row of scores under a packed row: elements are kept where the bit is set and replaced elsewhere.
#pragma once

#include <cstdint>

namespace fastmask {

// out[t] = bit t of `row` ? in[t] : forbidden, for t = 0 … count-1. `out` may be `in`.
// Defined for uint16_t, uint32_t, uint64_t: the bit patterns of floating-point numbers.
template <class Element>
void select_bits(const uint32_t* row, int64_t count, const Element* in, Element forbidden, Element* out);

}  // namespace fastmask
