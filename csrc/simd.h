// Which instructions this process may use: asked once, at run time. FASTMASK_SIMD=avx512|avx2|plain asks for fewer.
#pragma once

#include <cstdlib>
#include <string_view>

#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))
#define FASTMASK_X86 1
#define FASTMASK_AVX2 __attribute__((target("avx2")))
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
  if (limit != "plain" && __builtin_cpu_supports("avx2")) return Simd::kAvx2;
#endif
  return Simd::kPlain;
}

inline Simd simd() {
  static const Simd found = find_simd();
  return found;
}

}  // namespace fastmask
