#include "allowed_mass.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "softmax_blocks.h"
#include "thread_pool.h"

namespace fastmask {
namespace {

// Σ e^((logit - max)·rate) over the blocks read so far.
struct ScaledSum {
  double max = kNoMaximum, sum = 0.0;

  void raise_max(double candidate, double rate) {
    if (candidate <= max) return;
    sum *= std::exp((max - candidate) * rate);
    max = candidate;
  }
  double log_sum(double rate) const { return max * rate + std::log(sum); }
};

// One thread's way through rows: block by block, once with the disallowed tokens taken out, once with the others.
class RowWorker {
 public:
  RowWorker(const LogitRows& rows, MaskTable& masks, const State* states, double temperature)
      : rows_(rows),
        masks_(masks),
        states_(states),
        rate_(static_cast<float>(1.0 / temperature)),
        num_blocks_((std::max(rows.width, masks.vocab_size()) + kBlock - 1) / kBlock),
        allowed_words_(num_blocks_ * kBlockWords, 0),
        disallowed_words_(allowed_words_.size()) {}

  void work(int64_t row, const LogMasses& out) {
    masks_.row(states_[row])->write_packed(allowed_words_.data());
    std::transform(allowed_words_.begin(), allowed_words_.end(), disallowed_words_.begin(),
                   [](uint32_t word) { return ~word; });
    ScaledSum allowed, disallowed;
    for (int64_t column = 0; column < rows_.width; column += kBlock) add_block(row, column, allowed, disallowed);
    out.allowed[row] = allowed.log_sum(rate_);
    out.disallowed[row] = disallowed.log_sum(rate_);
  }

 private:
  void add_block(int64_t row, int64_t column, ScaledSum& allowed, ScaledSum& disallowed) {
    constexpr float kNever = std::numeric_limits<float>::infinity();
    const float* ours = load_block(rows_, row, column, {allowed_words_.data(), kNever}, allowed_);
    const float* theirs = load_block(rows_, row, column, {disallowed_words_.data(), kNever}, disallowed_);
    allowed.raise_max(block_max(ours), rate_);
    disallowed.raise_max(block_max(theirs), rate_);
    const SoftmaxFrame frame{static_cast<float>(allowed.max), static_cast<float>(disallowed.max), rate_};
    const void* next = block_address(rows_, row, column + kBlock);
    const SoftmaxSums added = block_sums(ours, theirs, frame, {Keep::kNothing, nullptr, nullptr}, {next, next});
    allowed.sum += added.first;
    disallowed.sum += added.second;
  }

  const LogitRows& rows_;
  MaskTable& masks_;
  const State* states_;
  const float rate_;
  const int64_t num_blocks_;
  std::vector<uint32_t> allowed_words_, disallowed_words_;  // the row's mask and its complement
  alignas(64) float allowed_[kBlock], disallowed_[kBlock];
};

}  // namespace

void log_masses(const LogitRows& rows, int64_t count, MaskTable& masks, const State* states, double temperature,
                const LogMasses& out) {
  masks.prepare(states, count);
  parallel_for(count, std::max<int64_t>(1, kLogitsPerChunk / std::max<int64_t>(1, rows.width)),
               [&](int64_t begin, int64_t end) {
                 RowWorker worker(rows, masks, states, temperature);
                 for (int64_t row = begin; row < end; ++row) worker.work(row, out);
               });
}

}  // namespace fastmask
