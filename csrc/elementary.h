// The exponential and the natural logarithm of floats, as plain expressions without branches: loops over them become
// SIMD code, and give the same bits on every set of instructions.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>

#include "float_kinds.h"
#include "simd.h"

namespace fastmask {

// Below, e^x counts as 0: floats lose digits there.
constexpr float kLowestExponent = -87.33f;

// By bits, not by a choice: choices make compilers write branches where a loop was to become SIMD code.
FASTMASK_INLINE float zero_where(bool unwanted, float value) {
  return as_float(as_bits(value) & (static_cast<uint32_t>(unwanted) - 1));
}

// The larger one of x ≥ 0 and the smallest normal float; NaN for NaN.
FASTMASK_INLINE float normal_of(float x) {
  return as_float(std::max(as_bits(x), as_bits(std::numeric_limits<float>::min())));
}

// e^x for x ≤ 0, to 1 in the last place (to 1.2 where fused() rounds twice); 0 below kLowestExponent; NaN for NaN. The
// reduction to n·ln 2 + r is the usual one of Cody and Waite, the polynomial that of Cephes' expf (S. L. Moshier).
FASTMASK_INLINE float exp_of(float x) {
  constexpr float kShift = 12582912.0f;  // 1.5·2^23: adding it rounds to an integer, kept in the lowest bits
  const float shifted = fused(x, 1.44269504f, kShift);
  const float n = shifted - kShift;
  const float r = fused(n, 2.12194440e-4f, fused(n, -0.693359375f, x));  // ln 2 in two parts
  float p = 1.9875691500e-4f;
  p = fused(p, r, 1.3981999507e-3f);
  p = fused(p, r, 8.3334519073e-3f);
  p = fused(p, r, 4.1665795894e-2f);
  p = fused(p, r, 1.6666665459e-1f);
  p = fused(p, r, 5.0000001201e-1f);
  p = fused(p, r, 1.0f);
  p = fused(p, r, 1.0f);
  const float power = as_float((as_bits(shifted) << 23) + (127u << 23));  // 2^n
  return zero_where(x < kLowestExponent, p * power);                      // where n is no exponent, either
}

// log x for finite x ≥ 0, to 1 in the last place; below the smallest normal float it stays that one's, -87.34. `excess`
// is x - 1, which the caller may know better than x tells; it counts where x lies between √½ and √2. The reduction to
// n·ln 2 + log(1 + f) and the polynomial are those of Cephes' logf (S. L. Moshier).
FASTMASK_INLINE float log_of(float x, float excess) {
  constexpr uint32_t kRootOfHalf = 0x3f3504f3;
  const uint32_t offset = as_bits(normal_of(x)) - kRootOfHalf;
  const int32_t exponent = static_cast<int32_t>(offset) >> 23;
  const float fraction = as_float((offset & 0x007fffff) + kRootOfHalf) - 1.0f;
  const uint32_t far = static_cast<uint32_t>((exponent | -exponent) >> 31);  // all ones unless the exponent is 0
  const float f = as_float((as_bits(fraction) & far) | (as_bits(excess) & ~far));
  const float n = static_cast<float>(exponent), square = f * f;
  float p = 7.0376836292e-2f;
  p = fused(p, f, -1.1514610310e-1f);
  p = fused(p, f, 1.1676998740e-1f);
  p = fused(p, f, -1.2420140846e-1f);
  p = fused(p, f, 1.4249322787e-1f);
  p = fused(p, f, -1.6668057665e-1f);
  p = fused(p, f, 2.0000714765e-1f);
  p = fused(p, f, -2.4999993993e-1f);
  p = fused(p, f, 3.3333331174e-1f);
  const float tail = fused(-0.5f, square, fused(n, -2.12194440e-4f, p * f * square));
  return fused(n, 0.693359375f, f + tail);  // ln 2 in two parts
}

// Those of `count` floats, by the best instructions there are: what measures their errors calls these.
void exponentials(const float* in, int64_t count, float* out);
void logarithms(const float* in, int64_t count, float* out);

}  // namespace fastmask
