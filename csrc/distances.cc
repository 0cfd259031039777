#include "distances.h"

#include <algorithm>
#include <limits>

#include "thread_pool.h"

namespace fastmask {
namespace {

constexpr int64_t kStatesPerChunk = 64;
constexpr int32_t kFar = std::numeric_limits<int32_t>::max();

// A set of byte classes. Class c is bit c mod 64: where two share a bit, a necessary one may be missed, never made up.
using ClassSet = uint64_t;
constexpr ClassSet kAllClasses = ~ClassSet{0};

ClassSet set_of(int32_t byte_class) { return ClassSet{1} << (byte_class % 64); }

// What leads into a state by one byte.
struct Entrance {
  State from;
  ClassSet needed;  // the class of that byte, if only one leads there; otherwise empty
};

// The byte steps among a text's own states, backwards.
class Entrances {
 public:
  explicit Entrances(const Automaton& automaton) : begin_(automaton.num_states() + 1, 0) {
    struct Step {
      State to;
      Entrance entrance;
    };
    std::vector<Step> steps;
    std::vector<int64_t> step_to(automaton.num_states(), -1);  // this state's step to each other
    InterruptCheck check_interrupt;
    for (State s = kInitial; s < automaton.num_states(); ++s) {
      check_interrupt();
      const auto first = static_cast<int64_t>(steps.size());
      for (int32_t c = 0; c < automaton.num_classes(); ++c) {
        const State to = automaton.step_by_class(s, c);
        if (to == kDead) continue;
        if (step_to[to] < first) {
          step_to[to] = static_cast<int64_t>(steps.size());
          steps.push_back({to, {s, set_of(c)}});
        } else {
          steps[step_to[to]].entrance.needed = 0;
        }
      }
    }
    for (const Step& step : steps) ++begin_[step.to + 1];
    for (size_t s = 1; s < begin_.size(); ++s) begin_[s] += begin_[s - 1];
    std::vector<int64_t> cursor(begin_.begin(), begin_.end() - 1);
    entrances_.resize(steps.size());
    for (const Step& step : steps) entrances_[cursor[step.to]++] = step.entrance;
  }

  const Entrance* begin(State state) const { return entrances_.data() + begin_[state]; }
  const Entrance* end(State state) const { return entrances_.data() + begin_[state + 1]; }

 private:
  std::vector<int64_t> begin_;  // [num_states + 1] into entrances_
  std::vector<Entrance> entrances_;
};

// What lies below a node of the trie.
struct Subtree {
  ClassSet classes;  // of the bytes below it
  int32_t height;    // bytes to the deepest node
};

std::vector<Subtree> measure_subtrees(const Automaton& automaton, const TokenTrie& trie) {
  const std::vector<TokenTrie::Node>& nodes = trie.nodes();
  std::vector<Subtree> subtrees(nodes.size());
  // Backwards, a node comes behind its children: at each depth, what was seen since the last node above.
  std::vector<Subtree> seen(trie.max_depth() + 2, {0, 0});
  for (size_t n = nodes.size(); n-- > 0;) {
    Subtree& below = seen[nodes[n].depth + 1];
    Subtree& beside = seen[nodes[n].depth];
    subtrees[n] = below;
    beside.classes |= below.classes | set_of(automaton.class_of(nodes[n].byte));
    beside.height = std::max(beside.height, below.height + 1);
    below = {0, 0};
  }
  return subtrees;
}

class LevelSearch {
 public:
  LevelSearch(const Automaton& automaton, const TokenTrie& trie)
      : automaton_(automaton),
        trie_(trie),
        entrances_(automaton),
        subtrees_(measure_subtrees(automaton, trie)),
        bytes_(automaton.num_states(), kFar),
        needed_(automaton.num_states(), kAllClasses),
        is_queued_(automaton.num_states(), 0) {}

