#include "elementary.h"

namespace fastmask {
namespace {

FASTMASK_INLINE void exp_body(const float* in, int64_t count, float* __restrict out) {
  for (int64_t i = 0; i < count; ++i) out[i] = exp_of(in[i]);
}

FASTMASK_INLINE void log_body(const float* in, int64_t count, float* __restrict out) {
  for (int64_t i = 0; i < count; ++i) out[i] = log_of(in[i], in[i] - 1.0f);
}

}  // namespace

void exponentials(const float* in, int64_t count, float* out) { ForMachine<&exp_body>::call(in, count, out); }
void logarithms(const float* in, int64_t count, float* out) { ForMachine<&log_body>::call(in, count, out); }

}  // namespace fastmask
