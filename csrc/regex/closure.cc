#include "closure.h"

#include <algorithm>

namespace fastmask::regex {
namespace {

bool holds(Look look, const Place& place) {
  const bool word_before = place.before == Beside::kWord;
  const bool word_after = place.after == Beside::kWord;
  const bool end = place.after == Beside::kEndOfText;
  switch (look) {
    case Look::kStartText: return false;  // there is a character before every place that is ever asked about
    case Look::kEndText: return end;
    case Look::kStartLine: return place.before == Beside::kNewline;
    case Look::kEndLine: return end || place.after == Beside::kNewline;
    case Look::kStartLineCrlf:
      return place.before == Beside::kNewline || (place.before == Beside::kReturn && place.after != Beside::kNewline);
    case Look::kEndLineCrlf:
      return end || place.after == Beside::kReturn ||
             (place.after == Beside::kNewline && place.before != Beside::kReturn);
    case Look::kWordBoundary: return word_before != word_after;
    case Look::kNotWordBoundary: return word_before == word_after;
    case Look::kWordStart: return !word_before && word_after;
    case Look::kWordEnd: return word_before && !word_after;
    case Look::kWordStartHalf: return !word_before;
    case Look::kWordEndHalf: return !word_after;
  }
  return false;
}

}  // namespace

Closure::Closure(const Nfa& nfa, Reading reading, Budget& budget)
    : nfa_(nfa), reading_(reading), budget_(budget) {
  budget.hold(static_cast<int64_t>(nfa.steps.size() * sizeof(uint32_t)));
  seen_in_.resize(nfa.steps.size());
}

bool Closure::follow(const std::vector<StepId>& seeds, const Place* place, std::vector<StepId>& reached) {
  if (++call_ == 0) {  // the numbers have all been used
    std::fill(seen_in_.begin(), seen_in_.end(), 0);
    call_ = 1;
  }
  const auto begin = reached.size();
  bool complete = true;
  for (const StepId seed : seeds) {
    complete &= visit(seed, place, reached);
    const bool matched = seen_in_[Nfa::kMatchStep] == call_;
    if (matched && reading_ == Reading::kFirstChoice) break;
  }
  if (reading_ == Reading::kWholeText) std::sort(reached.begin() + static_cast<int64_t>(begin), reached.end());
  return complete;
}

bool Closure::visit(StepId seed, const Place* place, std::vector<StepId>& reached) {
  bool complete = true;
  stack_.assign(1, seed);
  while (!stack_.empty()) {
    StepId id = stack_.back();
    stack_.pop_back();
    for (;;) {
      budget_.work(1);
      if (seen_in_[id] == call_) break;
      seen_in_[id] = call_;
      const Step& step = nfa_.steps[id];
      if (step.kind == Step::Kind::kChoice) {
        stack_.push_back(step.next);
        id = step.value;
        continue;
      }
      if (step.kind == Step::Kind::kLook) {
        if (!place) complete = false;
        if (!place || !holds(static_cast<Look>(step.value), *place)) break;
        id = step.next;
        continue;
      }
      reached.push_back(id);
      if (id == Nfa::kMatchStep && reading_ == Reading::kFirstChoice) return complete;
      break;
    }
  }
  return complete;
}

}  // namespace fastmask::regex
