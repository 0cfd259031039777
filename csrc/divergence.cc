#include "divergence.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <vector>

#include "softmax_blocks.h"
#include "thread_pool.h"

namespace fastmask {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// Of the blocks read so far: the maxima of the penalised logits, Σ e^x and Σ e^y; over the tokens that have mass in the
// second row Σ e^x and Σ e^x (x - y); and the highest logit of those that have none there, and some in the first.
struct Sums {
  double first_max = kNoMaximum, second_max = kNoMaximum, first = 0.0, second = 0.0;
  double matched = 0.0, dot = 0.0, unmatched_max = -kInfinity;

  double mean() const { return dot / first; }  // of x - y, under the first distribution

  // Infinite where the second row lacks what has mass in the first, wherever in the row that stands: what had some
  // beside the maximum of its time may have none beside the last one.
  double divergence(double rate) const {
    if ((unmatched_max - first_max) * rate >= kLowestExponent) return kInfinity;
    return mean() - std::log(first) + std::log(second);
  }

  // Makes the sums relative to new maxima, which are no lower than the old ones.
  void raise_maxima(double new_first_max, double new_second_max, double rate) {
    const double first_rise = (new_first_max - first_max) * rate, second_rise = (new_second_max - second_max) * rate;
    const double factor = std::exp(-first_rise);
    dot = factor == 0.0 ? 0.0 : factor * (dot + (second_rise - first_rise) * matched);
    matched *= factor;
    first *= factor;
    second *= std::exp(-second_rise);
    first_max = new_first_max;
    second_max = new_second_max;
  }
};

// Of a row whose sums are known: its divergence, and Σ q log(q/m) if it is that of Jensen and Shannon.
struct Solved {
  double divergence, second_dot;
};

// One thread's way through rows: each is read block by block and summed up, mixed if it is to be, then its gradient is
// made of what was kept.
class RowWorker {
 public:
  RowWorker(const DivergenceRows& rows, const DivergenceGradient& gradient)
      : rows_(rows),
        gradient_(gradient),
        rate_(static_cast<float>(1.0 / rows.temperature)),
        num_blocks_((std::max(rows.teacher.width, rows.student.width) + kBlock - 1) / kBlock),
        words_(rows.masks == nullptr ? 0 : num_blocks_ * kBlockWords, 0) {
    if (gradient.out == nullptr && !mixes()) return;
    keep_ = rows.kind == Kind::kReverse ? Keep::kDots : Keep::kSeconds;
    kept_.reset(new float[num_blocks_ * 2 * kBlock]);  // uninitialised: zeros would cost as much as a pass
    maxima_.resize(num_blocks_);
  }

  // Returns the row's divergence and writes its gradient.
  double work(int64_t row) {
    if (rows_.masks != nullptr) rows_.masks->row(rows_.states[row])->write_packed(words_.data());
    Sums sums;
    for (int64_t block = 0; block < num_blocks_; ++block) add_block(row, block, sums);
    const Solved solved = mixes() ? mix(sums) : Solved{sums.divergence(rate_), 0.0};
    if (gradient_.out != nullptr)
      for (int64_t block = 0; block * kBlock < rows_.student.width; ++block) write_block(row, block, sums, solved);
    return solved.divergence;
  }

 private:
  struct Both {
    double first, second;
  };

  bool mixes() const { return rows_.kind == Kind::kJensenShannon; }

  void add_block(int64_t row, int64_t block, Sums& sums) {
    const int64_t column = block * kBlock;
    const float* teacher = load_block(rows_.teacher, row, column, penalty(row, rows_.penalize_teacher), teacher_);
    const float* student = load_block(rows_.student, row, column, penalty(row, rows_.penalize_student), student_);
    const bool reverse = rows_.kind == Kind::kReverse;
    const float *first = reverse ? student : teacher, *second = reverse ? teacher : student;
    const double first_max = std::max<double>(sums.first_max, block_max(first));
    const double second_max = std::max<double>(sums.second_max, block_max(second));
    if (first_max > sums.first_max || second_max > sums.second_max) sums.raise_maxima(first_max, second_max, rate_);
    const Upcoming next{block_address(rows_.teacher, row, column + kBlock),
                        block_address(rows_.student, row, column + kBlock)};
    const SoftmaxFrame frame{static_cast<float>(first_max), static_cast<float>(second_max), rate_};
    const SoftmaxSums added = block_sums(first, second, frame, {keep_, kept_first(block), kept_other(block)}, next);
    sums.first += added.first;
    sums.second += added.second;
    if (mixes() || std::isfinite(added.dot)) {  // who mixes has no use for dots
      sums.matched += added.first;
      sums.dot += added.dot;
    } else {
      const MatchedSums matched = matched_sums(first, second, frame);
      sums.matched += matched.first;
      sums.dot += matched.dot;
      sums.unmatched_max = std::max<double>(sums.unmatched_max, matched.unmatched_max);
    }
    if (keep_ != Keep::kNothing) maxima_[block] = {first_max, second_max};
  }

