// What is summed up over a block of two rows of logits: the inner loops of divergence.cc and allowed_mass.cc. Every
// function gives the same bits on every set of instructions.
//
// Throughout, x = (first - first_max)·rate and y = (second - second_max)·rate, ≤ 0, with rate = 1/temperature: taking
// the maximum off before scaling rounds least where the probability is.
#pragma once

#include <limits>

#include "logit_blocks.h"

namespace fastmask {

constexpr int64_t kLogitsPerChunk = 1 << 16;  // about 50 µs: much more than handing a chunk to a thread costs

// Where the maximum of a row begins. Not -inf, from which differences would be NaN.
constexpr double kNoMaximum = -std::numeric_limits<float>::max();

// Below, e^x counts as 0: floats lose digits there.
constexpr float kLowestExponent = -87.33f;

struct SoftmaxFrame {
  float first_max, second_max, rate;
};

struct SoftmaxSums {
  float first, second, dot;  // Σ e^x, Σ e^y, Σ e^x (x - y); where e^x is 0, so is its term, whatever x - y is
};

float block_max(const float* block);

// The numbers of a block from which its gradient is made, so that no exponential is taken twice.
enum class Keep {
  kNothing,
  kSeconds,  // e^x and e^y: for a gradient in the second row
  kDots,     // e^x and e^x (x - y): for one in the first
};

struct Kept {
  Keep what;
  float *first, *other;  // a block each, unless nothing is kept
};

// Memory to ask for meanwhile, so that it is there when its turn comes: left to itself the processor stops at the end
// of each page (a block of floats) and waits.
struct Upcoming {
  const void *one, *other;
};

SoftmaxSums block_sums(const float* first, const float* second, const SoftmaxFrame& frame, const Kept& kept,
                       const Upcoming& next);

// The same over the tokens that have mass in the second row (y > -inf), and the highest logit of the others that have some
// in the first; -inf if there are none. For blocks whose dot is not finite, which are rare: in double, and slow.
struct MatchedSums {
  double first, dot;
  float unmatched_max;
};
MatchedSums matched_sums(const float* first, const float* second, const SoftmaxFrame& frame);

// out = first·first_scale + other·other_scale
void combine(const float* first, float first_scale, const float* other, float other_scale, float* out);

}  // namespace fastmask
