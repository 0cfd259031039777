// Rows of logits of any floating-point kind, read block by block as floats: penalised where the mask says so, padded
// with tokens that nobody can say (-inf). Blocks stay in the first-level cache between reading and use, and whatever
// works on blocks knows neither kinds, nor masks, nor ends of rows.
#pragma once

#include <cstdint>

#include "float_kinds.h"

namespace fastmask {

constexpr int64_t kBlock = 1024;  // logits
constexpr int64_t kBlockWords = kBlock / 32;
constexpr int64_t kLogitsPerChunk = 1 << 16;  // about 50 µs: much more than handing a chunk to a thread costs

// Row r is data[starts[r] … starts[r] + width - 1]. Borrowed.
struct LogitRows {
  const void* data;
  FloatKind kind;
  const int64_t* starts;
  int64_t width;
};

// What is subtracted from the logits of a row: `penalty` (may be infinity, or negative) wherever the bit of a
// packed row (bitmask.h) is 0. Null words: nothing.
struct Penalty {
  const uint32_t* words;  // covers the blocks read: zeros past the vocabulary
  float penalty;
};

// The kBlock logits of row `row` from column `first` (a multiple of kBlock) on: in `scratch`, or, where there is
// nothing to do to them, where they are.
const float* load_block(const LogitRows& rows, int64_t row, int64_t first, const Penalty& penalty, float* scratch);

// Where a block begins in memory, or the row ends: a hint of what will be read next.
const void* block_address(const LogitRows& rows, int64_t row, int64_t first);

// Writes the first `count` floats of a block as `kind`. Other threads may look at `out` once `finish_storing` was
// called here.
void store_block(const float* block, int64_t count, FloatKind kind, void* out);
void finish_storing();

}  // namespace fastmask
