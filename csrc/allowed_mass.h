// How much of a row's softmax is on allowed tokens: the log-sum-exps of its logits over these and over the others, and
// their gradient. Single tokens may be left out of both.
//
// Each sum is relative to a maximum of its own, so neither is lost beside the other, however small.
//
// Cost: a row's logits are read once and two exponentials of each are taken; nothing but results is written. The
// gradient takes the sums once more before it, and two exponentials again. Every row is one thread's, summed up in an
// order that depends on nothing but its width: no batch split, thread count or SIMD path shows in a result.
#pragma once

#include <cstdint>

#include "logit_blocks.h"
#include "mask_table.h"

namespace fastmask {

struct MassRows {
  LogitRows logits;
  int64_t count;
  MaskTable& masks;
  const State* states;      // [count]
  double temperature;       // > 0
  const int32_t* left_out;  // [count, num_left_out]: tokens in neither sum; what is no column counts for none
  int64_t num_left_out;
};

// log Σ e^(logit/temperature) of each row, [count]; -inf over no token.
struct LogMasses {
  double *allowed, *disallowed;  // tokens beyond the vocabulary are disallowed
};

// Throws Error{kTokenRange} for a state outside the masks' automaton.
void log_masses(const MassRows& rows, const LogMasses& out);

// d(Σ allowed·log mass of the allowed tokens + disallowed·that of the others)/d(logits): rows of the logits' width, one
// behind the other, in their kind. 0 where there is no mass, whatever the weight of its logarithm; or no weight,
// whatever the mass, NaN included.
struct LogMassGradient {
  const double *allowed, *disallowed;  // [count]
  void* out;                           // [count, width]
};

void log_mass_gradient(const MassRows& rows, const LogMassGradient& gradient);

}  // namespace fastmask
