#include "trie_product.h"

#include "bitmask.h"

namespace fastmask {

inline State TrieProduct::next(State state, Token token) const {
  const Vocabulary& vocabulary = shared_->vocabulary;
  const Vocabulary::Entry& entry = vocabulary.entry(token);
  if (!entry.is_text()) {
    if (entry.length == Vocabulary::Entry::kEos) return after_eos(automaton_->is_final(state), state);
    return state == kFree ? kFree : kDead;
  }
  if (state == kDone) return kDead;  // an empty token takes no step, yet only EOS may follow here
  const uint8_t* byte = vocabulary.bytes(entry);
  for (const uint8_t* end = byte + entry.length; byte != end; ++byte) state = automaton_->step(state, *byte);
  return state;
}

int64_t TrieProduct::walk(const int32_t* tokens, int64_t count, State state, State* out) const {
  return walk_tokens(tokens, count, vocab_size(), state, out, [this](State s, Token t) { return next(s, t); });
}

int64_t TrieProduct::walk(const int64_t* tokens, int64_t count, State state, State* out) const {
  return walk_tokens(tokens, count, vocab_size(), state, out, [this](State s, Token t) { return next(s, t); });
}

void TrieProduct::fill_row(State state, uint32_t* row) const {
  const TokenTrie& trie = shared_->trie;
  const std::vector<TokenTrie::Node>& nodes = trie.nodes();
  const std::vector<Token>& tokens = trie.tokens();
  for (uint32_t i = 0; i < trie.num_empty_tokens(); ++i) set_bit(row, tokens[i]);

  std::vector<State> path(trie.max_depth() + 1);  // path[d]: the state after d bytes of the current node
  path[0] = state;
  const auto num_nodes = static_cast<uint32_t>(nodes.size());
  for (uint32_t n = 0; n < num_nodes;) {
    const TokenTrie::Node& node = nodes[n];
    const State reached = automaton_->step(path[node.depth - 1], node.byte);
    if (reached == kDead) {
      n = node.subtree_end;
      continue;
    }
    path[node.depth] = reached;
    for (uint32_t i = n == 0 ? trie.num_empty_tokens() : nodes[n - 1].tokens_end; i < node.tokens_end; ++i)
      set_bit(row, tokens[i]);
    ++n;
  }
  if (automaton_->is_final(state))
    for (Token eos : eos_ids()) set_bit(row, eos);
}

}  // namespace fastmask
