#include "determinise.h"

#include <algorithm>
#include <array>
#include <memory>
#include <vector>

#include "../error.h"
#include "arena.h"
#include "byte_classes.h"
#include "closure.h"
#include "intern.h"
#include "utf8.h"

namespace fastmask::regex {
namespace {

using StateId = int32_t;

// A state between two characters has a key, which says what it stands for; a state inside a character has none.
// The key of a closed state is kClosed and the steps that may come next (see Closure). Where those depend on
// what the next character is, the state is open: its key is a Beside, the kind of the character before it, and
// the steps to follow once the next character is known.
constexpr uint32_t kClosed = UINT32_MAX;

struct State {
  const uint32_t* key = nullptr;
  uint32_t key_length = 0;
  uint32_t num_edges = 0;
  const Edge* edges = nullptr;  // ascending, disjoint; targets are states
};

// A step that may read the next character.
struct Reader {
  ClassId characters;
  StepId next;
  Beside kind;  // of those characters; told apart only if the pattern has assertions
};

struct SharedDispatch {
  std::vector<ClassId> classes;  // sorted
  Dispatch dispatch;
};

class Determiniser {
 public:
  Determiniser(const Nfa& nfa, Syntax& syntax, Reading reading, Budget& budget)
      : nfa_(nfa),
        syntax_(syntax),
        budget_(budget),
        closure_(nfa, reading, budget),
        reading_(reading),
        keys_(budget),
        key_table_(budget),
        edges_(budget),
        edge_table_(budget),
        dispatch_table_(budget) {}

  Dfa run();

 private:
  // Making states.
  StateId state_after(const std::vector<StepId>& seeds, Beside before);
  StateId state_with_key(const std::vector<uint32_t>& key, bool is_final);
  StateId add_state(const State& state, bool is_final);
  bool ends_with_match(const std::vector<StepId>& reached) const;

  // Giving a state its edges.
  void expand(StateId id);
  void find_readers(const State& state);
  void find_readers_by_kind(const State& state);
  void add_readers(const StepId* begin, const StepId* end, Beside kind);
  ClassId of_kind(ClassId characters, Beside kind);
  const Dispatch& dispatch_for_readers();
  const Dispatch& shared_dispatch();
  void find_targets(const Dispatch& dispatch);
  void fill_in(const Dispatch& dispatch, StateId id);
  StateId state_inside(const std::vector<Edge>& row);
  void tell_bytes_apart(const Dispatch& dispatch);

  Dfa table() const;

  const Nfa& nfa_;
  Syntax& syntax_;
  Budget& budget_;
  Closure closure_;
  const Reading reading_;

  std::vector<State> states_;
  std::vector<StateFlags> flags_;
  std::vector<StateId> unexpanded_;
  Arena<uint32_t> keys_;
  InternTable key_table_;
  Arena<Edge> edges_;
  InternTable edge_table_;  // of the states inside characters

  std::vector<std::unique_ptr<SharedDispatch>> dispatches_;
  InternTable dispatch_table_;
  ByteClasses byte_classes_;
  std::vector<std::array<ClassId, kNumCharacterKinds>> of_kind_;

  std::vector<StateId> state_of_seed_;  // by step, where one step alone leads; kUnknown, or a state, or none