  // The states that `is_open(state)` holds for and that one token leads to a state of `level`.
  template <class IsOpen>
  std::vector<State> one_token_before(const std::vector<State>& level, IsOpen is_open) {
    look_back(level);
    find_needed(level);
    std::vector<State> candidates;
    for (State s : near_)
      if (is_open(s)) candidates.push_back(s);
    std::vector<uint8_t> found(candidates.size(), 0);
    parallel_for(static_cast<int64_t>(candidates.size()), kStatesPerChunk, [&](int64_t begin, int64_t end) {
      std::vector<State> path(trie_.max_depth() + 1);
      for (int64_t i = begin; i < end; ++i) found[i] = reaches_level(candidates[i], path);
    });
    size_t kept = 0;
    for (size_t i = 0; i < candidates.size(); ++i)
      if (found[i]) candidates[kept++] = candidates[i];
    candidates.resize(kept);
    return candidates;
  }

 private:
  // Sets `near_` to the states from which the level is as near as the longest token is long, and `bytes_` for them.
  void look_back(const std::vector<State>& level) {
    for (State s : near_) bytes_[s] = kFar, needed_[s] = kAllClasses;
    near_ = level;
    for (State s : level) bytes_[s] = 0;
    const auto longest = static_cast<int32_t>(trie_.max_depth());
    for (size_t i = 0; i < near_.size() && bytes_[near_[i]] < longest; ++i) {
      const State state = near_[i];
      for (const Entrance* e = entrances_.begin(state); e != entrances_.end(state); ++e) {
        if (bytes_[e->from] != kFar) continue;
        bytes_[e->from] = bytes_[state] + 1;
        near_.push_back(e->from);
      }
    }
  }

  // Sets `needed_` of the near states to the classes that every way to the level has: the greatest sets that hold
  // no more than each single step needs, or needs later.
  void find_needed(const std::vector<State>& level) {
    for (State s : level) needed_[s] = 0;
    std::vector<State> queue = level;
    for (size_t i = 0; i < queue.size(); ++i) {
      const State state = queue[i];
      is_queued_[state] = 0;
      for (const Entrance* e = entrances_.begin(state); e != entrances_.end(state); ++e) {
        const ClassSet needed = needed_[e->from] & (e->needed | needed_[state]);
        if (bytes_[e->from] == kFar || needed == needed_[e->from]) continue;
        needed_[e->from] = needed;
        if (!is_queued_[e->from]) is_queued_[e->from] = 1, queue.push_back(e->from);
      }
    }
  }

  // Does some token lead from `state` to a state of the level?
  bool reaches_level(State state, std::vector<State>& path) const {
    const std::vector<TokenTrie::Node>& nodes = trie_.nodes();
    const auto num_nodes = static_cast<uint32_t>(nodes.size());
    path[0] = state;
    for (uint32_t n = 0; n < num_nodes;) {
      const TokenTrie::Node& node = nodes[n];
      const State reached = automaton_.step(path[node.depth - 1], node.byte);
      if (bytes_[reached] == 0 && trie_.tokens_first(n) < node.tokens_end) return true;
      if (bytes_[reached] > subtrees_[n].height || (needed_[reached] & ~subtrees_[n].classes) != 0) {
        n = node.subtree_end;
      } else {
        path[node.depth] = reached;
        ++n;
      }
    }
    return false;
  }

  const Automaton& automaton_;
  const TokenTrie& trie_;
  const Entrances entrances_;
  const std::vector<Subtree> subtrees_;  // [nodes]
  std::vector<State> near_;
  std::vector<int32_t> bytes_;      // [num_states]: to the level; kFar unless near
  std::vector<ClassSet> needed_;    // [num_states]; all unless near
  std::vector<uint8_t> is_queued_;  // [num_states]
};

}  // namespace

std::vector<int32_t> token_distances(const Automaton& automaton, const TokenTrie& trie) {
  std::vector<int32_t> distances(automaton.num_states(), kNoWay);
  std::vector<State> level;
  for (State s = kInitial; s < automaton.num_states(); ++s)
    if (automaton.is_final(s)) level.push_back(s);
  LevelSearch search(automaton, trie);
  InterruptCheck check_interrupt;
  for (int32_t tokens = 0; !level.empty(); ++tokens) {
    check_interrupt();
    for (State s : level) distances[s] = tokens;
    level = search.one_token_before(level, [&](State s) { return distances[s] == kNoWay; });
  }
  distances[kFree] = distances[kDone] = 0;
  return distances;
}

}  // namespace fastmask
