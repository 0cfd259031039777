#include "softmax_blocks.h"

#include <limits>

#include "simd.h"

namespace fastmask {
namespace {

// A block is added up in so many sums side by side: the same ones on every path, enough to keep wide registers busy.
constexpr int64_t kLanes = 64;

// By bits, not by a choice: choices make compilers write branches where a loop was to become SIMD code.
FASTMASK_INLINE float zero_where(bool unwanted, float value) {
  return as_float(as_bits(value) & (static_cast<uint32_t>(unwanted) - 1));
}

// e^x for x ≤ 0, to 1 in the last place; 0 below -87.3, where floats lose digits; NaN for NaN. The reduction to
// n·ln 2 + r and the polynomial are those of Cephes' expf (S. L. Moshier).
FASTMASK_INLINE float exp_of(float x) {
  constexpr float kLowest = -87.33f;
  constexpr float kShift = 12582912.0f;  // 1.5·2^23: adding it rounds to an integer, kept in the lowest bits
  const float within = zero_where(x < kLowest, x);
  const float shifted = within * 1.44269504f + kShift;
  const float n = shifted - kShift;
  const float r = (within - n * 0.693359375f) + n * 2.12194440e-4f;  // ln 2 in two parts: the first product is exact
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  const float power = as_float((as_bits(shifted) << 23) + (127u << 23));  // 2^n
  const float e = ((p * r) * r + r + 1.0f) * power;
  return zero_where(x < kLowest, e);
}

FASTMASK_INLINE float add_up(float* lanes) {
  for (int64_t half = kLanes / 2; half > 0; half /= 2)
    for (int64_t i = 0; i < half; ++i) lanes[i] += lanes[i + half];
  return lanes[0];
}

FASTMASK_INLINE float max_body(const float* block) {
  alignas(64) float lanes[kLanes];
  for (int64_t i = 0; i < kLanes; ++i) lanes[i] = block[i];
  for (int64_t at = kLanes; at < kBlock; at += kLanes)
    for (int64_t i = 0; i < kLanes; ++i) lanes[i] = lanes[i] < block[at + i] ? block[at + i] : lanes[i];
  for (int64_t half = kLanes / 2; half > 0; half /= 2)
    for (int64_t i = 0; i < half; ++i) lanes[i] = lanes[i] < lanes[i + half] ? lanes[i + half] : lanes[i];
  return lanes[0];
}

FASTMASK_INLINE SoftmaxSums sums_body(const float* first, const float* second, SoftmaxFrame frame) {
  alignas(64) float firsts[kLanes] = {}, seconds[kLanes] = {}, dots[kLanes] = {};
  for (int64_t at = 0; at < kBlock; at += kLanes)
    for (int64_t i = 0; i < kLanes; ++i) {
      const float x = (first[at + i] - frame.first_max) * frame.rate;
      const float y = (second[at + i] - frame.second_max) * frame.rate;
      const float e = exp_of(x);
      const float dot = e * (x - y);
      firsts[i] += e;
      seconds[i] += exp_of(y);
      dots[i] += zero_where(e == 0.0f, dot);
    }
  return {add_up(firsts), add_up(seconds), add_up(dots)};
}

FASTMASK_INLINE void in_second_body(const float* first, const float* second, SoftmaxFrame frame, float first_scale,
                                    float second_scale, float* __restrict out) {
  for (int64_t i = 0; i < kBlock; ++i) {
    const float x = (first[i] - frame.first_max) * frame.rate;
    const float y = (second[i] - frame.second_max) * frame.rate;
    out[i] = exp_of(y) * second_scale - exp_of(x) * first_scale;
  }
}

FASTMASK_INLINE void in_first_body(const float* first, const float* second, SoftmaxFrame frame, float first_scale,
                                   float mean, float* __restrict out) {
  for (int64_t i = 0; i < kBlock; ++i) {
    const float x = (first[i] - frame.first_max) * frame.rate;
    const float y = (second[i] - frame.second_max) * frame.rate;
    const float e = exp_of(x);
    const float slope = e * first_scale * ((x - y) - mean);
    out[i] = zero_where(e == 0.0f, slope);
  }
}

}  // namespace

float block_max(const float* block) { return ForMachine<&max_body>::call(block); }

SoftmaxSums block_sums(const float* first, const float* second, const SoftmaxFrame& frame) {
  return ForMachine<&sums_body>::call(first, second, frame);
}

void gradient_in_second(const float* first, const float* second, const SoftmaxFrame& frame, float first_scale,
                        float second_scale, float* out) {
  ForMachine<&in_second_body>::call(first, second, frame, first_scale, second_scale, out);
}

void gradient_in_first(const float* first, const float* second, const SoftmaxFrame& frame, float first_scale,
                       float mean, float* out) {
  ForMachine<&in_first_body>::call(first, second, frame, first_scale, mean, out);
}

}  // namespace fastmask
