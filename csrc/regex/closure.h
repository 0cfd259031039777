// From the steps that a character leads to, to the steps that can read the next one: follows choices and
// assertions, in the order of preference.
#pragma once

#include <cstdint>
#include <vector>

#include "../regex.h"
#include "budget.h"
#include "nfa.h"

namespace fastmask::regex {

// All that an assertion can know of a character beside it. No two kinds overlap.
enum class Beside : uint8_t { kNewline, kReturn, kWord, kOther, kEndOfText };
constexpr int kNumCharacterKinds = 4;  // the end of the text is no character

// The place between two characters, as far as it is known.
struct Place {
  Beside before;
  Beside after;
};

class Closure {
 public:
  Closure(const Nfa& nfa, Reading reading, Budget& budget);

  // Appends to `reached` the reading steps (kChars) and perhaps kMatchStep that can be reached from `seeds`
  // without reading. Each once; the first choice first under kFirstChoice, which also leaves out what comes
  // behind a match; ascending under kWholeText. False if an assertion stands in the way: it holds or not
  // depending on a place that was not given, and `reached` lacks what is behind it.
  bool follow(const std::vector<StepId>& seeds, const Place* place, std::vector<StepId>& reached);

 private:
  bool visit(StepId seed, const Place* place, std::vector<StepId>& reached);

  const Nfa& nfa_;
  const Reading reading_;
  Budget& budget_;
  std::vector<uint32_t> seen_in_;  // by step: the last call that saw it
  uint32_t call_ = 0;
  std::vector<StepId> stack_;
};

}  // namespace fastmask::regex
