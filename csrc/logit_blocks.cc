#include "logit_blocks.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "simd.h"

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
  ForMachine<&penalize>::call(block, words, penalty.penalty, scratch);
  return scratch;
}

const void* block_address(const LogitRows& rows, int64_t row, int64_t first) {
  const int64_t at = rows.starts[row] + std::min(first, rows.width);
  return static_cast<const char*>(rows.data) + at * size_of(rows.kind);
}

void store_block(const float* block, int64_t count, FloatKind kind, void* out) {
  switch (kind) {
    case FloatKind::kFloat32: std::memcpy(out, block, count * sizeof(float)); return;
    case FloatKind::kBfloat16: return ForMachine<&round<Bfloat16>>::call(block, count, static_cast<Bfloat16*>(out));
    case FloatKind::kFloat16: return ForMachine<&round<Float16>>::call(block, count, static_cast<Float16*>(out));
  }
}

}  // namespace fastmask
