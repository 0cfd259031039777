#include "bitmask.h"

#include <array>

namespace fastmask {
namespace {

// Eight packed bits → eight bytes of 0 or 1, token order = memory order.
using ByteSpread = std::array<std::array<uint8_t, 8>, 256>;

constexpr ByteSpread make_spread() {
  ByteSpread spread{};
  for (int bits = 0; bits < 256; ++bits)
    for (int i = 0; i < 8; ++i) spread[bits][i] = (bits >> i) & 1;
  return spread;
}

constexpr ByteSpread kSpread = make_spread();

}  // namespace

void unpack_bits(const uint32_t* row, int64_t vocab_size, uint8_t* out) {
  const int64_t whole_words = vocab_size / 32;
  for (int64_t w = 0; w < whole_words; ++w)
    for (int i = 0; i < 4; ++i) std::memcpy(out + 32 * w + 8 * i, kSpread[(row[w] >> (8 * i)) & 0xff].data(), 8);
  for (int64_t token = 32 * whole_words; token < vocab_size; ++token) out[token] = (row[token >> 5] >> (token & 31)) & 1;
}

}  // namespace fastmask