  // Makes what was kept of each block what its gradient is made of, and adds it up.
  Solved mix(const Sums& sums) {
    Solved solved{0.0, 0.0};
    for (int64_t block = 0; block < num_blocks_; ++block) {
      const Both scales = scales_of(block, sums);
      const MixtureFrame frame{static_cast<float>(scales.first), static_cast<float>(scales.second),
                               static_cast<float>(rows_.teacher_share), static_cast<float>(rows_.student_share)};
      const MixtureSums added = mixture_sums(kept_first(block), kept_other(block), frame);
      solved.divergence += added.divergence;
      solved.second_dot += added.second_dot;
    }
    return solved;
  }

  void write_block(int64_t row, int64_t block, const Sums& sums, const Solved& solved) {
    const double scale = gradient_.upstream[row] / rows_.temperature;
    if (mixes()) {
      const double share = scale * rows_.student_share;
      return write(row, block, -share * solved.second_dot, share);
    }
    const Both scales = scales_of(block, sums);
    if (keep_ == Keep::kSeconds) return write(row, block, -scale * scales.first, scale * scales.second);  // q - p
    if (sums.unmatched_max > -kInfinity && std::isfinite(solved.divergence)) forget_unmatched(block);
    const double drift = ((sums.second_max - maxima_[block].second) - (sums.first_max - maxima_[block].first)) * rate_;
    write(row, block, scale * scales.first * (drift - sums.mean()), scale * scales.first);  // q (x - y - mean)
  }

  // From the exponentials that were kept of a block, which are relative to the maxima of its time, to probabilities.
  Both scales_of(int64_t block, const Sums& sums) const {
    return {std::exp((maxima_[block].first - sums.first_max) * rate_) / sums.first,
            std::exp((maxima_[block].second - sums.second_max) * rate_) / sums.second};
  }

  // Tokens that the second row lacks, and that have no mass in the first any more.
  void forget_unmatched(int64_t block) {
    float *first = kept_first(block), *dots = kept_other(block);
    for (int64_t i = 0; i < kBlock; ++i)
      if (!std::isfinite(dots[i])) first[i] = dots[i] = 0.0f;
  }

  void write(int64_t row, int64_t block, double first_scale, double other_scale) {
    const int64_t width = rows_.student.width, count = std::min(width - block * kBlock, kBlock);
    const FloatKind kind = rows_.student.kind;
    char* at = static_cast<char*>(gradient_.out) + (row * width + block * kBlock) * size_of(kind);
    combine(kept_first(block), static_cast<float>(first_scale), kept_other(block), static_cast<float>(other_scale),
            student_);
    store_block(student_, count, kind, at);
  }

  Penalty penalty(int64_t row, bool penalized) const {
    if (!penalized || rows_.masks == nullptr) return {nullptr, 0.0f};
    return {words_.data(), rows_.penalties[row]};
  }

  float* kept_first(int64_t block) { return kept_.get() + (keep_ == Keep::kNothing ? 0 : 2 * block * kBlock); }
  float* kept_other(int64_t block) { return kept_first(block) + (keep_ == Keep::kNothing ? 0 : kBlock); }

  const DivergenceRows& rows_;
  const DivergenceGradient gradient_;
  const float rate_;
  const int64_t num_blocks_;
  Keep keep_ = Keep::kNothing;
  std::vector<uint32_t> words_;  // the row's mask; zeros past the vocabulary
  std::unique_ptr<float[]> kept_;  // of each block of the row: two blocks, see Keep
  std::vector<Both> maxima_;       // of each block of the row: those to which what was kept is relative
  alignas(64) float teacher_[kBlock], student_[kBlock];
};

}  // namespace

void divergence(const DivergenceRows& rows, float* losses, const DivergenceGradient& gradient) {
  if (rows.masks != nullptr) rows.masks->prepare(rows.states, rows.count);
  const int64_t logits = std::max<int64_t>(1, rows.teacher.width + rows.student.width);
  parallel_for(rows.count, std::max<int64_t>(1, kLogitsPerChunk / logits), [&](int64_t begin, int64_t end) {
    RowWorker worker(rows, gradient);
    for (int64_t row = begin; row < end; ++row) losses[row] = static_cast<float>(worker.work(row));
    finish_storing();
  });
}

}  // namespace fastmask
