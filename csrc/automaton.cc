// Raw Dfa → minimal canonical automaton, in four passes:
//   useful states → partition refinement of states and transitions → merged byte classes → canonical numbers.
#include "automaton.h"

#include <algorithm>
#include <iterator>
#include <map>
#include <set>

#include "error.h"
#include "partition.h"

namespace fastmask {
namespace {

struct Transition {
  int32_t from, byte_class, to;
};

// Transitions grouped by one of their ends: those of state s are ids[start[s]] … ids[start[s+1]-1].
struct Adjacency {
  std::vector<int32_t> start, ids;

  Adjacency(const std::vector<Transition>& transitions, int32_t num_states, int32_t Transition::*end)
      : start(num_states + 1, 0), ids(transitions.size()) {
    for (const Transition& t : transitions) ++start[t.*end + 1];
    std::partial_sum(start.begin(), start.end(), start.begin());
    std::vector<int32_t> cursor(start.begin(), start.end() - 1);
    for (size_t i = 0; i < transitions.size(); ++i) ids[cursor[transitions[i].*end]++] = static_cast<int32_t>(i);
  }
};

// A DFA without useless states: the first kept state is the initial one; missing transitions lead nowhere.
struct PartialDfa {
  int32_t num_states = 0;
  std::vector<StateFlags> flags;
  std::vector<Transition> transitions;
};

// States reachable from `from` along the transitions, whose other end is `to`.
void flood(const std::vector<Transition>& transitions, const Adjacency& adjacency, int32_t Transition::*to,
           std::vector<int32_t> frontier, std::vector<uint8_t>& seen) {
  for (int32_t s : frontier) seen[s] = 1;
  while (!frontier.empty()) {
    const int32_t s = frontier.back();
    frontier.pop_back();
    for (int32_t i = adjacency.start[s]; i < adjacency.start[s + 1]; ++i) {
      const int32_t other = transitions[adjacency.ids[i]].*to;
      if (!seen[other]) seen[other] = 1, frontier.push_back(other);
    }
  }
}

std::vector<Transition> reachable_transitions(const Dfa& dfa, std::vector<uint8_t>& reachable) {
  std::vector<Transition> transitions;
  std::vector<int32_t> frontier{dfa.initial};
  reachable[dfa.initial] = 1;
  while (!frontier.empty()) {
    const int32_t s = frontier.back();
    frontier.pop_back();
    for (int32_t c = 0; c < dfa.num_classes; ++c) {
      const int32_t to = dfa.next[static_cast<size_t>(s) * dfa.num_classes + c];
      if (to == Dfa::kNone) continue;
      transitions.push_back({s, c, to});
      if (!reachable[to]) reachable[to] = 1, frontier.push_back(to);
    }
  }
  return transitions;
}

PartialDfa useful_part(const Dfa& dfa) {
  std::vector<uint8_t> reachable(dfa.num_states(), 0), hopeful(dfa.num_states(), 0);
  std::vector<Transition> all;
  if (dfa.initial != Dfa::kNone) all = reachable_transitions(dfa, reachable);
  std::vector<int32_t> finals;
  for (int32_t s = 0; s < dfa.num_states(); ++s)
    if (reachable[s] && dfa.is_final(s)) finals.push_back(s);
  flood(all, Adjacency(all, dfa.num_states(), &Transition::to), &Transition::from, finals, hopeful);
  if (dfa.initial == Dfa::kNone || !hopeful[dfa.initial])
    throw Error(ErrorKind::kRegex, "the pattern matches no text at all, so every token would be forbidden");

  PartialDfa useful;
  std::vector<int32_t> number(dfa.num_states(), Dfa::kNone);
  auto keep = [&](int32_t s) {
    number[s] = useful.num_states++;
    useful.flags.push_back(dfa.flags[s]);
  };
  keep(dfa.initial);
  for (int32_t s = 0; s < dfa.num_states(); ++s)
    if (s != dfa.initial && reachable[s] && hopeful[s]) keep(s);
  for (const Transition& t : all)
    if (hopeful[t.to]) useful.transitions.push_back({number[t.from], t.byte_class, number[t.to]});
  return useful;
}

// Valmari's algorithm: `blocks` partitions the states, `cords` the transitions by (class, block of the end).
// Splitting one side splits the other until both agree; the blocks are then the minimal DFA's states.
Partition equal_states(const PartialDfa& dfa, int32_t num_classes) {
  Partition blocks({dfa.flags.begin(), dfa.flags.end()}, (kFinal | kOpen) + 1);

  std::vector<int32_t> labels(dfa.transitions.size());
  std::transform(dfa.transitions.begin(), dfa.transitions.end(), labels.begin(),
                 [](const Transition& t) { return t.byte_class; });
  Partition cords(labels, num_classes);

  const Adjacency incoming(dfa.transitions, dfa.num_states, &Transition::to);
  int32_t block = 1;  // the first block needs no look: its complement within every cord is the other blocks
  for (int32_t cord = 0; cord < cords.num_blocks(); ++cord) {
    for (const int32_t* t = cords.begin(cord); t != cords.end(cord); ++t) blocks.mark(dfa.transitions[*t].from);
    blocks.split();
    for (; block < blocks.num_blocks(); ++block) {
      for (const int32_t* s = blocks.begin(block); s != blocks.end(block); ++s)
        for (int32_t i = incoming.start[*s]; i < incoming.start[*s + 1]; ++i) cords.mark(incoming.ids[i]);
      cords.split();
    }
  }
  return blocks;
}

// The minimal DFA as a dense table over the builder's byte classes.
Dfa minimal_table(const PartialDfa& dfa, const Partition& blocks, const Dfa& raw) {
  Dfa minimal;
  minimal.class_of = raw.class_of;
  minimal.num_classes = raw.num_classes;
  minimal.initial = blocks.block_of(0);
  minimal.flags.assign(blocks.num_blocks(), 0);
  minimal.next.assign(static_cast<size_t>(blocks.num_blocks()) * raw.num_classes, Dfa::kNone);
  for (int32_t s = 0; s < dfa.num_states; ++s) minimal.flags[blocks.block_of(s)] = dfa.flags[s];
  for (const Transition& t : dfa.transitions)
    minimal.next[static_cast<size_t>(blocks.block_of(t.from)) * raw.num_classes + t.byte_class] =
        blocks.block_of(t.to);
  return minimal;
}

// Merges byte classes with equal columns and numbers the remaining ones by their lowest byte. Returns for
// each new class one old class that stands for it.
std::vector<int32_t> merge_classes(const Dfa& dfa, std::array<uint8_t, 256>& class_of) {
  std::vector<std::vector<int32_t>> columns(dfa.num_classes);
  for (int32_t c = 0; c < dfa.num_classes; ++c)
    for (int32_t s = 0; s < dfa.num_states(); ++s)
      columns[c].push_back(dfa.next[static_cast<size_t>(s) * dfa.num_classes + c]);

  std::map<std::vector<int32_t>, int32_t> class_of_column;
  std::vector<int32_t> old_class;
  for (int32_t byte = 0; byte < 256; ++byte) {
    const int32_t old = dfa.class_of[byte];
    const auto [entry, is_new] =
        class_of_column.emplace(columns[old], static_cast<int32_t>(class_of_column.size()));
    if (is_new) old_class.push_back(old);
    class_of[byte] = static_cast<uint8_t>(entry->second);
  }
  return old_class;
}

// States in breadth-first order from the initial one; every state of a minimal DFA is reached.
std::vector<int32_t> breadth_first(const Dfa& dfa, const std::vector<int32_t>& old_class) {
  std::vector<int32_t> order{dfa.initial};
  std::vector<uint8_t> seen(dfa.num_states(), 0);
  seen[dfa.initial] = 1;
  for (size_t i = 0; i < order.size(); ++i)
    for (int32_t c : old_class) {
      const int32_t to = dfa.next[static_cast<size_t>(order[i]) * dfa.num_classes + c];
      if (to != Dfa::kNone && !seen[to]) seen[to] = 1, order.push_back(to);
    }
  return order;
}

uint32_t bits_for(int32_t count) {
  uint32_t bits = 0;
  while ((int32_t{1} << bits) < count) ++bits;
  return bits;
}

// Does every character of the sequence lead from the state back to it?
bool returns_on(const Automaton& automaton, State state, const Utf8Sequence& sequence) {
  std::set<State> reached{state};
  for (int place = 0; place < sequence.length; ++place) {
    std::set<State> further;
    for (State s : reached)
      for (int byte = sequence.ranges[place].first; byte <= sequence.ranges[place].last; ++byte)
        further.insert(automaton.step(s, static_cast<uint8_t>(byte)));
    if (further.count(kDead) != 0) return false;
    reached.swap(further);
  }
  return reached.size() == 1 && *reached.begin() == state;
}

}  // namespace

Automaton::Automaton(const Dfa& raw) {
  const PartialDfa useful = useful_part(raw);
  const Dfa minimal = minimal_table(useful, equal_states(useful, raw.num_classes), raw);
  const std::vector<int32_t> old_class = merge_classes(minimal, class_of_);
  const std::vector<int32_t> order = breadth_first(minimal, old_class);

  std::vector<State> number(minimal.num_states());
  for (size_t i = 0; i < order.size(); ++i) number[order[i]] = kInitial + static_cast<State>(i);

  num_classes_ = static_cast<int32_t>(old_class.size());
  shift_ = bits_for(num_classes_);
  const size_t num_states = kInitial + order.size();
  flags_.assign(num_states, 0);
  flags_[kDone] = kFinal;
  next_.assign(num_states << shift_, kDead);
  std::fill_n(next_.begin() + (static_cast<size_t>(kFree) << shift_), num_classes_, kFree);
  for (int32_t s : order) {
    flags_[number[s]] = minimal.flags[s];
    for (int32_t c = 0; c < num_classes_; ++c) {
      const int32_t to = minimal.next[static_cast<size_t>(s) * minimal.num_classes + old_class[c]];
      if (to != Dfa::kNone) next_[(static_cast<size_t>(number[s]) << shift_) | c] = number[to];
    }
  }
  loops_.assign(num_states, 0);
  for (State s = kInitial; s < static_cast<State>(num_states); ++s) loops_[s] = find_loops(s);
}

TextGroups Automaton::find_loops(State state) const {
  TextGroups loops = kSpaceGroup | kQuoteGroup | kBackslashGroup | kDigitGroup | kLetterGroup | kPunctuationGroup;
  for (uint8_t byte = ' '; byte < 0x7f && loops != 0; ++byte)
    if (step(state, byte) != state) loops &= static_cast<TextGroups>(~ascii_group(byte));
  const bool beyond = std::all_of(std::begin(kBeyondLatin1Controls), std::end(kBeyondLatin1Controls),
                                  [&](const Utf8Sequence& sequence) { return returns_on(*this, state, sequence); });
  return beyond ? loops | kBeyondLatin1ControlsGroup : loops;
}

Dfa Automaton::to_dfa() const {
  Dfa dfa;
  dfa.class_of = class_of_;
  dfa.num_classes = num_classes_;
  dfa.initial = 0;
  dfa.flags.assign(flags_.begin() + kInitial, flags_.end());
  dfa.next.reserve(dfa.flags.size() * num_classes_);
  for (State s = kInitial; s < num_states(); ++s)
    for (int32_t c = 0; c < num_classes_; ++c) {
      const State to = next_[(static_cast<size_t>(s) << shift_) | c];
      dfa.next.push_back(to == kDead ? Dfa::kNone : to - kInitial);
    }
  return dfa;
}

size_t Automaton::nbytes() const {
  return flags_.size() * (sizeof(flags_[0]) + sizeof(loops_[0])) + next_.size() * sizeof(next_[0]) + sizeof(class_of_);
}

}  // namespace fastmask
