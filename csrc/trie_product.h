// Byte automaton × vocabulary: walking a token is walking its bytes, and a state's row is one run through the
// token trie that leaves a subtree as soon as the automaton is dead.
#pragma once

#include <memory>

#include "token_automaton.h"
#include "token_trie.h"

namespace fastmask {

// A vocabulary and its trie, shared by all the constraints made for it.
struct VocabularyWithTrie {
  explicit VocabularyWithTrie(Vocabulary v) : vocabulary(std::move(v)), trie(vocabulary) {}
  const Vocabulary vocabulary;
  const TokenTrie trie;
};

class TrieProduct final : public TokenAutomaton {
 public:
  TrieProduct(std::shared_ptr<const Automaton> automaton, std::shared_ptr<const VocabularyWithTrie> vocabulary)
      : automaton_(std::move(automaton)), shared_(std::move(vocabulary)) {}

  const Automaton& automaton() const { return *automaton_; }

  int64_t vocab_size() const override { return shared_->vocabulary.size(); }
  const std::vector<Token>& eos_ids() const override { return shared_->vocabulary.eos_ids(); }
  State num_states() const override { return automaton_->num_states(); }
  bool is_final(State state) const override { return automaton_->is_final(state); }
  size_t nbytes() const override { return automaton_->nbytes(); }

  int64_t walk(const int32_t* tokens, int64_t count, State state, State* out) const override;
  int64_t walk(const int64_t* tokens, int64_t count, State state, State* out) const override;
  void fill_row(State state, uint32_t* row) const override;
  void list_moves(State state, std::vector<Move>& moves) const override;
  std::vector<int32_t> distances() const override;

 private:
  State next(State state, Token token) const;

  // Calls take(token) for every token that is never text and does not end it.
  template <class Take>
  void for_specials(Take take) const;

  template <TextGroups kShortCuts, class Take>
  void run_trie(State state, Take take) const;

  std::shared_ptr<const Automaton> automaton_;
  std::shared_ptr<const VocabularyWithTrie> shared_;
};

}  // namespace fastmask
