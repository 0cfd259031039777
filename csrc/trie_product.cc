#include "trie_product.h"

#include "bitmask.h"
#include "distances.h"

namespace fastmask {
namespace {

constexpr TextGroups kAllGroups = 0xff;

// The groups of characters of one byte, within which no token can end. One that ends within a longer character is
// allowed wherever that character loops, but it leaves the automaton elsewhere.
constexpr TextGroups kOneByteGroups = kAllGroups & ~kBeyondLatin1ControlsGroup;

}  // namespace

inline State TrieProduct::next(State state, Token token) const {
  const Vocabulary& vocabulary = shared_->vocabulary;
  const Vocabulary::Entry& entry = vocabulary.entry(token);
  if (!entry.is_text()) {
    if (entry.length == Vocabulary::Entry::kEos) return after_eos(automaton_->is_final(state), state);
    const bool stays = state == kFree || (entry.length == Vocabulary::Entry::kSpecial && automaton_->is_open(state));
    return stays ? state : kDead;
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

// Runs through the nodes in order with the state after each depth, and calls take(first, end, reached) for the tokens
// tokens()[first … end-1] that may come. Two short cuts: a dead state ends its subtree, and a state that loops on all
// that lies below takes the whole subtree at once, where that is made of characters of the groups kShortCuts.
template <TextGroups kShortCuts, class Take>
inline void TrieProduct::run_trie(State state, Take take) const {
  const TokenTrie& trie = shared_->trie;
  const std::vector<TokenTrie::Node>& nodes = trie.nodes();
  take(0, trie.num_empty_tokens(), state);
  std::vector<State> path(trie.max_depth() + 1);  // path[d]: the state after d bytes of the current node
  path[0] = state;
  const auto num_nodes = static_cast<uint32_t>(nodes.size());
  for (uint32_t n = 0; n < num_nodes;) {
    const TokenTrie::Node& node = nodes[n];
    const State reached = automaton_->step(path[node.depth - 1], node.byte);
    if (reached == kDead) {
      n = node.subtree_end;
    } else if ((node.below & ~(automaton_->loops(reached) & kShortCuts)) == 0) {
      take(trie.tokens_first(n), trie.subtree_tokens_end(n), reached);
      n = node.subtree_end;
    } else {
      take(trie.tokens_first(n), node.tokens_end, reached);
      path[node.depth] = reached;
      ++n;
    }
  }
}

template <class Take>
inline void TrieProduct::for_specials(Take take) const {
  for (Token t = 0; t < vocab_size(); ++t)
    if (shared_->vocabulary.entry(t).length == Vocabulary::Entry::kSpecial) take(t);
}

void TrieProduct::fill_row(State state, uint32_t* row) const {
  const std::vector<Token>& tokens = shared_->trie.tokens();
  run_trie<kAllGroups>(state, [&](uint32_t first, uint32_t end, State) {
    for (uint32_t i = first; i < end; ++i) set_bit(row, tokens[i]);
  });
  if (automaton_->is_open(state)) for_specials([&](Token t) { set_bit(row, t); });
  if (automaton_->is_final(state))
    for (Token eos : eos_ids()) set_bit(row, eos);
}

void TrieProduct::list_moves(State state, std::vector<Move>& moves) const {
  const std::vector<Token>& tokens = shared_->trie.tokens();
  moves.clear();
  run_trie<kOneByteGroups>(state, [&](uint32_t first, uint32_t end, State reached) {
    for (uint32_t i = first; i < end; ++i) moves.push_back({tokens[i], reached});
  });
  if (automaton_->is_open(state)) for_specials([&](Token t) { moves.push_back({t, state}); });
}

// Tokens without text change no state, so no shortest way has one.
std::vector<int32_t> TrieProduct::distances() const { return token_distances(*automaton_, shared_->trie); }

}  // namespace fastmask
