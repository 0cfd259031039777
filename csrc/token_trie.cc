// Sort the tokens by their bytes, then read the trie off neighbours: a token shares with the one before it the
// nodes of their common prefix, and each byte beyond opens a new node.
#include "token_trie.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "error.h"

namespace fastmask {
namespace {

// The first eight bytes as a big-endian number put nearly all tokens in order.
struct SortKey {
  uint64_t prefix;
  Token token;
};

uint64_t prefix_of(const Vocabulary& vocabulary, const Vocabulary::Entry& entry) {
  const uint8_t* bytes = vocabulary.bytes(entry);
  uint64_t prefix = 0;
  for (uint32_t i = 0; i < 8; ++i) prefix = prefix << 8 | (i < entry.length ? bytes[i] : 0);
  return prefix;
}

std::vector<SortKey> sort_keys(const Vocabulary& vocabulary) {
  std::vector<SortKey> keys;
  keys.reserve(vocabulary.size());
  for (Token t = 0; t < vocabulary.size(); ++t) {
    const Vocabulary::Entry& entry = vocabulary.entry(t);
    if (!entry.is_text()) continue;
    if (entry.length > TokenTrie::kMaxTokenBytes)
      throw Error(ErrorKind::kInput, "token " + std::to_string(t) + " has " + std::to_string(entry.length) +
                                         " bytes; at most " + std::to_string(TokenTrie::kMaxTokenBytes) +
                                         " are supported");
    keys.push_back({prefix_of(vocabulary, entry), t});
  }
  return keys;
}

// Sorts by prefix: least significant 16 bits first, each pass keeping the order of the one before.
void radix_sort(std::vector<SortKey>& keys) {
  std::vector<SortKey> sorted(keys.size());
  std::vector<uint32_t> start((1 << 16) + 1);
  for (int shift = 0; shift < 64; shift += 16) {
    const auto digit = [shift](const SortKey& key) { return key.prefix >> shift & 0xffff; };
    std::fill(start.begin(), start.end(), 0);
    for (const SortKey& key : keys) ++start[digit(key) + 1];
    std::partial_sum(start.begin(), start.end(), start.begin());
    for (const SortKey& key : keys) sorted[start[digit(key)]++] = key;
    keys.swap(sorted);
  }
}

// Tokens in the order of their bytes, equal ones in the order of their ids.
std::vector<Token> tokens_by_bytes(const Vocabulary& vocabulary) {
  std::vector<SortKey> keys = sort_keys(vocabulary);
  radix_sort(keys);
  const auto less = [&](const SortKey& a, const SortKey& b) {
    const auto &x = vocabulary.entry(a.token), &y = vocabulary.entry(b.token);
    const int order = std::memcmp(vocabulary.bytes(x), vocabulary.bytes(y), std::min(x.length, y.length));
    if (order != 0) return order < 0;
    return x.length != y.length ? x.length < y.length : a.token < b.token;
  };
  for (auto first = keys.begin(); first != keys.end();) {  // what eight bytes could not decide
    const auto last = std::find_if(first, keys.end(), [&](const SortKey& k) { return k.prefix != first->prefix; });
    if (last - first > 1) std::sort(first, last, less);
    first = last;
  }
  std::vector<Token> tokens(keys.size());
  std::transform(keys.begin(), keys.end(), tokens.begin(), [](const SortKey& key) { return key.token; });
  return tokens;
}

uint32_t common_prefix(const uint8_t* a, uint32_t a_length, const uint8_t* b, uint32_t b_length) {
  const uint32_t limit = std::min(a_length, b_length);
  uint32_t shared = 0;
  while (shared < limit && a[shared] == b[shared]) ++shared;
  return shared;
}

}  // namespace

TokenTrie::TokenTrie(const Vocabulary& vocabulary) : tokens_(tokens_by_bytes(vocabulary)) {
  nodes_.reserve(vocabulary.num_bytes());  // at most one node a byte; what is not used is never touched
  std::vector<uint32_t> path;              // the nodes of the token before, by depth
  const uint8_t* previous = nullptr;
  auto close_below = [&](uint32_t depth) {
    for (; path.size() > depth; path.pop_back()) nodes_[path.back()].subtree_end = static_cast<uint32_t>(nodes_.size());
  };
  for (uint32_t i = 0; i < tokens_.size(); ++i) {
    const Vocabulary::Entry& entry = vocabulary.entry(tokens_[i]);
    const uint8_t* bytes = vocabulary.bytes(entry);
    const uint32_t shared = common_prefix(previous, static_cast<uint32_t>(path.size()), bytes, entry.length);
    close_below(shared);
    for (uint32_t depth = shared; depth < entry.length; ++depth) {
      path.push_back(static_cast<uint32_t>(nodes_.size()));
      nodes_.push_back({0, i, static_cast<uint16_t>(depth + 1), bytes[depth], 0});
    }
    if (path.empty()) {
      ++num_empty_;
    } else {
      nodes_[path.back()].tokens_end = i + 1;
    }
    max_depth_ = std::max<size_t>(max_depth_, entry.length);
    previous = bytes;
  }
  close_below(0);
  find_groups_below();
}

// Down the trie with one reader per depth for the group of each node's own byte, then up for what lies below.
void TokenTrie::find_groups_below() {
  std::vector<TextGroups> own(nodes_.size());
  std::vector<uint8_t> boundary(nodes_.size());
  std::vector<GroupReader> readers(max_depth_ + 1);  // readers[d]: after d bytes of the current node
  for (size_t n = 0; n < nodes_.size(); ++n) {
    GroupReader reader = readers[nodes_[n].depth - 1];
    own[n] = reader.read(nodes_[n].byte);
    boundary[n] = reader.at_boundary();
    readers[nodes_[n].depth] = reader;
  }
  std::vector<TextGroups> gathered(max_depth_ + 2, 0);  // gathered[d]: of the nodes at depth d seen since their parent
  for (size_t n = nodes_.size(); n-- > 0;) {
    const uint16_t depth = nodes_[n].depth;
    const TextGroups below = gathered[depth + 1];
    gathered[depth + 1] = 0;
    gathered[depth] |= own[n] | below;
    nodes_[n].below = boundary[n] ? below : static_cast<TextGroups>(below | kOtherGroup);
  }
}

}  // namespace fastmask
