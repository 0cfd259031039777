#include "softmax_blocks.h"

#include <algorithm>
#include <limits>

#include "elementary.h"

namespace fastmask {
namespace {

// A block is added up in so many sums side by side: the same ones on every path, enough to keep wide registers busy.
constexpr int64_t kLanes = 64;

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

// The cache lines that as many floats take.
FASTMASK_INLINE void prefetch(const void* memory, int64_t first, int64_t count) {
#if defined(__GNUC__) || defined(__clang__)
  for (int64_t i = first; i < first + count; i += 16) __builtin_prefetch(static_cast<const float*>(memory) + i);
#else
  (void)memory, (void)first, (void)count;
#endif
}

template <Keep keep>
FASTMASK_INLINE SoftmaxSums sums_body(const float* first, const float* second, SoftmaxFrame frame,
                                      float* __restrict kept_first, float* __restrict kept_other, Upcoming next) {
  alignas(64) float firsts[kLanes] = {}, seconds[kLanes] = {}, dots[kLanes] = {};
  for (int64_t at = 0; at < kBlock; at += kLanes) {
    prefetch(next.one, at, kLanes);
    prefetch(next.other, at, kLanes);
    for (int64_t i = 0; i < kLanes; ++i) {
      const float x = (first[at + i] - frame.first_max) * frame.rate;
      const float y = (second[at + i] - frame.second_max) * frame.rate;
      const float first_e = exp_of(x), second_e = exp_of(y);
      const float product = first_e * (x - y);
      const float dot = zero_where(first_e == 0.0f, product);
      firsts[i] += first_e;
      seconds[i] += second_e;
      dots[i] += dot;
      if (keep == Keep::kNothing) continue;
      kept_first[at + i] = first_e;
      kept_other[at + i] = keep == Keep::kSeconds ? second_e : dot;
    }
  }
  return {add_up(firsts), add_up(seconds), add_up(dots)};
}

FASTMASK_INLINE MixtureSums mixture_body(float* __restrict first, float* __restrict second, MixtureFrame frame) {
  alignas(64) float divergences[kLanes] = {}, dots[kLanes] = {};
  for (int64_t at = 0; at < kBlock; at += kLanes)
    for (int64_t i = 0; i < kLanes; ++i) {
      const float p = first[at + i] * frame.first_scale, q = second[at + i] * frame.second_scale;
      const float mixed = fused(frame.first_share, p, frame.second_share * q);
      const float inverse = 1.0f / normal_of(mixed);
      const float difference = (p - q) * inverse;  // of p/m and q/m: exact where these are close
      const float first_dot = p * log_of(p * inverse, frame.second_share * difference);
      const float second_dot = q * log_of(q * inverse, -frame.first_share * difference);
      divergences[i] += frame.first_share * first_dot + frame.second_share * second_dot;
      dots[i] += second_dot;
      first[at + i] = q;
      second[at + i] = second_dot;
    }
  return {add_up(divergences), add_up(dots)};
}

FASTMASK_INLINE void combine_body(const float* first, float first_scale, const float* other, float other_scale,
                                  float* __restrict out) {
  for (int64_t i = 0; i < kBlock; ++i) out[i] = first[i] * first_scale + other[i] * other_scale;
}

}  // namespace

float block_max(const float* block) { return ForMachine<&max_body>::call(block); }

SoftmaxSums block_sums(const float* first, const float* second, const SoftmaxFrame& frame, const Kept& kept,
                       const Upcoming& next) {
  switch (kept.what) {
    case Keep::kNothing: break;
    case Keep::kSeconds:
      return ForMachine<&sums_body<Keep::kSeconds>>::call(first, second, frame, kept.first, kept.other, next);
    case Keep::kDots:
      return ForMachine<&sums_body<Keep::kDots>>::call(first, second, frame, kept.first, kept.other, next);
  }
  return ForMachine<&sums_body<Keep::kNothing>>::call(first, second, frame, nullptr, nullptr, next);
}

MatchedSums matched_sums(const float* first, const float* second, const SoftmaxFrame& frame) {
  MatchedSums sums{0.0, 0.0, -std::numeric_limits<float>::infinity()};
  for (int64_t i = 0; i < kBlock; ++i) {
    const float x = (first[i] - frame.first_max) * frame.rate;
    const float y = (second[i] - frame.second_max) * frame.rate;
    const float mass = exp_of(x);
    if (mass == 0.0f) continue;
    if (y == -std::numeric_limits<float>::infinity()) {
      sums.unmatched_max = std::max(sums.unmatched_max, first[i]);
    } else {
      sums.first += mass;
      sums.dot += static_cast<double>(mass) * (static_cast<double>(x) - y);
    }
  }
  return sums;
}

MixtureSums mixture_sums(float* first, float* second, const MixtureFrame& frame) {
  return ForMachine<&mixture_body>::call(first, second, frame);
}

void combine(const float* first, float first_scale, const float* other, float other_scale, float* out) {
  ForMachine<&combine_body>::call(first, first_scale, other, other_scale, out);
}

}  // namespace fastmask
