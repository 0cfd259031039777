// A parsed pattern: a tree in which equal subtrees are one node.
//
// Groups and flags are resolved by the parser and leave no trace. Because nodes are shared, a pattern that says
// the same thing ten thousand times (as those of JSON schemas do) is small, and later stages recognise by its
// number alone what they have already built. Children are always made before their parents.
#pragma once

#include <cstdint>
#include <vector>

#include "budget.h"
#include "charset.h"
#include "intern.h"

namespace fastmask::regex {

using NodeId = uint32_t;   // index of a Node in its Syntax
using ClassId = uint32_t;  // index of a CharSet in its Syntax

constexpr uint32_t kUnbounded = UINT32_MAX;  // as the maximum of a repetition
constexpr int kHighest = 1000;               // tree that joining alternatives may make

// Assertions about the place between two characters. The Unicode word boundaries are missing: outlines-core
// refuses them. So is the start of the text as something that can hold: it can only be asked for at the very
// start, where outlines-core refuses all assertions, or later, where it does not hold.
enum class Look : uint8_t {
  kStartText,
  kEndText,
  kStartLine,
  kEndLine,
  kStartLineCrlf,
  kEndLineCrlf,
  kWordBoundary,
  kNotWordBoundary,
  kWordStart,
  kWordEnd,
  kWordStartHalf,
  kWordEndHalf,
};

enum class NodeKind : uint8_t { kEmpty, kChars, kLook, kConcat, kAlternate, kRepeat };

struct Node {
  NodeKind kind;
  bool greedy;    // kRepeat
  bool nullable;  // can match the empty text
  bool empty;     // can match nothing but the empty text
  uint16_t height;  // of the tree below: at most kHighest and the parser's nesting, so it is safe to recurse
  // kChars: class · kLook: a Look · kConcat, kAlternate: first index in children, number of them (≥ 2)
  // kRepeat: body, minimum, maximum
  uint32_t a, b, c;
};

class Syntax {
 public:
  // Under kWholeText alternatives that begin alike may be joined, so that the order of choices is lost.
  Syntax(Reading reading, Budget& budget);

  // Each returns the node of that meaning, a simpler one where there is one.
  NodeId empty() const { return kEmptyNode; }
  NodeId literal(uint32_t character);
  NodeId chars(const CharSet& set) { return chars_of(class_id(set)); }
  NodeId look(Look look);
  NodeId concat(const std::vector<NodeId>& children);
  NodeId alternate(const std::vector<NodeId>& children);  // the first is the first choice
  NodeId repeat(NodeId body, uint32_t min, uint32_t max, bool greedy);

  const Node& operator[](NodeId id) const { return nodes_[id]; }
  const NodeId* children(const Node& node) const { return &children_[node.a]; }

  // Equal sets have one id.
  ClassId class_id(const CharSet& set);
  const CharSet& char_set(ClassId id) const { return classes_[id]; }
  size_t num_classes() const { return classes_.size(); }

  bool has_looks() const { return has_looks_; }

 private:
  static constexpr NodeId kEmptyNode = 0;

  // Some of the alternatives: a list of children that have a concatenation's meaning.
  using Branch = std::vector<NodeId>;

  NodeId chars_of(ClassId id);
  Branch branch_of(NodeId id) const;
  NodeId factored(std::vector<Branch> branches, int levels);
  NodeId factored_run(std::vector<Branch> run, int levels);
  NodeId plain_alternate(const std::vector<NodeId>& children);
  NodeId add(Node node, const std::vector<NodeId>& children);
  bool same(const Node& old, const Node& node, const std::vector<NodeId>& children) const;

  const Reading reading_;
  Budget& budget_;
  std::vector<Node> nodes_;
  std::vector<NodeId> children_;
  std::vector<CharSet> classes_;
  InternTable node_table_;
  InternTable class_table_;
  std::vector<NodeId> ascii_literals_;  // by character, 0 where not yet made
  bool has_looks_ = false;
};

}  // namespace fastmask::regex
