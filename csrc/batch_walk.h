// Batches of token rows and of token trees → states; states → rows of masks. Rows are spread over the threads.
//
// Alignment: states[b, t] is the state after reading tokens[b, start : t+1]; before position start-1 it is kFree,
// at start-1 the row's first state; positions past a row's length repeat its last state.
#pragma once

#include <cstdint>

#include "mask_table.h"
#include "token_automaton.h"

namespace fastmask {

// `count` rows of token ids, row b being tokens[offsets[b] … offsets[b] + lengths[b] - 1]. Borrowed.
template <class TokenId>
struct TokenRows {
  const TokenId* tokens;
  const int64_t* offsets;
  const int64_t* lengths;
  int64_t count;
};

// Where each row's constrained text begins, and in which state.
struct Start {
  const int64_t* index;  // [count] index of the first constrained token, 0 … length; or null:
  int64_t after;         // behind the first occurrence of this token; a row without it stays kFree throughout
  const State* states;   // [count] each row's first state; or null: kInitial
};

// Writes states [rows.count, width], width ≥ every length. Tokens before the start are not read as text.
// Throws Error{kInput} for a start outside its row, Error{kTokenRange} for a token id outside the vocabulary or a
// first state outside the automaton, each naming the place. Defined for int32_t and int64_t.
template <class TokenId>
void walk_rows(const TokenAutomaton& automaton, const TokenRows<TokenId>& rows, const Start& start, int64_t width,
               State* states);

// The same without padding: each row's states stand where its tokens do, at states[offsets[b] + t].
template <class TokenId>
void walk_lists(const TokenAutomaton& automaton, const TokenRows<TokenId>& rows, const Start& start, State* states);

// `count` trees of `width` nodes, each node a token that may follow its parent's. Borrowed.
template <class TokenId>
struct TokenTrees {
  const State* roots;      // [count] the state before any node
  const TokenId* tokens;   // [count, width]
  const int64_t* parents;  // [count, width] an earlier node of the same row, or -1: a child of the root
  int64_t count, width;
};

// Writes the state after each node, [trees.count, trees.width]. Costs what a walk of as many tokens costs, and one
// call more for each node whose parent is not the node before. Throws Error{kInput} for a parent that is no earlier
// node, Error{kTokenRange} as above.
template <class TokenId>
void walk_trees(const TokenAutomaton& automaton, const TokenTrees<TokenId>& trees, State* states);

// One token further for each of `count` states; throws Error{kTokenRange} as above.
template <class TokenId>
void advance(const TokenAutomaton& automaton, const State* states, const TokenId* tokens, int64_t count, State* out);

// Packed rows [count, words_for(vocab_size)] and boolean rows [count, vocab_size] (0 or 1) of `count` states.
void gather_packed(MaskTable& table, const State* states, int64_t count, uint32_t* out);
void gather_bools(MaskTable& table, const State* states, int64_t count, uint8_t* out);

// Tokens that leave room, [count, vocab_size], 0 or 1: those after which, by `distances` (see TokenAutomaton), the text may
// end at most limits[i] tokens later. Unlike a mask's, a row may be empty: EOS is in it only where it leads to kDone.
// States are below num_states(). Each row costs its state's moves.
void gather_within(const TokenAutomaton& automaton, const int32_t* distances, const State* states,
                   const int64_t* limits, int64_t count, uint8_t* out);

// Scores of the next token, a row of `width` ≥ vocab_size elements for each state: what is allowed is copied, all
// else set to `forbidden`. State i is that of row rows[i], or of row i where `rows` is null; rows of no state are
// left as they are. `out` may be `in`. See MaskRow::select for what an element is, and for `kept` [count], 0 or 1.
template <class Element>
struct Scores {
  const Element* in;
  int64_t width;
  Element forbidden;
  Element* out;
};
template <class Element>
void select_scores(MaskTable& table, const State* states, const int64_t* rows, int64_t count,
                   const Scores<Element>& scores, uint8_t* kept);

}  // namespace fastmask
