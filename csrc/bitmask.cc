// Unpacking is bound by stores, so the wider the store the better: 64 tokens at once with AVX-512, 32 with
// AVX2, 8 by table elsewhere.
#include "bitmask.h"

#include <array>

#include "simd.h"

#ifdef FASTMASK_X86
#include <immintrin.h>
#endif

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

// Each path unpacks whole words only; the tail below one word is done here, the same for all.
void unpack_tail(const uint32_t* row, int64_t first, int64_t vocab_size, uint8_t* out) {
  for (int64_t token = first; token < vocab_size; ++token) out[token] = (row[token >> 5] >> (token & 31)) & 1;
}

void unpack_plain(const uint32_t* row, int64_t words, uint8_t* out) {
  for (int64_t w = 0; w < words; ++w)
    for (int i = 0; i < 4; ++i) std::memcpy(out + 32 * w + 8 * i, kSpread[(row[w] >> (8 * i)) & 0xff].data(), 8);
}

#ifdef FASTMASK_X86
FASTMASK_AVX2 void unpack_avx2(const uint32_t* row, int64_t words, uint8_t* out) {
  // Byte i of the result looks at bit i%8 of byte i/8 of the word.
  const __m256i spread = _mm256_setr_epi8(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1,  //
                                          2, 2, 2, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3);
  const __m256i bit = _mm256_set1_epi64x(static_cast<int64_t>(0x8040201008040201));
  const __m256i one = _mm256_set1_epi8(1);
  for (int64_t w = 0; w < words; ++w) {
    const __m256i copies = _mm256_shuffle_epi8(_mm256_set1_epi32(static_cast<int32_t>(row[w])), spread);
    const __m256i is_set = _mm256_cmpeq_epi8(_mm256_and_si256(copies, bit), bit);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + 32 * w), _mm256_and_si256(is_set, one));
  }
}

FASTMASK_AVX512 void unpack_avx512(const uint32_t* row, int64_t words, uint8_t* out) {
  const __m512i one = _mm512_set1_epi8(1);
  int64_t w = 0;
  for (; w + 2 <= words; w += 2) {
    const uint64_t bits = row[w] | uint64_t{row[w + 1]} << 32;
    _mm512_storeu_si512(out + 32 * w, _mm512_maskz_mov_epi8(bits, one));
  }
  if (w < words) _mm512_mask_storeu_epi8(out + 32 * w, 0xffffffff, _mm512_maskz_mov_epi8(row[w], one));
}
#endif

using Unpack = void (*)(const uint32_t*, int64_t, uint8_t*);

Unpack choose_unpack() {
#ifdef FASTMASK_X86
  if (simd() == Simd::kAvx512) return unpack_avx512;
  if (simd() == Simd::kAvx2) return unpack_avx2;
#endif
  return unpack_plain;
}

}  // namespace

void unpack_bits(const uint32_t* row, int64_t vocab_size, uint8_t* out) {
  static const Unpack unpack = choose_unpack();
  const int64_t words = vocab_size / 32;
  unpack(row, words, out);
  unpack_tail(row, words * 32, vocab_size, out);
}

}  // namespace fastmask
