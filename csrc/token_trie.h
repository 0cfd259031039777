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
  };
  static constexpr size_t kMaxTokenBytes = 0xffff;

  const std::vector<Node>& nodes() const { return nodes_; }
  const std::vector<Token>& tokens() const { return tokens_; }  // text tokens, in the order of their bytes
  uint32_t num_empty_tokens() const { return num_empty_; }      // these stand first in tokens()
  size_t max_depth() const { return max_depth_; }
  size_t nbytes() const { return nodes_.size() * sizeof(Node) + tokens_.size() * sizeof(Token); }

 private:
  std::vector<Node> nodes_;
  std::vector<Token> tokens_;
  uint32_t num_empty_ = 0;
  size_t max_depth_ = 0;
};

}  // namespace fastmask
