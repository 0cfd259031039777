// What a divergence needs of a block of two rows of logits, the inner loops of divergence.cc. Every function gives the
// same bits on every set of instructions.
//
// Throughout, x = (first - first_max)·rate and y = (second - second_max)·rate, ≤ 0, with rate = 1/temperature: taking
// the maximum off before scaling rounds least where the probability is.
#pragma once

#include "logit_blocks.h"

namespace fastmask {

struct SoftmaxFrame {
  float first_max, second_max, rate;
};

struct SoftmaxSums {
  float first, second, dot;  // Σ e^x, Σ e^y, Σ e^x (x - y); where e^x is 0, so is its term, whatever x - y is
};

float block_max(const float* block);

SoftmaxSums block_sums(const float* first, const float* second, const SoftmaxFrame& frame);

// out = e^y·second_scale - e^x·first_scale: the gradient of KL(first ‖ second) in `second`, where the scales hold
// 1/Σ e^x, 1/Σ e^y and whatever else the gradient is multiplied by.
void gradient_in_second(const float* first, const float* second, const SoftmaxFrame& frame, float first_scale,
                        float second_scale, float* out);

// out = e^x·first_scale·(x - y - mean): the gradient of KL(first ‖ second) in `first`, where `mean` is that of x - y
// under the first distribution.
void gradient_in_first(const float* first, const float* second, const SoftmaxFrame& frame, float first_scale,
                       float mean, float* out);

}  // namespace fastmask
