// A token-level automaton taken over as it is: the transitions of each state in a sorted list. It is what a
// ready-made outlines-core Index becomes. A step costs one binary search.
//
// Unlike the byte automaton it is not minimised, because its user may know its states; they are numbered
// breadth-first in the order of token ids, so equal tables give equal numbers.
#pragma once

#include <vector>

#include "token_automaton.h"

namespace fastmask {

struct TokenTransition {
  int32_t from;
  Token token;
  int32_t to;
};

class TokenTable final : public TokenAutomaton {
 public:
  // States are 0 … num_states-1 in the caller's numbering; those that cannot be reached are left out. EOS ids must not
  // occur in the transitions. Throws Error{kInput} where a number lies outside its range or a state has two transitions
  // on one token.
  TokenTable(std::vector<TokenTransition> transitions, int32_t num_states, int32_t initial,
                 const std::vector<int32_t>& finals, int64_t vocab_size, std::vector<Token> eos_ids);

  // The transitions and final states in the numbering of an equal TokenTable with initial state 0.
  std::vector<TokenTransition> transitions() const;
  std::vector<int32_t> finals() const;

  int64_t vocab_size() const override { return vocab_size_; }
  const std::vector<Token>& eos_ids() const override { return eos_ids_; }
  State num_states() const override { return static_cast<State>(is_final_.size()); }
  bool is_final(State state) const override { return is_final_[state] != 0; }
  size_t nbytes() const override;

  int64_t walk(const int32_t* tokens, int64_t count, State state, State* out) const override;
  int64_t walk(const int64_t* tokens, int64_t count, State state, State* out) const override;
  void fill_row(State state, uint32_t* row) const override;
  void list_moves(State state, std::vector<Move>& moves) const override;
  std::vector<int32_t> distances() const override;

 private:
  State next(State state, Token token) const;

  int64_t vocab_size_;
  std::vector<Token> eos_ids_;
  std::vector<uint8_t> is_final_;  // [num_states]
  std::vector<int64_t> begin_;     // [num_states + 1] into tokens_ and targets_
  std::vector<Token> tokens_;      // ascending within a state
  std::vector<State> targets_;
};

}  // namespace fastmask
