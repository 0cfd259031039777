#include "logit_blocks.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "simd.h"
#ifdef FASTMASK_X86
#include <immintrin.h>
#endif

namespace fastmask {
namespace {

template <class Half>
FASTMASK_INLINE void widen(const Half* in, int64_t count, float* __restrict out) {
  for (int64_t i = 0; i < count; ++i) out[i] = Half::widen(in[i]);
}

template <class Half>
FASTMASK_INLINE void round(const float* in, int64_t count, Half* __restrict out) {
  for (int64_t i = 0; i < count; ++i) out[i] = Half::round(in[i]);
}

// `in` may be `out`.
FASTMASK_INLINE void penalize(const float* in, const uint32_t* words, float penalty, float* out) {
  const uint32_t bits = as_bits(penalty);
  for (int64_t w = 0; w < kBlockWords; ++w)
    for (int i = 0; i < 32; ++i)  // allowed: (1 - 1) & bits = 0
      out[32 * w + i] = in[32 * w + i] - as_float((((words[w] >> i) & 1) - 1) & bits);
}

// By an infinite penalty, which is not to be subtracted: a logit may be infinite, too.
FASTMASK_INLINE void forbid(const float* in, const uint32_t* words, float* out) {
  const uint32_t never = as_bits(-std::numeric_limits<float>::infinity());
  for (int64_t w = 0; w < kBlockWords; ++w)
    for (int i = 0; i < 32; ++i) {
      const uint32_t forbidden = ((words[w] >> i) & 1) - 1;  // all ones, or 0
      out[32 * w + i] = as_float((as_bits(in[32 * w + i]) & ~forbidden) | (never & forbidden));
    }
}

bool all_allowed(const uint32_t* words) {
  return std::all_of(words, words + kBlockWords, [](uint32_t word) { return word == 0xffffffff; });
}

void read(const LogitRows& rows, int64_t at, int64_t count, float* out) {
  switch (rows.kind) {
    case FloatKind::kFloat32:
      std::memcpy(out, static_cast<const float*>(rows.data) + at, count * sizeof(float));
      return;
    case FloatKind::kBfloat16:
      return ForMachine<&widen<Bfloat16>>::call(static_cast<const Bfloat16*>(rows.data) + at, count, out);
    case FloatKind::kFloat16:
      return ForMachine<&widen<Float16>>::call(static_cast<const Float16*>(rows.data) + at, count, out);
  }
}

// Past the caches: lines are neither read before they are written, nor do they push out what is still of use.
void stream(const void* from, int64_t bytes, void* to) {
  const char* in = static_cast<const char*>(from);
  char* out = static_cast<char*>(to);
  int64_t done = 0;
#ifdef FASTMASK_X86
  constexpr int64_t kLine = 64, kStore = sizeof(__m128i);
  done = std::min<int64_t>(bytes, -reinterpret_cast<uintptr_t>(out) & (kLine - 1));
  std::memcpy(out, in, done);
  for (const int64_t end = done + (bytes - done) / kLine * kLine; done < end; done += kStore)
    _mm_stream_si128(reinterpret_cast<__m128i*>(out + done),
                     _mm_loadu_si128(reinterpret_cast<const __m128i*>(in + done)));
#endif
  std::memcpy(out + done, in + done, bytes - done);
}

template <class Half>
void stream_rounded(const float* block, int64_t count, void* out) {
  alignas(64) Half halves[kBlock];
  ForMachine<&round<Half>>::call(block, count, halves);
  stream(halves, count * sizeof(Half), out);
}

}  // namespace

const float* load_block(const LogitRows& rows, int64_t row, int64_t first, const Penalty& penalty, float* scratch) {
  const int64_t count = std::clamp<int64_t>(rows.width - first, 0, kBlock), at = rows.starts[row] + first;
  const bool whole = rows.kind == FloatKind::kFloat32 && count == kBlock;
  const float* block = whole ? static_cast<const float*>(rows.data) + at : scratch;
  if (!whole) {
    read(rows, at, count, scratch);
    std::fill(scratch + count, scratch + kBlock, -std::numeric_limits<float>::infinity());
  }
  if (penalty.words == nullptr) return block;
  const uint32_t* words = penalty.words + first / 32;
  if (all_allowed(words)) return block;
  if (penalty.penalty == std::numeric_limits<float>::infinity())
    ForMachine<&forbid>::call(block, words, scratch);
  else
    ForMachine<&penalize>::call(block, words, penalty.penalty, scratch);
  return scratch;
}

const void* block_address(const LogitRows& rows, int64_t row, int64_t first) {
  const int64_t at = rows.starts[row] + std::min(first, rows.width);
  return static_cast<const char*>(rows.data) + at * size_of(rows.kind);
}

void store_block(const float* block, int64_t count, FloatKind kind, void* out) {
  switch (kind) {
    case FloatKind::kFloat32: return stream(block, count * sizeof(float), out);
    case FloatKind::kBfloat16: return stream_rounded<Bfloat16>(block, count, out);
    case FloatKind::kFloat16: return stream_rounded<Float16>(block, count, out);
  }
}

void finish_storing() {
#ifdef FASTMASK_X86
  _mm_sfence();
#endif
}

}  // namespace fastmask
