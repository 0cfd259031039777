// What is summed up over a block of two rows of logits: the inner loops of divergence.cc and allowed_mass.cc. Every
// function gives the same bits on every set of instructions.
//
// Throughout, x = (first - first_max)·rate and y = (second - second_max)·rate, ≤ 0, with rate = 1/temperature: taking
// the maximum off before scaling rounds least where the probability is.
#pragma once

#include <limits>

#include "elementary.h"
#include "logit_blocks.h"

namespace fastmask {

// Where the maximum of a row begins. Not -inf, from which differences would be NaN.
constexpr double kNoMaximum = -std::numeric_limits<float>::max();

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

// The same over the tokens that have mass in the second row (y > -inf), and the highest logit of the others that have
// some in the first; -inf if there are none. For blocks whose dot is not finite, which are rare: in double, and slow.
struct MatchedSums {
  double first, dot;
  float unmatched_max;
};
MatchedSums matched_sums(const float* first, const float* second, const SoftmaxFrame& frame);

// With p = first·first_scale and q = second·second_scale, the probabilities of a block of tokens, and their mixture
// m = first_share·p + second_share·q, whose shares add up to 1.
struct MixtureFrame {
  float first_scale, second_scale, first_share, second_share;
};

// Σ first_share·p log(p/m) + second_share·q log(q/m), no term of which is negative, and Σ q log(q/m). A term of p = 0
// or q = 0 is 0.
struct MixtureSums {
  float divergence, second_dot;
};

// Leaves q in `first` and q log(q/m) in `second`: for a gradient in the second row.
MixtureSums mixture_sums(float* first, float* second, const MixtureFrame& frame);

// out = first·first_scale + other·other_scale
void combine(const float* first, float first_scale, const float* other, float other_scale, float* out);

}  // namespace fastmask
