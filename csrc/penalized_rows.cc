#include "penalized_rows.h"

#include <algorithm>
#include <vector>

#include "thread_pool.h"

namespace fastmask {

void penalized_rows(const LogitRows& rows, int64_t count, MaskTable& masks, const State* states,
                    const float* penalties, void* out) {
  masks.prepare(states, count);
  const int64_t widest = std::max<int64_t>({1, rows.width, masks.vocab_size()});
  parallel_for(count, std::max<int64_t>(1, kLogitsPerChunk / widest), [&](int64_t begin, int64_t end) {
    std::vector<uint32_t> words((widest + kBlock - 1) / kBlock * kBlockWords, 0);
    alignas(64) float scratch[kBlock];
    for (int64_t row = begin; row < end; ++row) {
      masks.row(states[row])->write_packed(words.data());
      char* to = static_cast<char*>(out) + row * rows.width * size_of(rows.kind);
      for (int64_t column = 0; column < rows.width; column += kBlock) {
        const float* block = load_block(rows, row, column, {words.data(), penalties[row]}, scratch);
        store_block(block, std::min(rows.width - column, kBlock), rows.kind, to + column * size_of(rows.kind));
      }
    }
    finish_storing();
  });
}

}  // namespace fastmask
