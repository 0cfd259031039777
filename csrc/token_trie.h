// The vocabulary as a trie, flattened depth-first.
//
// Node i's children follow it directly; its whole subtree is the nodes i … subtree_end(i)-1. To visit the tokens
// that some automaton accepts, run through the nodes in order with one state per depth, and jump to
// subtree_end(i) where the state is dead. The tokens of a subtree are one contiguous range of `tokens()`.
// Built in O(bytes · log tokens); immutable; any number of threads may read it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "text_groups.h"
#include "vocabulary.h"

namespace fastmask {

class TokenTrie {
 public:
  explicit TokenTrie(const Vocabulary& vocabulary);

  struct Node {
    uint32_t subtree_end;  // first node that is not below this one
    uint32_t tokens_end;   // its own tokens are tokens()[previous node's tokens_end … tokens_end-1]
    uint16_t depth;        // length of its bytes, ≥ 1; the root is not stored
    uint8_t byte;          // the last of them
    TextGroups below;      // groups of the characters below it; kOtherGroup too unless it ends a character
  };
  static constexpr size_t kMaxTokenBytes = 0xffff;

  // The tokens of a node alone, and of its whole subtree: tokens()[first … end-1].
  uint32_t tokens_first(uint32_t node) const { return node == 0 ? num_empty_ : nodes_[node - 1].tokens_end; }
  uint32_t subtree_tokens_end(uint32_t node) const { return nodes_[nodes_[node].subtree_end - 1].tokens_end; }

  const std::vector<Node>& nodes() const { return nodes_; }
  const std::vector<Token>& tokens() const { return tokens_; }  // text tokens, in the order of their bytes
  uint32_t num_empty_tokens() const { return num_empty_; }      // these stand first in tokens()
  size_t max_depth() const { return max_depth_; }
  size_t nbytes() const { return nodes_.size() * sizeof(Node) + tokens_.size() * sizeof(Token); }

 private:
  void find_groups_below();

  std::vector<Node> nodes_;
  std::vector<Token> tokens_;
  uint32_t num_empty_ = 0;
  size_t max_depth_ = 0;
};

}  // namespace fastmask
