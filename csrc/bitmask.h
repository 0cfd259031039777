// Packed rows: one bit a token, bit i%32 of word i/32 is token i, 1 = allowed, bits past the vocabulary 0.
// The layout is the one that xgrammar and llguidance hand to kernels, so rows can be exchanged with them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace fastmask {

constexpr int64_t words_for(int64_t vocab_size) { return (vocab_size + 31) / 32; }

inline void set_bit(uint32_t* row, int64_t token) { row[token >> 5] |= uint32_t{1} << (token & 31); }

inline void set_all_bits(uint32_t* row, int64_t vocab_size) {
  std::memset(row, 0xff, words_for(vocab_size) * sizeof(uint32_t));
  if (vocab_size % 32 != 0) row[vocab_size / 32] = (uint32_t{1} << (vocab_size % 32)) - 1;
}

// One byte (0 or 1) a token into `out[0 … vocab_size-1]`.
void unpack_bits(const uint32_t* row, int64_t vocab_size, uint8_t* out);

}  // namespace fastmask
