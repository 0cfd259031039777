#include "divergence.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "bitmask.h"
#include "softmax_blocks.h"
#include "thread_pool.h"

namespace fastmask {
namespace {

constexpr int64_t kLogitsPerChunk = 1 << 16;  // about 50 µs: much more than handing a chunk out costs

// Where the maximum of a row begins. Not -inf, from which differences would be NaN.
constexpr double kNoMaximum = -std::numeric_limits<float>::max();

// One thread's way through rows, block by block.
class RowReader {
 public:
  explicit RowReader(const DivergenceRows& rows)
      : rows_(rows),
        width_(std::max(rows.teacher.width, rows.student.width)),
        words_(rows.masks == nullptr ? 0 : (width_ + kBlock - 1) / kBlock * kBlockWords, 0) {}

  void begin(int64_t row) {
    row_ = row;
    if (rows_.masks != nullptr) rows_.masks->row(rows_.states[row])->write_packed(words_.data());
  }

  // Calls visit(first, second, column) with each pair of blocks.
  template <class Visit>
  void each_block(Visit&& visit) {
    for (int64_t column = 0; column < width_; column += kBlock) {
      const float* teacher = load_block(rows_.teacher, row_, column, penalty(rows_.penalize_teacher), teacher_);
      const float* student = load_block(rows_.student, row_, column, penalty(rows_.penalize_student), student_);
      rows_.first == Side::kTeacher ? visit(teacher, student, column) : visit(student, teacher, column);
    }
  }

 private:
  Penalty penalty(bool penalized) const {
    if (!penalized || rows_.masks == nullptr) return {nullptr, 0.0f};
    return {words_.data(), rows_.penalties[row_]};
  }

  const DivergenceRows& rows_;
  const int64_t width_;
  std::vector<uint32_t> words_;  // of the row begun; zeros past the vocabulary
  int64_t row_ = 0;
  alignas(64) float teacher_[kBlock], student_[kBlock];
};

float rate(const DivergenceRows& rows) { return static_cast<float>(1.0 / rows.temperature); }

// Makes sums relative to new maxima, which are no lower than the old ones.
void raise_maxima(DivergenceSums& sums, double first_max, double second_max, double rate) {
  const double first_rise = (first_max - sums.first_max) * rate, second_rise = (second_max - sums.second_max) * rate;
  const double factor = std::exp(-first_rise);
  sums.dot = factor == 0.0 ? 0.0 : factor * (sums.dot + (second_rise - first_rise) * sums.first);
  sums.first *= factor;
  sums.second *= std::exp(-second_rise);
  sums.first_max = first_max;
  sums.second_max = second_max;
}

SoftmaxFrame frame_of(const DivergenceSums& sums, float rate) {
  return {static_cast<float>(sums.first_max), static_cast<float>(sums.second_max), rate};
}

DivergenceSums sum_up(RowReader& reader, float rate) {
  DivergenceSums sums{kNoMaximum, kNoMaximum, 0.0, 0.0, 0.0};
  reader.each_block([&](const float* first, const float* second, int64_t) {
    const double first_max = std::max<double>(sums.first_max, block_max(first));
    const double second_max = std::max<double>(sums.second_max, block_max(second));
    if (first_max > sums.first_max || second_max > sums.second_max) raise_maxima(sums, first_max, second_max, rate);
    const SoftmaxSums block = block_sums(first, second, frame_of(sums, rate));
    sums.first += block.first;
    sums.second += block.second;
    sums.dot += block.dot;
  });
  return sums;
}

double loss_of(const DivergenceSums& sums) {
  return sums.dot / sums.first - std::log(sums.first) + std::log(sums.second);
}

// Writes one row of the gradient, `upstream` times that of the loss.
class GradientWriter {
 public:
  GradientWriter(const DivergenceRows& rows, void* out) : rows_(rows), out_(static_cast<char*>(out)) {}

  void write(RowReader& reader, int64_t row, const DivergenceSums& sums, float upstream) {
    const SoftmaxFrame frame = frame_of(sums, rate(rows_));
    const double scale = upstream / rows_.temperature;
    const auto first_scale = static_cast<float>(scale / sums.first);
    const auto second_scale = static_cast<float>(scale / sums.second);
    const auto mean = static_cast<float>(sums.dot / sums.first);
    reader.each_block([&](const float* first, const float* second, int64_t column) {
      const int64_t count = std::min(rows_.student.width - column, kBlock);
      if (count <= 0) return;  // the teacher is wider
      char* at = out_ + (row * rows_.student.width + column) * size_of(rows_.student.kind);
      const bool in_place = count == kBlock && rows_.student.kind == FloatKind::kFloat32;
      float* block = in_place ? reinterpret_cast<float*>(at) : scratch_;
      if (rows_.first == Side::kTeacher)
        gradient_in_second(first, second, frame, first_scale, second_scale, block);
      else
        gradient_in_first(first, second, frame, first_scale, mean, block);
      if (!in_place) store_block(block, count, rows_.student.kind, at);
    });
  }

 private:
  const DivergenceRows& rows_;
  char* const out_;
  alignas(64) float scratch_[kBlock];
};

// Calls visit(reader, writer, row) for every row, spread over the threads.
template <class Visit>
void each_row(const DivergenceRows& rows, void* gradient, Visit&& visit) {
  if (rows.masks != nullptr) rows.masks->prepare(rows.states, rows.count);
  const int64_t logits = std::max<int64_t>(1, rows.teacher.width + rows.student.width);
  parallel_for(rows.count, std::max<int64_t>(1, kLogitsPerChunk / logits), [&](int64_t begin, int64_t end) {
    RowReader reader(rows);
    GradientWriter writer(rows, gradient);
    for (int64_t row = begin; row < end; ++row) {
      reader.begin(row);
      visit(reader, writer, row);
    }
  });
}

}  // namespace

void divergence(const DivergenceRows& rows, DivergenceSums* sums, float* losses, const DivergenceGradient& gradient) {
  each_row(rows, gradient.out, [&](RowReader& reader, GradientWriter& writer, int64_t row) {
    sums[row] = sum_up(reader, rate(rows));
    losses[row] = static_cast<float>(loss_of(sums[row]));
    if (gradient.out != nullptr) writer.write(reader, row, sums[row], gradient.upstream[row]);
  });
}

void divergence_gradient(const DivergenceRows& rows, const DivergenceSums* sums, const DivergenceGradient& gradient) {
  each_row(rows, gradient.out, [&](RowReader& reader, GradientWriter& writer, int64_t row) {
    writer.write(reader, row, sums[row], gradient.upstream[row]);
  });
}

}  // namespace fastmask
