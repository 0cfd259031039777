// Automaton over characters with choices → deterministic automaton over bytes.
//
// Subset construction, on characters rather than bytes: a state is the list of steps that may come next, and the
// bytes inside a character are filled in from its Dispatch (regex_utf8.h). Anchored only: no state ever waits
// for a match to begin.
#pragma once

#include "../dfa.h"
#include "../regex.h"
#include "budget.h"
#include "nfa.h"
#include "syntax.h"

namespace fastmask::regex {

// Every state of the result can be reached; some may be hopeless, and states may be equal. Throws Error(kRegex)
// for an assertion where the text begins. `syntax` gains classes.
Dfa determinise(const Nfa& nfa, Syntax& syntax, Reading reading, Budget& budget);

}  // namespace fastmask::regex
