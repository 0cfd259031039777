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
  // Not by the rate, which is rounded: that is right for differences from the maximum, and not for large maxima.
  double log_sum(double temperature) const { return max / temperature + std::log(sum); }
};

// One thread's way through rows: block by block, once with the disallowed tokens taken out, once with the others.
class RowWorker {
 public:
  explicit RowWorker(const MassRows& rows)
      : rows_(rows),
        rate_(static_cast<float>(1.0 / rows.temperature)),
        num_blocks_((std::max(rows.logits.width, rows.masks.vocab_size()) + kBlock - 1) / kBlock),
        allowed_words_(num_blocks_ * kBlockWords, 0),
        disallowed_words_(allowed_words_.size()) {}

  void add_up(int64_t row, const LogMasses& out) {
    const Sums sums = sums_of(row);
    out.allowed[row] = sums.allowed.log_sum(rows_.temperature);
    out.disallowed[row] = sums.disallowed.log_sum(rows_.temperature);
  }

  void write_gradient(int64_t row, const LogMassGradient& gradient) {
    const Sums sums = sums_of(row);
    const auto scale = [&](double weight, double sum) {
      return weight == 0.0 || sum == 0.0 ? 0.0f : static_cast<float>(weight / (rows_.temperature * sum));
    };
    const float allowed_scale = scale(gradient.allowed[row], sums.allowed.sum);
    const float disallowed_scale = scale(gradient.disallowed[row], sums.disallowed.sum);
    const int64_t width = rows_.logits.width;
    const FloatKind kind = rows_.logits.kind;
    char* out = static_cast<char*>(gradient.out) + row * width * size_of(kind);
    for (int64_t column = 0; column < width; column += kBlock) {
      const Loaded loaded = load(row, column);
      exponentials(row, column, loaded, sums, {Keep::kSeconds, kept_allowed_, kept_disallowed_});
      combine(weighed(kept_allowed_, allowed_scale), allowed_scale, weighed(kept_disallowed_, disallowed_scale),
              disallowed_scale, allowed_);
      store_block(allowed_, std::min(width - column, kBlock), kind, out + column * size_of(kind));
    }
  }

 private:
  struct Sums {
    ScaledSum allowed, disallowed;
  };
  struct Loaded {
    const float *allowed, *disallowed;
  };

  Sums sums_of(int64_t row) {
    rows_.masks.row(rows_.states[row])->write_packed(allowed_words_.data());
    std::transform(allowed_words_.begin(), allowed_words_.end(), disallowed_words_.begin(),
                   [](uint32_t word) { return ~word; });
    Sums sums;
    for (int64_t column = 0; column < rows_.logits.width; column += kBlock) {
      const Loaded loaded = load(row, column);
      sums.allowed.raise_max(block_max(loaded.allowed), rate_);
      sums.disallowed.raise_max(block_max(loaded.disallowed), rate_);
      const SoftmaxSums added = exponentials(row, column, loaded, sums, {Keep::kNothing, nullptr, nullptr});
      sums.allowed.sum += added.first;
      sums.disallowed.sum += added.second;
    }
    return sums;
  }

  Loaded load(int64_t row, int64_t column) {
    constexpr float kNever = std::numeric_limits<float>::infinity();
    const float* ours = load_block(rows_.logits, row, column, {allowed_words_.data(), kNever}, allowed_);
    const float* theirs = load_block(rows_.logits, row, column, {disallowed_words_.data(), kNever}, disallowed_);
    return {leave_out(ours, row, column, allowed_), leave_out(theirs, row, column, disallowed_)};
  }

  // The block without the tokens that are left out of the row: in `scratch`, or, where there are none, where it is.
  const float* leave_out(const float* block, int64_t row, int64_t column, float* scratch) const {
    const int32_t* ids = rows_.left_out + row * rows_.num_left_out;
    for (int64_t i = 0; i < rows_.num_left_out; ++i) {
      if (ids[i] < column || ids[i] >= column + kBlock) continue;
      if (block != scratch) block = std::copy(block, block + kBlock, scratch) - kBlock;
      scratch[ids[i] - column] = -std::numeric_limits<float>::infinity();
    }
    return block;
  }

  // Nothing of a sum without weight: 0 times what is NaN in it would be NaN.
  static const float* weighed(const float* kept, float scale) {
    static constexpr float kZeros[kBlock] = {};
    return scale == 0.0f ? kZeros : kept;
  }

  SoftmaxSums exponentials(int64_t row, int64_t column, const Loaded& loaded, const Sums& sums,
                           const Kept& kept) const {
    const SoftmaxFrame frame{static_cast<float>(sums.allowed.max), static_cast<float>(sums.disallowed.max), rate_};
    const void* next = block_address(rows_.logits, row, column + kBlock);
    return block_sums(loaded.allowed, loaded.disallowed, frame, kept, {next, next});
  }

  const MassRows& rows_;
  const float rate_;
  const int64_t num_blocks_;
  std::vector<uint32_t> allowed_words_, disallowed_words_;  // the row's mask and its complement
  alignas(64) float allowed_[kBlock], disallowed_[kBlock], kept_allowed_[kBlock], kept_disallowed_[kBlock];
};

template <class Work>
void for_rows(const MassRows& rows, const Work& work) {
  rows.masks.prepare(rows.states, rows.count);
  parallel_for(rows.count, std::max<int64_t>(1, kLogitsPerChunk / std::max<int64_t>(1, rows.logits.width)),
               [&](int64_t begin, int64_t end) {
                 RowWorker worker(rows);
                 for (int64_t row = begin; row < end; ++row) work(worker, row);
                 finish_storing();
               });
}

}  // namespace

void log_masses(const MassRows& rows, const LogMasses& out) {
  for_rows(rows, [&](RowWorker& worker, int64_t row) { worker.add_up(row, out); });
}

void log_mass_gradient(const MassRows& rows, const LogMassGradient& gradient) {
  for_rows(rows, [&](RowWorker& worker, int64_t row) { worker.write_gradient(row, gradient); });
}

}  // namespace fastmask
