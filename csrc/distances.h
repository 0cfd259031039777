// How many tokens a text is away from its end, for every state of a byte automaton at once.
//
// To list what all tokens do in all states would cost states × vocabulary, seconds where a `maxLength` counts. So
// states are found level by level, from the end backwards: those one token before the end, two tokens, and so on. A
// state belongs to the next level if some token leads to the last one, and to find out the trie is searched with two
// short cuts, of which nearly every subtree takes one: the level is more bytes away than the subtree is high, or every
// way there needs a byte that nothing below the node has (out of a string, the quote).
#pragma once

#include <cstdint>
#include <vector>

#include "token_automaton.h"
#include "token_trie.h"

namespace fastmask {

// What TokenAutomaton::distances() promises. Searches are spread over the threads.
std::vector<int32_t> token_distances(const Automaton& automaton, const TokenTrie& trie);

}  // namespace fastmask
