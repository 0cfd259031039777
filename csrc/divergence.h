// The divergence between the softmaxes of two rows of logits, penalised where masks say so, and its gradient in the
// student's logits: Kullback and Leibler's, in either direction, or the generalised one of Jensen and Shannon.
//
// With x and y the penalised logits of the first and the second distribution over the temperature, relative to their
// maxima:  KL = Σ e^x (x - y) / Σ e^x - log Σ e^x + log Σ e^y.  The penalty enters as it is defined, by subtraction
// before the exponential, so that no mass is ever had as the difference of two others, and rows without a forbidden
// token are plain divergences to the last bit.
//
// With p and q the probabilities, teacher's and student's, and m = β p + (1-β) q,
// JS = Σ β p log(p/m) + (1-β) q log(q/m) (Lin 1991, doi:10.1109/18.61115); its gradient in the student's logits is
// (1-β) q (log(q/m) - Σ q log(q/m)) over the temperature. Both are finite whatever is forbidden.
//
// A token counts as without mass from e^-87 of the likeliest one's on (kLowestExponent), wherever in the row the two
// stand: its term is 0 then, even where the second distribution lacks it.
//
// Cost: a row's logits are read once and its exponentials taken once, for the loss and the gradient together. What the
// gradient is made of waits for the sums in 8 bytes an element of one row a thread, which a second-level cache holds;
// nothing else is written but results. Jensen-Shannon, whose m takes the sums of whole rows, keeps what waits for the
// loss alone, too, and passes over it once more than the others: two logarithms an element. Every row is one thread's,
// summed up in an order that depends on nothing but its width: no batch split, thread count or SIMD path shows in a
// result.
#pragma once

#include <cstdint>

#include "logit_blocks.h"
#include "mask_table.h"

namespace fastmask {

enum class Kind { kForward, kReverse, kJensenShannon };  // KL(teacher ‖ student), KL(student ‖ teacher), JS

struct DivergenceRows {
  LogitRows teacher, student;  // of any two widths: where one ends before the other, its tokens have no mass
  int64_t count;
  MaskTable* masks;        // null: nothing is penalised
  const State* states;     // [count]
  const float* penalties;  // [count] of either sign, infinity included, -infinity not; in nats, before the temperature
  bool penalize_teacher, penalize_student;
  double temperature;  // > 0
  Kind kind;
  double teacher_share, student_share;  // β and 1-β, of kJensenShannon: two numbers, as one may vanish beside 1
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
