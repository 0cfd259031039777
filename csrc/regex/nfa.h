// Syntax tree → automaton over characters, with choices, and with assertions still in it.
//
// Built from the end backwards, so that every step knows where it leads; steps of the same meaning that lead to
// the same place are one step. Common tails thus exist once, which later keeps the deterministic automaton small.
#pragma once

#include <cstdint>
#include <vector>

#include "budget.h"
#include "syntax.h"

namespace fastmask::regex {

using StepId = uint32_t;  // index into Nfa::steps

struct Step {
  enum class Kind : uint32_t { kMatch, kChars, kLook, kChoice };

  Kind kind;
  uint32_t value;  // kChars: a ClassId · kLook: a Look · kChoice: the step that is the first choice
  StepId next;     // where it leads; for kChoice the second choice
};

struct Nfa {
  static constexpr StepId kMatchStep = 0;

  std::vector<Step> steps;
  StepId start = kMatchStep;
};

// Cost: linear in the pattern with its counted repetitions written out, which is refused with kCompileLimit
// before it is attempted if it could not fit.
Nfa build_nfa(const Syntax& syntax, NodeId root, Budget& budget);

}  // namespace fastmask::regex
