// How much of a row's softmax is on allowed tokens: the log-sum-exps of its logits over these and over the others.
//
// Each sum is relative to a maximum of its own, so neither is lost beside the other, however small.
//
// Cost: a row's logits are read once and two exponentials of each are taken; nothing but results is written. Every row
// is one thread's, summed up in an order that depends on nothing but its width: no batch split, thread count or SIMD
// path shows in a result.
#pragma once

#include <cstdint>

#include "logit_blocks.h"
#include "mask_table.h"

namespace fastmask {

// log Σ e^(logit/temperature) of each row, [count]; -inf over no token.
struct LogMasses {
  double *allowed, *disallowed;  // tokens beyond the vocabulary are disallowed
};

// Throws Error{kTokenRange} for a state outside the masks' automaton.
void log_masses(const LogitRows& rows, int64_t count, MaskTable& masks, const State* states, double temperature,
                const LogMasses& out);

}  // namespace fastmask
