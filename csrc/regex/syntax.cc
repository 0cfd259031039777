#include "syntax.h"

#include <algorithm>
#include <iterator>

namespace fastmask::regex {
namespace {

constexpr int64_t kBytesPerNode = 2 * sizeof(Node);  // a growing vector may be half empty

}  // namespace

Syntax::Syntax(Reading reading, Budget& budget)
    : reading_(reading),
      budget_(budget),
      nodes_{{NodeKind::kEmpty, true, true, true, 0, 0, 0, 0}},
      node_table_(budget),
      class_table_(budget),
      ascii_literals_(128, kEmptyNode) {}

ClassId Syntax::class_id(const CharSet& set) {
  uint64_t hash = 0;
  for (const Range& range : set.ranges()) hash = hash_step(hash, uint64_t{range.low} << 32 | range.high);
  return class_table_.intern(
      hash_end(hash), [&](ClassId id) { return classes_[id].ranges() == set.ranges(); },
      [&] {
        budget_.hold(static_cast<int64_t>(2 * sizeof(CharSet) + set.ranges().size() * sizeof(Range)));
        classes_.push_back(set);
        return static_cast<ClassId>(classes_.size() - 1);
      });
}

NodeId Syntax::literal(uint32_t character) {
  if (character >= ascii_literals_.size()) return chars(CharSet::one(character));
  NodeId& node = ascii_literals_[character];
  if (node == kEmptyNode) node = chars(CharSet::one(character));
  return node;
}

NodeId Syntax::chars_of(ClassId id) { return add({NodeKind::kChars, true, false, false, 0, id, 0, 0}, {}); }

NodeId Syntax::look(Look look) {
  return add({NodeKind::kLook, true, true, true, 0, static_cast<uint32_t>(look), 0, 0}, {});
}

NodeId Syntax::concat(const std::vector<NodeId>& children) {
  std::vector<NodeId> kept;
  Node node{NodeKind::kConcat, true, true, true, 0, 0, 0, 0};
  for (const NodeId child : children) {
    if (child == kEmptyNode) continue;
    kept.push_back(child);
    node.nullable &= nodes_[child].nullable;
    node.empty &= nodes_[child].empty;
  }
  if (kept.empty()) return kEmptyNode;
  return kept.size() == 1 ? kept[0] : add(node, kept);
}

NodeId Syntax::alternate(const std::vector<NodeId>& children) {
  if (reading_ == Reading::kFirstChoice) return plain_alternate(children);
  std::vector<Branch> branches;
  int highest = 0;
  for (const NodeId child : children) {
    branches.push_back(branch_of(child));
    highest = std::max<int>(highest, nodes_[child].height);
  }
  constexpr int kHeightOfLevel = 2;  // a list and an alternation within it
  return factored(std::move(branches), (kHighest - highest) / kHeightOfLevel - 1);
}

Syntax::Branch Syntax::branch_of(NodeId id) const {
  const Node& node = nodes_[id];
  if (id == kEmptyNode) return {};
  if (node.kind != NodeKind::kConcat) return {id};
  return Branch(&children_[node.a], &children_[node.a] + node.b);
}

// Joins neighbours that begin alike: ab|ac becomes a(b|c). A schema with n optional properties has n alternatives
// of up to n properties each, (A|(A,)?B|(A,)?(B,)?C|…); joined they have n properties altogether.
NodeId Syntax::factored(std::vector<Branch> branches, int levels) {
  std::vector<NodeId> children;
  for (size_t begin = 0; begin < branches.size();) {
    size_t end = begin + 1;
    const auto alike = [&](const Branch& other) {
      return !other.empty() && !branches[begin].empty() && other[0] == branches[begin][0];
    };
    while (levels > 0 && end < branches.size() && alike(branches[end])) ++end;
    const auto first = std::make_move_iterator(branches.begin() + static_cast<int64_t>(begin));
    const auto last = std::make_move_iterator(branches.begin() + static_cast<int64_t>(end));
    children.push_back(end == begin + 1 ? concat(branches[begin]) : factored_run({first, last}, levels - 1));
    begin = end;
  }
  return plain_alternate(children);
}

NodeId Syntax::factored_run(std::vector<Branch> run, int levels) {
  const Branch& model = run[0];
  size_t common = model.size();
  for (const Branch& branch : run) {
    const auto end = model.begin() + static_cast<int64_t>(std::min(common, branch.size()));
    common = static_cast<size_t>(std::mismatch(model.begin(), end, branch.begin()).first - model.begin());
    budget_.work(static_cast<int64_t>(branch.size()));
  }
  Branch joined(model.begin(), model.begin() + static_cast<int64_t>(common));
  for (Branch& branch : run) branch.erase(branch.begin(), branch.begin() + static_cast<int64_t>(common));
  joined.push_back(factored(std::move(run), levels));
  return concat(joined);
}

NodeId Syntax::plain_alternate(const std::vector<NodeId>& children) {
  if (children.size() == 1) return children[0];
  Node node{NodeKind::kAlternate, true, false, true, 0, 0, 0, 0};
  bool only_chars = true;
  for (const NodeId child : children) {
    node.nullable |= nodes_[child].nullable;
    node.empty &= nodes_[child].empty;
    only_chars &= nodes_[child].kind == NodeKind::kChars;
  }
  if (!only_chars) return add(node, children);
  std::vector<Range> ranges;  // one character in any case: the order of choice cannot matter
  for (const NodeId child : children) {
    const auto& more = classes_[nodes_[child].a].ranges();
    ranges.insert(ranges.end(), more.begin(), more.end());
  }
  return chars(CharSet(std::move(ranges)));
}

NodeId Syntax::repeat(NodeId body, uint32_t min, uint32_t max, bool greedy) {
  if (nodes_[body].empty) {  // once is as good as often, and `(){1000000000}` must cost nothing
    min = std::min(min, 1u);
    max = std::min(max, 1u);
  }
  if (max == 0) return kEmptyNode;
  if (min == 1 && max == 1) return body;
  const bool nullable = min == 0 || nodes_[body].nullable;
  const auto height = static_cast<uint16_t>(nodes_[body].height + 1);
  return add({NodeKind::kRepeat, greedy, nullable, nodes_[body].empty, height, body, min, max}, {});
}

NodeId Syntax::add(Node node, const std::vector<NodeId>& children) {
  uint64_t hash = hash_step(static_cast<uint64_t>(node.kind) * 2 + node.greedy, node.a);
  hash = hash_step(hash, uint64_t{node.b} << 32 | node.c);
  for (const NodeId child : children) {
    hash = hash_step(hash, child);
    node.height = std::max(node.height, static_cast<uint16_t>(nodes_[child].height + 1));
  }
  budget_.work(static_cast<int64_t>(4 + children.size()));
  return node_table_.intern(
      hash_end(hash), [&](NodeId id) { return same(nodes_[id], node, children); },
      [&] {
        budget_.hold(kBytesPerNode + static_cast<int64_t>(2 * children.size() * sizeof(NodeId)));
        has_looks_ |= node.kind == NodeKind::kLook;
        if (!children.empty()) {
          node.a = static_cast<uint32_t>(children_.size());
          node.b = static_cast<uint32_t>(children.size());
          children_.insert(children_.end(), children.begin(), children.end());
        }
        nodes_.push_back(node);
        return static_cast<NodeId>(nodes_.size() - 1);
      });
}

bool Syntax::same(const Node& old, const Node& node, const std::vector<NodeId>& children) const {
  if (old.kind != node.kind || old.greedy != node.greedy) return false;
  if (children.empty()) return old.a == node.a && old.b == node.b && old.c == node.c;
  return old.b == children.size() && std::equal(children.begin(), children.end(), &children_[old.a]);
}

}  // namespace fastmask::regex
