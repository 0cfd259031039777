// The floating-point types of logits, and each as a float and back. Without branches, so that loops over them become
// SIMD code on every path.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "simd.h"

namespace fastmask {

enum class FloatKind { kFloat32, kBfloat16, kFloat16 };

constexpr size_t size_of(FloatKind kind) { return kind == FloatKind::kFloat32 ? 4 : 2; }

FASTMASK_INLINE float as_float(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}

FASTMASK_INLINE uint32_t as_bits(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  return bits;
}

struct Bfloat16 {
  uint16_t bits;

  FASTMASK_INLINE static float widen(Bfloat16 half) { return as_float(uint32_t{half.bits} << 16); }

  // To the nearest, ties to even; NaN stays NaN.
  FASTMASK_INLINE static Bfloat16 round(float value) {
    const uint32_t wide = as_bits(value);
    const uint32_t rounded = (wide + 0x7fff + ((wide >> 16) & 1)) >> 16;
    return {static_cast<uint16_t>(value == value ? rounded : 0x7fc0)};
  }
};

// The scalings are those of M. Dukhan's FP16 library: a float's own rounding and overflow do the work.
struct Float16 {
  uint16_t bits;

  FASTMASK_INLINE static float widen(Float16 half) {
    constexpr uint32_t kOffset = 0x77800000;  // 2^112, by which the exponents' offsets differ
    const float magnitude = as_float((half.bits & 0x7fffu) << 13) * as_float(kOffset);
    const uint32_t special = magnitude >= 65536.0f ? 0x7f800000u : 0u;  // infinities, NaN
    return as_float(as_bits(magnitude) | special | (half.bits & 0x8000u) << 16);
  }

  // To the nearest, ties to even, beyond ±65519 to ±infinity; NaN stays NaN.
  FASTMASK_INLINE static Float16 round(float value) {
    const uint32_t wide = as_bits(value), doubled = wide << 1;
    const float magnitude = as_float(wide & 0x7fffffff) * as_float(0x77800000) * as_float(0x08800000);  // ·2^112·2^-110
    const uint32_t exponent = std::max(doubled & 0xff000000u, 0x71000000u);
    const uint32_t sum = as_bits(as_float((exponent >> 1) + 0x07800000) + magnitude);
    const uint32_t rounded = ((sum >> 13) & 0x7c00) + (sum & 0x0fff);
    return {static_cast<uint16_t>((wide >> 16 & 0x8000) | (doubled > 0xff000000u ? 0x7e00 : rounded))};
  }
};

}  // namespace fastmask
