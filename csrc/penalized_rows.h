// Rows of logits, penalised where masks say so, as rows of logits again.
//
// Cost: one pass, spread over the threads; nothing but the rows is written. A row without a forbidden token stays what
// it is to the last bit.
#pragma once

#include <cstdint>

#include "logit_blocks.h"
#include "mask_table.h"

namespace fastmask {

// Writes `count` rows of the logits' width, one behind the other, in their kind. `penalties` [count] are of either
// sign, infinity included, -infinity not; columns beyond the vocabulary are penalised like forbidden tokens.
// Throws Error{kTokenRange} for a state outside the masks' automaton.
void penalized_rows(const LogitRows& rows, int64_t count, MaskTable& masks, const State* states,
                    const float* penalties, void* out);

}  // namespace fastmask
