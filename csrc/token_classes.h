// The whole table state × token → state, compressed by treating alike the tokens that no state tells apart.
//
// Two tokens are of one class if they lead every state to the same state; the table needs a column for each class
// instead of one for each token. Class 0 is that of the ids that never keep a text alive: tokens that fit nowhere,
// special tokens, whatever lies outside the vocabulary; it is there even if no token belongs to it. The others are
// numbered in the order of their lowest token, so no thread count shows.
#pragma once

#include <cstdint>
#include <vector>

#include "token_automaton.h"

namespace fastmask {

struct TokenClasses {
  int32_t count = 0;
  std::vector<int32_t> class_of;  // [vocab_size]
};

// Costs O(vocab_size + moves), the moves being what all states' list_moves() hold together; on one thread, because
// each state refines what the ones before it left. Can be interrupted. Throws Error{kCompileLimit} as soon as it is
// clear that the table would take more than `max_bytes`.
TokenClasses find_token_classes(const TokenAutomaton& automaton, int64_t max_bytes);

// Writes the state after a token of class c in state s to next[s * classes.count + c], for every state, the named
// ones too. Rows are spread over the threads; each costs its state's moves and the row itself.
void fill_transitions(const TokenAutomaton& automaton, const TokenClasses& classes, State* next);

}  // namespace fastmask
