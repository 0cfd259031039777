#include "token_table.h"

#include <algorithm>
#include <numeric>
#include <string>
#include <tuple>

#include "bitmask.h"
#include "error.h"

namespace fastmask {
namespace {

constexpr int32_t kUnnumbered = -1;

void require_below(int64_t value, int64_t limit, const char* what) {
  if (value < 0 || value >= limit)
    throw Error(ErrorKind::kInput, std::string(what) + " " + std::to_string(value) + " lies outside 0 … " +
                                       std::to_string(limit - 1));
}

void check_transitions(const std::vector<TokenTransition>& sorted, int32_t num_states, int64_t vocab_size) {
  for (size_t i = 0; i < sorted.size(); ++i) {
    require_below(sorted[i].from, num_states, "the index's state");
    require_below(sorted[i].to, num_states, "the index's state");
    require_below(sorted[i].token, vocab_size, "the index's token id");
    if (i > 0 && sorted[i - 1].from == sorted[i].from && sorted[i - 1].token == sorted[i].token)
      throw Error(ErrorKind::kInput, "the index has two transitions from one state on token " +
                                         std::to_string(sorted[i].token));
  }
}

std::vector<int64_t> group_by_state(const std::vector<TokenTransition>& sorted, int32_t num_states) {
  std::vector<int64_t> begin(num_states + 1, 0);
  for (const TokenTransition& t : sorted) ++begin[t.from + 1];
  for (int32_t s = 0; s < num_states; ++s) begin[s + 1] += begin[s];
  return begin;
}

// The caller's states in breadth-first order; those that cannot be reached are left out.
std::vector<int32_t> breadth_first(const std::vector<TokenTransition>& sorted, const std::vector<int64_t>& begin,
                                   int32_t initial) {
  std::vector<int32_t> order{initial};
  std::vector<uint8_t> seen(begin.size() - 1, 0);
  seen[initial] = 1;
  for (size_t i = 0; i < order.size(); ++i)
    for (int64_t t = begin[order[i]]; t < begin[order[i] + 1]; ++t)
      if (!seen[sorted[t].to]) seen[sorted[t].to] = 1, order.push_back(sorted[t].to);
  return order;
}

}  // namespace

TokenTable::TokenTable(std::vector<TokenTransition> transitions, int32_t num_states, int32_t initial,
                               const std::vector<int32_t>& finals, int64_t vocab_size, std::vector<Token> eos_ids)
    : vocab_size_(vocab_size), eos_ids_(std::move(eos_ids)) {
  std::sort(transitions.begin(), transitions.end(), [](const TokenTransition& a, const TokenTransition& b) {
    return std::tie(a.from, a.token) < std::tie(b.from, b.token);
  });
  std::sort(eos_ids_.begin(), eos_ids_.end());
  require_below(initial, num_states, "the index's initial state");
  check_transitions(transitions, num_states, vocab_size);

  const std::vector<int64_t> range = group_by_state(transitions, num_states);
  const std::vector<int32_t> order = breadth_first(transitions, range, initial);
  std::vector<State> number(num_states, kUnnumbered);
  for (size_t i = 0; i < order.size(); ++i) number[order[i]] = kInitial + static_cast<State>(i);

  is_final_.assign(kInitial + order.size(), 0);
  is_final_[kDone] = 1;
  for (int32_t s : finals) {
    require_below(s, num_states, "the index's final state");
    if (number[s] != kUnnumbered) is_final_[number[s]] = 1;
  }
  begin_.assign(kInitial + 1, 0);
  for (int32_t s : order) {
    for (int64_t t = range[s]; t < range[s + 1]; ++t) {
      tokens_.push_back(transitions[t].token);
      targets_.push_back(number[transitions[t].to]);
    }
    begin_.push_back(static_cast<int64_t>(tokens_.size()));
  }
}

std::vector<TokenTransition> TokenTable::transitions() const {
  std::vector<TokenTransition> transitions;
  transitions.reserve(tokens_.size());
  for (State s = kInitial; s < num_states(); ++s)
    for (int64_t t = begin_[s]; t < begin_[s + 1]; ++t)
      transitions.push_back({s - kInitial, tokens_[t], targets_[t] - kInitial});
  return transitions;
}

std::vector<int32_t> TokenTable::finals() const {
  std::vector<int32_t> finals;
  for (State s = kInitial; s < num_states(); ++s)
    if (is_final(s)) finals.push_back(s - kInitial);
  return finals;
}

inline State TokenTable::next(State state, Token token) const {
  if (std::binary_search(eos_ids_.begin(), eos_ids_.end(), token)) return after_eos(is_final(state), state);
  if (state == kFree) return kFree;
  const auto first = tokens_.begin() + begin_[state], last = tokens_.begin() + begin_[state + 1];
  const auto found = std::lower_bound(first, last, token);
  return found != last && *found == token ? targets_[found - tokens_.begin()] : kDead;
}

int64_t TokenTable::walk(const int32_t* tokens, int64_t count, State state, State* out) const {
  return walk_tokens(tokens, count, vocab_size_, state, out, [this](State s, Token t) { return next(s, t); });
}

int64_t TokenTable::walk(const int64_t* tokens, int64_t count, State state, State* out) const {
  return walk_tokens(tokens, count, vocab_size_, state, out, [this](State s, Token t) { return next(s, t); });
}

void TokenTable::fill_row(State state, uint32_t* row) const {
  for (int64_t t = begin_[state]; t < begin_[state + 1]; ++t) set_bit(row, tokens_[t]);
  if (is_final(state))
    for (Token eos : eos_ids_) set_bit(row, eos);
}

void TokenTable::list_moves(State state, std::vector<Move>& moves) const {
  moves.clear();
  for (int64_t t = begin_[state]; t < begin_[state + 1]; ++t) moves.push_back({tokens_[t], targets_[t]});
}

// A breadth-first search from the ends backwards.
std::vector<int32_t> TokenTable::distances() const {
  std::vector<int64_t> begin(num_states() + 1, 0);  // into `sources`: the states that lead to each, once a token
  for (State to : targets_) ++begin[to + 1];
  std::partial_sum(begin.begin(), begin.end(), begin.begin());
  std::vector<State> sources(targets_.size());
  std::vector<int64_t> cursor(begin.begin(), begin.end() - 1);
  for (State s = kInitial; s < num_states(); ++s)
    for (int64_t t = begin_[s]; t < begin_[s + 1]; ++t) sources[cursor[targets_[t]]++] = s;

  std::vector<int32_t> distances(num_states(), kNoWay);
  std::vector<State> reached;
  for (State s = kInitial; s < num_states(); ++s)
    if (is_final(s)) distances[s] = 0, reached.push_back(s);
  for (size_t i = 0; i < reached.size(); ++i)
    for (int64_t k = begin[reached[i]]; k < begin[reached[i] + 1]; ++k)
      if (distances[sources[k]] == kNoWay) distances[sources[k]] = distances[reached[i]] + 1, reached.push_back(sources[k]);
  distances[kFree] = distances[kDone] = 0;
  return distances;
}

size_t TokenTable::nbytes() const {
  return is_final_.size() + begin_.size() * sizeof(begin_[0]) + tokens_.size() * (sizeof(Token) + sizeof(State));
}

}  // namespace fastmask
