#include "nfa.h"

#include <algorithm>
#include <unordered_map>

#include "intern.h"

namespace fastmask::regex {
namespace {

constexpr int64_t kBytesPerStep = 2 * sizeof(Step);  // a growing vector may be half empty
constexpr int64_t kBytesPerBuilt = 48;               // an entry of an unordered_map and its share of buckets
constexpr int64_t kStepsPerBuilt = 20;

// The greatest number of steps that each node can become, up to some number beyond all limits.
std::vector<double> expanded_sizes(const Syntax& syntax, NodeId root, Budget& budget) {
  std::vector<double> sizes(root + 1);  // children come before their parents
  budget.work(root);
  for (NodeId id = 0; id <= root; ++id) {
    const Node& node = syntax[id];
    double size = 1;
    if (node.kind == NodeKind::kConcat || node.kind == NodeKind::kAlternate) {
      for (uint32_t i = 0; i < node.b; ++i) size += sizes[syntax.children(node)[i]];
    } else if (node.kind == NodeKind::kRepeat) {
      const double copies = node.c == kUnbounded ? std::max(node.b, 1u) : node.c;
      size += copies * (sizes[node.a] + 1);
    }
    sizes[id] = size;
  }
  return sizes;
}

class NfaBuilder {
 public:
  NfaBuilder(const Syntax& syntax, Budget& budget) : syntax_(syntax), budget_(budget), table_(budget) {
    nfa_.steps.push_back({Step::Kind::kMatch, 0, 0});
  }

  Nfa build(NodeId root) {
    nfa_.start = build(root, Nfa::kMatchStep);
    return std::move(nfa_);
  }

 private:
  // Each returns the step that begins a match of the node and goes on at `next`. The recursion is as deep as
  // the tree, see Node::height.
  StepId build(NodeId id, StepId next);
  StepId build_anew(const Node& node, StepId next);
  StepId build_concat(const Node& node, StepId next);
  StepId build_alternate(const Node& node, StepId next);
  StepId build_repeat(const Node& node, StepId next);
  StepId build_loop(const Node& node, StepId next);
  StepId build_optional_copies(const Node& node, StepId next);

  StepId choice(StepId go_on, StepId stop, bool greedy) {
    return greedy ? step({Step::Kind::kChoice, go_on, stop}) : step({Step::Kind::kChoice, stop, go_on});
  }
  StepId step(const Step& step);
  StepId add(const Step& step);

  const Syntax& syntax_;
  Budget& budget_;
  Nfa nfa_;
  InternTable table_;
  std::unordered_map<uint64_t, StepId> built_;  // by node and next, for nodes with children: what build returned
};

// Equal parts that go on at the same place are the same steps. For loops nothing else would notice, and for the
// rest it saves building them again, which in patterns of many megabytes is nearly all the work.
StepId NfaBuilder::build(NodeId id, StepId next) {
  const Node& node = syntax_[id];
  switch (node.kind) {
    case NodeKind::kEmpty: return next;
    case NodeKind::kChars: return step({Step::Kind::kChars, node.a, next});
    case NodeKind::kLook: return step({Step::Kind::kLook, node.a, next});
    default: break;
  }
  const uint64_t key = uint64_t{id} << 32 | next;
  const auto known = built_.find(key);
  if (known != built_.end()) return known->second;
  const StepId first = build_anew(node, next);
  budget_.hold(kBytesPerBuilt);
  budget_.work(kStepsPerBuilt);
  built_.emplace(key, first);
  return first;
}

StepId NfaBuilder::build_anew(const Node& node, StepId next) {
  switch (node.kind) {
    case NodeKind::kConcat: return build_concat(node, next);
    case NodeKind::kAlternate: return build_alternate(node, next);
    default: return build_repeat(node, next);
  }
}

StepId NfaBuilder::build_concat(const Node& node, StepId next) {
  for (uint32_t i = node.b; i-- > 0;) next = build(syntax_.children(node)[i], next);
  return next;
}

StepId NfaBuilder::build_alternate(const Node& node, StepId next) {
  StepId rest = build(syntax_.children(node)[node.b - 1], next);
  for (uint32_t i = node.b - 1; i-- > 0;) rest = choice(build(syntax_.children(node)[i], next), rest, true);
  return rest;
}

StepId NfaBuilder::build_repeat(const Node& node, StepId next) {
  const bool unbounded = node.c == kUnbounded;
  StepId first = unbounded ? build_loop(node, next) : build_optional_copies(node, next);
  const uint32_t copies_before = unbounded ? std::max(node.b, 1u) - 1 : node.b;
  for (uint32_t i = 0; i < copies_before; ++i) first = build(node.a, first);
  return first;
}

// The last copy of an unbounded repetition, with the way back. x* is a choice and then x; but where x can be
// empty it is (x+)?, because otherwise the order of choices behind an empty round would be lost.
StepId NfaBuilder::build_loop(const Node& node, StepId next) {
  const StepId again = add({Step::Kind::kChoice, next, next});  // its own step, never one shared by content
  const StepId body = build(node.a, again);
  nfa_.steps[again].value = node.greedy ? body : next;
  nfa_.steps[again].next = node.greedy ? next : body;
  if (node.b > 0) return body;
  return syntax_[node.a].nullable ? choice(body, next, node.greedy) : again;
}

StepId NfaBuilder::build_optional_copies(const Node& node, StepId next) {
  StepId first = next;
  for (uint32_t i = node.b; i < node.c; ++i) first = choice(build(node.a, first), next, node.greedy);
  return first;
}

StepId NfaBuilder::step(const Step& step) {
  if (step.kind == Step::Kind::kChoice && step.value == step.next) return step.next;
  budget_.work(4);
  const uint64_t hash = hash_end(
      hash_step(static_cast<uint64_t>(step.kind), uint64_t{step.value} << 32 | step.next));
  return table_.intern(
      hash,
      [&](StepId id) {
        const Step& old = nfa_.steps[id];
        return old.kind == step.kind && old.value == step.value && old.next == step.next;
      },
      [&] { return add(step); });
}

StepId NfaBuilder::add(const Step& step) {
  budget_.hold(kBytesPerStep);
  nfa_.steps.push_back(step);
  return static_cast<StepId>(nfa_.steps.size() - 1);
}

}  // namespace

Nfa build_nfa(const Syntax& syntax, NodeId root, Budget& budget) {
  const double bytes = expanded_sizes(syntax, root, budget)[root] * sizeof(Step);
  budget.expect(static_cast<int64_t>(std::min(bytes, 9e18)));
  return NfaBuilder(syntax, budget).build(root);
}

}  // namespace fastmask::regex
