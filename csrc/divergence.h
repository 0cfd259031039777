// The Kullback-Leibler divergence between the softmaxes of two rows of logits, penalised where masks say so, and its
// gradient in the student's logits.
//
// With x and y the penalised logits of the first and the second distribution over the temperature, relative to their
// maxima:  KL = Σ e^x (x - y) / Σ e^x - log Σ e^x + log Σ e^y.  The penalty enters as it is defined, by subtraction
// before the exponential, so that no mass is ever had as the difference of two others, and rows without a forbidden
// token are plain divergences to the last bit.
//
// Cost: a row's logits come from memory once for the loss and, if it fits the second-level cache, its gradient. Beyond
// the results there are some kilobytes a thread. Every row is one thread's, summed up in an order that depends on
// nothing but its width: no batch split, thread count or SIMD path shows in a result.
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
  const float* penalties;  // [count] ≥ 0, infinity included; in nats, before the temperature
  bool penalize_teacher, penalize_student;
  double temperature;  // > 0
  Side first;          // KL(teacher ‖ student) if kTeacher, else KL(student ‖ teacher)
};

// What the gradient needs to know of a row, found on the way to its loss.
struct DivergenceSums {
  double first_max, second_max;  // of the penalised logits
  double first, second, dot;     // Σ e^x, Σ e^y, Σ e^x (x - y)
};
constexpr int64_t kDivergenceSums = sizeof(DivergenceSums) / sizeof(double);

// d(Σ upstream·loss)/d(student logits): rows of the student's width, one behind the other, in the student's kind.
struct DivergenceGradient {
  const float* upstream;  // [count]
  void* out;              // [count, student.width]; may be null: no gradient
};

// Fills sums [count] and losses [count], and the gradient if there is one to be filled.
// Throws Error{kTokenRange} for a state outside the masks' automaton.
void divergence(const DivergenceRows& rows, DivergenceSums* sums, float* losses, const DivergenceGradient& gradient);

// The gradient alone, bit for bit that of `divergence`, from the sums which that left.
void divergence_gradient(const DivergenceRows& rows, const DivergenceSums* sums, const DivergenceGradient& gradient);

}  // namespace fastmask
