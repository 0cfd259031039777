// Pattern → syntax tree → automaton with choices → deterministic automaton, each step in its own room.
#include "regex.h"

#include "regex_budget.h"
#include "regex_determinise.h"
#include "regex_nfa.h"
#include "regex_parser.h"
#include "regex_syntax.h"

namespace fastmask {

Dfa compile_regex(std::string_view pattern, const CompileLimits& limits, const std::function<void()>& check_interrupt,
                  Reading reading) {
  regex::Budget budget(limits, check_interrupt);
  regex::Syntax syntax(budget);
  const regex::NodeId root = regex::parse(pattern, syntax, budget);
  const regex::Nfa nfa = regex::build_nfa(syntax, root, budget);
  Dfa dfa = regex::determinise(nfa, syntax, reading, budget);
  budget.look_up();  // a pattern too small to have been looked at also keeps to its time
  return dfa;
}

}  // namespace fastmask
