// The Kullback-Leibler divergence between the softmaxes of two rows of logits, penalised where masks say so, and its
// gradient in the student's logits.
//
// With x and y the penalised logits of the first and the second distribution over the temperature, relative to their
// maxima:  KL = Σ e^x (x - y) / Σ e^x - log Σ e^x + log Σ e^y.  The penalty enters as it is defined, by subtraction
// before the exponential, so that no mass is ever had as the difference of two others, and rows without a forbidden
// token are plain divergences to the last bit.
//
// A token counts as without mass from e^-87 of the likeliest one's on (kLowestExponent), wherever in the row the two
// stand: its term is 0 then, even where the second distribution lacks it.
//
// Cost: a row's logits are read once and its exponentials taken once, for the loss and the gradient together. What the
// gradient is made of waits for the sums in 8 bytes an element of one row a thread, which a second-level cache holds;
// nothing else is written but results. Every row is one thread's, summed up in an order that depends on nothing but its
// width: no batch split, thread count or SIMD path shows in a result.
#pragma once

#include <cstdint>

#include "logit_blocks.h"
#include "mask_table.h"

namespace fastmask {

enum class Side { kTeacher, kStudent };

struct DivergenceRows {
  LogitRows teacher, student;  // of any two widths: where one ends before the other, its tokens have no mass
  int64_t count;
  MaskTable* masks;        // null: nothing is penalised
  const State* states;     // [count]
  const float* penalties;  // [count] of either sign, infinity included, -infinity not; in nats, before the temperature
  bool penalize_teacher, penalize_student;
  double temperature;  // > 0
  Side first;          // KL(teacher ‖ student) if kTeacher, else KL(student ‖ teacher)
};

// d(Σ upstream·loss)/d(student logits): rows of the student's width, one behind the other, in the student's kind.
struct DivergenceGradient {
  const float* upstream;  // [count]
  void* out;              // [count, student.width]; may be null: no gradient
};

// Fills losses [count], and the gradient if there is one to be filled.
// Throws Error{kTokenRange} for a state outside the masks' automaton.
void divergence(const DivergenceRows& rows, float* losses, const DivergenceGradient& gradient);

}  // namespace fastmask