  // What one expansion works on, kept to save allocations.
  std::vector<Reader> readers_;
  std::vector<ClassId> classes_;            // of the readers, sorted
  std::vector<uint32_t> place_of_class_;    // by class: its index in classes_
  std::vector<uint8_t> class_is_there_;     // by class
  std::vector<std::vector<StepId>> seeds_;  // by group
  std::vector<Beside> kind_of_group_;
  std::vector<StateId> targets_;  // by group
  std::vector<StateId> state_of_node_;
  std::vector<Edge> row_;
  std::vector<StepId> reached_;
  std::vector<uint32_t> key_;
};

constexpr StateId kUnknown = -2;  // Dfa::kNone is -1

Dfa Determiniser::run() {
  budget_.hold(static_cast<int64_t>(nfa_.steps.size() * sizeof(StateId)));
  state_of_seed_.assign(nfa_.steps.size(), kUnknown);
  state_after({nfa_.start}, Beside::kOther);  // state 0; what stands before it matters to nobody, see determinise
  while (!unexpanded_.empty()) {
    const StateId id = unexpanded_.back();
    unexpanded_.pop_back();
    expand(id);
  }
  return table();
}

// --- making states --------------------------------------------------------------------------------------------

StateId Determiniser::state_after(const std::vector<StepId>& seeds, Beside before) {
  const bool is_cached = seeds.size() == 1 && !syntax_.has_looks();
  if (is_cached && state_of_seed_[seeds[0]] != kUnknown) return state_of_seed_[seeds[0]];
  StateId state = Dfa::kNone;
  key_.assign(1, kClosed);
  if (closure_.follow(seeds, nullptr, key_)) {
    if (key_.size() > 1) state = state_with_key(key_, ends_with_match(key_));
  } else {
    const Place end{before, Beside::kEndOfText};
    reached_.assign(1, kClosed);
    closure_.follow(seeds, &end, reached_);
    key_.assign(1, static_cast<uint32_t>(before));
    key_.insert(key_.end(), seeds.begin(), seeds.end());
    state = state_with_key(key_, ends_with_match(reached_));
  }
  if (is_cached) state_of_seed_[seeds[0]] = state;
  return state;
}

// `reached` has one word in front. The match is the smallest step, or the last choice that counts.
bool Determiniser::ends_with_match(const std::vector<StepId>& reached) const {
  if (reached.size() == 1) return false;
  return (reading_ == Reading::kWholeText ? reached[1] : reached.back()) == Nfa::kMatchStep;
}

StateId Determiniser::state_with_key(const std::vector<uint32_t>& key, bool is_final) {
  uint64_t hash = key.size();
  for (const uint32_t word : key) hash = hash_step(hash, word);
  budget_.work(static_cast<int64_t>(8 + key.size()));
  return static_cast<StateId>(key_table_.intern(
      hash_end(hash),
      [&](uint32_t id) {
        const State& state = states_[id];
        return state.key_length == key.size() && std::equal(key.begin(), key.end(), state.key);
      },
      [&] {
        State state;
        state.key = keys_.keep(key.data(), key.size());
        state.key_length = static_cast<uint32_t>(key.size());
        unexpanded_.push_back(add_state(state, is_final));
        return static_cast<uint32_t>(unexpanded_.back());
      }));
}

StateId Determiniser::add_state(const State& state, bool is_final) {
  constexpr int64_t kBytesPerState = 2 * (sizeof(State) + sizeof(StateFlags)) + sizeof(StateId);
  budget_.states(static_cast<int64_t>(states_.size()) + 1);
  budget_.hold(kBytesPerState);
  states_.push_back(state);
  flags_.push_back(is_final ? kFinal : 0);
  return static_cast<StateId>(states_.size() - 1);
}

// --- giving a state its edges ---------------------------------------------------------------------------------

void Determiniser::expand(StateId id) {
  find_readers(states_[id]);
  if (readers_.empty()) return;
  const Dispatch& dispatch = dispatch_for_readers();
  find_targets(dispatch);
  fill_in(dispatch, id);
}

void Determiniser::find_readers(const State& state) {
  readers_.clear();
  if (syntax_.has_looks()) return find_readers_by_kind(state);
  add_readers(state.key + 1, state.key + state.key_length, Beside::kOther);
}

void Determiniser::find_readers_by_kind(const State& state) {
  const StepId* const begin = state.key + 1;
  const StepId* const end = state.key + state.key_length;
  for (int kind = 0; kind < kNumCharacterKinds; ++kind) {
    const auto after = static_cast<Beside>(kind);
    if (state.key[0] == kClosed) {
      add_readers(begin, end, after);
      continue;
    }
    const Place place{static_cast<Beside>(state.key[0]), after};
    reached_.clear();
    closure_.follow({begin, end}, &place, reached_);
    add_readers(reached_.data(), reached_.data() + reached_.size(), after);
  }
}

void Determiniser::add_readers(const StepId* begin, const StepId* end, Beside kind) {
  for (const StepId* id = begin; id != end; ++id) {
    const Step& step = nfa_.steps[*id];
    if (step.kind != Step::Kind::kChars) continue;
    const ClassId characters = syntax_.has_looks() ? of_kind(step.value, kind) : step.value;
    if (!syntax_.char_set(characters).empty()) readers_.push_back({characters, step.next, kind});
  }
}

ClassId Determiniser::of_kind(ClassId characters, Beside kind) {
  constexpr ClassId kNotYet = UINT32_MAX;
  static const CharSet word = *ascii_class("word");
  static const CharSet kinds[kNumCharacterKinds] = {
      CharSet::one('\n'), CharSet::one('\r'), word,
      (word | CharSet::one('\n') | CharSet::one('\r')).complement()};
  if (characters >= of_kind_.size()) of_kind_.resize(characters + 1, {kNotYet, kNotYet, kNotYet, kNotYet});
  ClassId known = of_kind_[characters][static_cast<size_t>(kind)];
  if (known == kNotYet) {
    known = syntax_.class_id(syntax_.char_set(characters) & kinds[static_cast<size_t>(kind)]);
    of_kind_[characters][static_cast<size_t>(kind)] = known;
  }
  return known;
}

const Dispatch& Determiniser::dispatch_for_readers() {
  class_is_there_.resize(syntax_.num_classes());
  place_of_class_.resize(syntax_.num_classes());
  classes_.clear();
  for (const Reader& reader : readers_) {
    if (class_is_there_[reader.characters]) continue;
    class_is_there_[reader.characters] = 1;
    classes_.push_back(reader.characters);
  }
  std::sort(classes_.begin(), classes_.end());
  for (uint32_t place = 0; place < classes_.size(); ++place) {
    class_is_there_[classes_[place]] = 0;
    place_of_class_[classes_[place]] = place;
  }
  return shared_dispatch();
}

const Dispatch& Determiniser::shared_dispatch() {
  uint64_t hash = classes_.size();
  for (const ClassId id : classes_) hash = hash_step(hash, id);
  const uint32_t index = dispatch_table_.intern(
      hash_end(hash), [&](uint32_t i) { return dispatches_[i]->classes == classes_; },
      [&] {
        auto made = std::make_unique<SharedDispatch>();
        made->classes = classes_;
        made->dispatch = make_dispatch(syntax_, classes_, budget_);
        tell_bytes_apart(made->dispatch);
        budget_.hold(made->dispatch.bytes() + static_cast<int64_t>(classes_.size() * sizeof(ClassId)));
        dispatches_.push_back(std::move(made));
        return static_cast<uint32_t>(dispatches_.size() - 1);
      });
  return dispatches_[index]->dispatch;
}

void Determiniser::find_targets(const Dispatch& dispatch) {
  const auto num_groups = static_cast<size_t>(dispatch.num_groups);
  if (seeds_.size() < num_groups) {
    seeds_.resize(num_groups);
    kind_of_group_.resize(num_groups);
  }
  for (const Reader& reader : readers_) {
    for (const int32_t group : dispatch.groups_of[place_of_class_[reader.characters]]) {
      seeds_[static_cast<size_t>(group)].push_back(reader.next);
      kind_of_group_[static_cast<size_t>(group)] = reader.kind;
      budget_.work(1);
    }
  }
  targets_.clear();
  for (size_t group = 0; group < num_groups; ++group) {
    targets_.push_back(state_after(seeds_[group], kind_of_group_[group]));
    seeds_[group].clear();
  }
}

// Puts the targets where the dispatch has groups, from the last bytes of characters to the first.
void Determiniser::fill_in(const Dispatch& dispatch, StateId id) {
  state_of_node_.clear();
  for (int32_t node = 0; node < dispatch.num_nodes(); ++node) {
    row_.clear();
    for (uint32_t i = dispatch.first_edge[node]; i < dispatch.first_edge[node + 1]; ++i) {
      Edge edge = dispatch.edges[i];
      edge.target = edge.target >= 0 ? targets_[edge.target] : state_of_node_[~edge.target];
      if (edge.target == Dfa::kNone) continue;
      const bool continues = !row_.empty() && row_.back().target == edge.target && row_.back().high + 1 == edge.low;
      if (continues) row_.back().high = edge.high;
      else row_.push_back(edge);
    }
    budget_.work(static_cast<int64_t>(4 + row_.size()));
    if (node + 1 < dispatch.num_nodes()) state_of_node_.push_back(state_inside(row_));
  }
  states_[id].edges = edges_.keep(row_.data(), row_.size());
  states_[id].num_edges = static_cast<uint32_t>(row_.size());
}

// The state inside a character with these edges; equal ones are shared between all states.
StateId Determiniser::state_inside(const std::vector<Edge>& row) {
  if (row.empty()) return Dfa::kNone;
  uint64_t hash = row.size();
  for (const Edge& edge : row) hash = hash_step(hash, hash_of(edge));
  return static_cast<StateId>(edge_table_.intern(
      hash_end(hash),
      [&](uint32_t id) {
        const State& state = states_[id];
        return state.num_edges == row.size() && std::equal(row.begin(), row.end(), state.edges);
      },
      [&] {
        State state;
        state.edges = edges_.keep(row.data(), row.size());
        state.num_edges = static_cast<uint32_t>(row.size());
        return static_cast<uint32_t>(add_state(state, false));
      }));
}

void Determiniser::tell_bytes_apart(const Dispatch& dispatch) {
  std::vector<uint8_t> set;
  for (int32_t node = 0; node < dispatch.num_nodes(); ++node) {
    const Edge* const begin = dispatch.edges.data() + dispatch.first_edge[node];
    const Edge* const end = dispatch.edges.data() + dispatch.first_edge[node + 1];
    for (const Edge* edge = begin; edge != end; ++edge) {
      const auto same_target = [&](const Edge& other) { return other.target == edge->target; };
      if (std::any_of(begin, edge, same_target)) continue;  // went with an earlier one
      set.clear();
      for (const Edge* other = edge; other != end; ++other) {
        if (!same_target(*other)) continue;
        for (int byte = other->low; byte <= other->high; ++byte) set.push_back(static_cast<uint8_t>(byte));
      }
      byte_classes_.split(set);
      budget_.work(static_cast<int64_t>(set.size()) + (end - begin));
    }
  }
}

Dfa Determiniser::table() const {
  Dfa dfa;
  dfa.class_of = byte_classes_.class_of();
  dfa.num_classes = byte_classes_.count();
  dfa.flags = flags_;
  const auto width = static_cast<size_t>(dfa.num_classes);
  budget_.hold(static_cast<int64_t>(states_.size() * width * sizeof(int32_t)));
  dfa.next.assign(states_.size() * width, Dfa::kNone);
  dfa.initial = 0;
  for (size_t id = 0; id < states_.size(); ++id) {
    int32_t* const row = &dfa.next[id * width];
    for (uint32_t i = 0; i < states_[id].num_edges; ++i) {
      const Edge& edge = states_[id].edges[i];
      for (int byte = edge.low; byte <= edge.high; ++byte) row[dfa.class_of[static_cast<size_t>(byte)]] = edge.target;
    }
    budget_.work(static_cast<int64_t>(width));
  }
  return dfa;
}

// outlines-core has one start for every text and so takes no pattern that asks there what stands before or after.
void refuse_assertion_at_start(const Nfa& nfa, Budget& budget) {
  std::vector<StepId> reached;
  if (Closure(nfa, Reading::kWholeText, budget).follow({nfa.start}, nullptr, reached)) return;
  throw Error(ErrorKind::kRegex,
              "the pattern is refused: an assertion (^, $, \\A, \\z, \\b, …) stands where the text may begin, before "
              "any character has been read; leave it out, as the pattern must match the whole text anyway");
}

}  // namespace

Dfa determinise(const Nfa& nfa, Syntax& syntax, Reading reading, Budget& budget) {
  if (syntax.has_looks()) refuse_assertion_at_start(nfa, budget);
  return Determiniser(nfa, syntax, reading, budget).run();
}

}  // namespace fastmask::regex
