// Which instructions this process may use: asked once, at run time. FASTMASK_SIMD=avx512|avx2|plain asks for fewer.
#pragma once

#include <cstdlib>
#include <string_view>

#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))
#define FASTMASK_X86 1
#define FASTMASK_AVX2 __attribute__((target("avx2,fma")))
#define FASTMASK_AVX512 __attribute__((target("avx512f,avx512bw")))
#endif

#if defined(__GNUC__) || defined(__clang__)
#define FASTMASK_INLINE inline __attribute__((always_inline))
#else
#define FASTMASK_INLINE inline
#endif

namespace fastmask {

enum class Simd { kPlain, kAvx2, kAvx512 };

inline Simd find_simd() {
#ifdef FASTMASK_X86
  const char* asked = std::getenv("FASTMASK_SIMD");
  const std::string_view limit = asked == nullptr ? "avx512" : asked;
  __builtin_cpu_init();
  if (limit == "avx512" && __builtin_cpu_supports("avx512bw")) return Simd::kAvx512;
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  if (limit != "plain" && avx2) return Simd::kAvx2;
#endif
  return Simd::kPlain;
}

inline Simd simd() {
  static const Simd found = find_simd();
  return found;
}

// a·b + c, rounded once: the same on every path, but slow on the plain one of a processor without the instruction. Only
// Microsoft's compiler, which knows no other path, rounds the product, too.
FASTMASK_INLINE float fused(float a, float b, float c) {
#if defined(_MSC_VER) && !defined(__clang__)
  return a * b + c;
#else
  return __builtin_fmaf(a, b, c);
#endif
}

// One function, compiled for each set of instructions: `ForMachine<&body>::call(…)` runs the best that there is. The
// body is FASTMASK_INLINE and made of plain loops. Floating-point results are the same on every path, because the
// compiler may neither reorder a body's sums nor fuse products into them (-ffp-contract=off).
template <auto body>
struct ForMachine;

template <class Result, class... Arguments, Result (*body)(Arguments...)>
struct ForMachine<body> {
  static Result plain(Arguments... arguments) { return body(arguments...); }
#ifdef FASTMASK_X86
  FASTMASK_AVX2 static Result avx2(Arguments... arguments) { return body(arguments...); }
  FASTMASK_AVX512 static Result avx512(Arguments... arguments) { return body(arguments...); }
#endif

  static auto choose() {
#ifdef FASTMASK_X86
    if (simd() == Simd::kAvx512) return &avx512;
    if (simd() == Simd::kAvx2) return &avx2;
#endif
    return &plain;
  }

  static Result call(Arguments... arguments) {
    static const auto chosen = choose();
    return chosen(arguments...);
  }
};

}  // namespace fastmask
