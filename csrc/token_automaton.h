// state × token → state: what a batch walks and what masks are made of.
//
// Two kinds stand behind this interface: `TrieProduct` (byte automaton × vocabulary, the usual one) and
// `TokenTable` (a ready-made token-level table). Both are immutable: any number of threads may use them.
// A virtual call is paid once for a run of tokens, never once a token.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "automaton.h"
#include "error.h"
#include "vocabulary.h"

namespace fastmask {

// One token that keeps a text alive, and the state it leads to.
struct Move {
  Token token;
  State to;
};

constexpr int32_t kNoWay = -1;  // a distance

class TokenAutomaton {
 public:
  virtual ~TokenAutomaton() = default;

  virtual int64_t vocab_size() const = 0;
  virtual const std::vector<Token>& eos_ids() const = 0;  // ascending
  virtual State num_states() const = 0;
  virtual bool is_final(State state) const = 0;
  virtual size_t nbytes() const = 0;

  // Writes the state after each of `count` tokens to `out`. Stops at a token that is not 0 … vocab_size-1.
  // Returns the number of tokens walked. `state` must be below num_states().
  virtual int64_t walk(const int32_t* tokens, int64_t count, State state, State* out) const = 0;
  virtual int64_t walk(const int64_t* tokens, int64_t count, State state, State* out) const = 0;

  // Sets the bits of the tokens allowed in one of the text's own states (≥ kInitial), EOS included where the
  // text may end. `row` comes zeroed, words_for(vocab_size()) words.
  virtual void fill_row(State state, uint32_t* row) const = 0;

  // Replaces `moves` by the tokens of text that may come in one of the text's own states (≥ kInitial), in any order,
  // each once. EOS is not among them, see after_eos; every token left out leads to kDead.
  virtual void list_moves(State state, std::vector<Move>& moves) const = 0;

  // Fewest tokens [num_states] from each state to one where the text may end, EOS not counted: 0 there, for kDone and
  // kFree; kNoWay where no tokens lead to one, and for kDead. Can be interrupted.
  virtual std::vector<int32_t> distances() const = 0;
};

// What EOS does, the same in every kind of automaton.
inline State after_eos(bool is_final, State state) { return state == kFree ? kFree : is_final ? kDone : kDead; }

// For the token at which a walk stopped; `place` says where it stands.
[[noreturn]] inline void throw_bad_token(int64_t token, int64_t vocab_size, const std::string& place) {
  throw Error(ErrorKind::kTokenRange, "token id " + std::to_string(token) + " at " + place + " lies outside 0 … " +
                                          std::to_string(vocab_size - 1) + ", the vocabulary of this constraint");
}

// The one loop over tokens; Next is State(State, Token) and gets inlined.
template <class TokenId, class Next>
int64_t walk_tokens(const TokenId* tokens, int64_t count, int64_t vocab_size, State state, State* out, Next next) {
  for (int64_t i = 0; i < count; ++i) {
    if (static_cast<uint64_t>(tokens[i]) >= static_cast<uint64_t>(vocab_size)) return i;
    out[i] = state = next(state, static_cast<Token>(tokens[i]));
  }
  return count;
}

}  // namespace fastmask
