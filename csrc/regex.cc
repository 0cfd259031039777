// Pattern → syntax tree → automaton with choices → deterministic automaton, each step in its own room.
#include "regex.h"

#include <algorithm>
#include <string>

#include "error.h"
#include "regex/budget.h"
#include "regex/determinise.h"
#include "regex/nfa.h"
#include "regex/parser.h"
#include "regex/syntax.h"

namespace fastmask {
namespace {

Dfa compile(std::string_view pattern, Reading reading, regex::Budget& budget) {
  regex::Syntax syntax(reading, budget);
  const regex::NodeId root = regex::parse(pattern, syntax, budget);
  const regex::Nfa nfa = regex::build_nfa(syntax, root, budget);
  return regex::determinise(nfa, syntax, reading, budget);
}

bool leads_nowhere(const Dfa& dfa, int32_t state) {
  const int32_t* const row = &dfa.next[static_cast<size_t>(state) * dfa.num_classes];
  return std::all_of(row, row + dfa.num_classes, [](int32_t target) { return target == Dfa::kNone; });
}

// Whether no match can be the beginning of a longer one. May err towards false.
bool is_prefix_free(const Dfa& dfa) {
  for (int32_t state = 0; state < dfa.num_states(); ++state) {
    if (dfa.is_final(state) && !leads_nowhere(dfa, state)) return false;
  }
  return true;
}

// A dead end was meant to match something, and outlines-core refuses it too.
void refuse_what_cannot_match(const Dfa& dfa) {
  bool can_match = false;
  bool dead_end = false;
  for (int32_t state = 0; state < dfa.num_states(); ++state) {
    can_match |= dfa.is_final(state);
    dead_end |= !dfa.is_final(state) && leads_nowhere(dfa, state);
  }
  if (can_match && !dead_end) return;
  throw Error(ErrorKind::kRegex,
              "the pattern is refused: " + std::string(can_match ? "a part of it" : "it") +
                  " can match no text; look for an empty class such as [a&&b], or an assertion that cannot hold "
                  "where it stands, such as the ^ in `a^b`");
}

}  // namespace

Dfa compile_regex(std::string_view pattern, const CompileLimits& limits, const std::function<void()>& check_interrupt,
                  Reading reading) {
  regex::Budget budget(limits, check_interrupt);
  Dfa dfa = compile(pattern, Reading::kWholeText, budget);
  // Where no match begins a longer one, as in JSON's objects and strings, every match is a first choice; and
  // choices without an order are far quicker to follow.
  if (reading == Reading::kFirstChoice && !is_prefix_free(dfa)) {
    budget.release_all();
    dfa = {};
    dfa = compile(pattern, Reading::kFirstChoice, budget);
  }
  refuse_what_cannot_match(dfa);
  budget.look_up();  // a pattern too small to have been looked at also keeps to its time
  return dfa;
}

}  // namespace fastmask
