#include "batch_walk.h"

#include <algorithm>
#include <numeric>
#include <string>

#include "bitmask.h"
#include "error.h"
#include "thread_pool.h"

namespace fastmask {
namespace {

// A chunk should outweigh the cost of handing it out (an atomic addition, a lock) many times over.
constexpr int64_t kTokensPerChunk = 1 << 12;
constexpr int64_t kBytesPerChunk = 1 << 18;

int64_t grain_for(int64_t per_chunk, int64_t per_item) {
  return std::max<int64_t>(1, per_chunk / std::max<int64_t>(1, per_item));
}

// `unit` and `index` name the state's place: "row", 3.
void require_state(State state, State num_states, const char* unit, int64_t index) {
  if (static_cast<uint32_t>(state) >= static_cast<uint32_t>(num_states))
    throw Error(ErrorKind::kTokenRange, "state " + std::to_string(state) + " at " + unit + " " + std::to_string(index) +
                                            " lies outside 0 … " + std::to_string(num_states - 1) +
                                            ", the states of this constraint");
}

// Index of the first constrained token, or -1 where the row has no start.
template <class TokenId>
int64_t start_of(const TokenId* tokens, int64_t length, const Start& start, int64_t row) {
  if (start.index == nullptr) {
    const TokenId* found = std::find(tokens, tokens + length, static_cast<TokenId>(start.after));
    return found == tokens + length ? -1 : found - tokens + 1;
  }
  if (start.index[row] < 0 || start.index[row] > length)
    throw Error(ErrorKind::kInput, "start " + std::to_string(start.index[row]) + " of row " + std::to_string(row) +
                                       " lies outside 0 … " + std::to_string(length) + ", the row's length");
  return start.index[row];
}

// The state of a row before its first constrained token.
State first_state(const TokenAutomaton& automaton, const Start& start, int64_t row) {
  if (start.states == nullptr) return kInitial;
  require_state(start.states[row], automaton.num_states(), "row", row);
  return start.states[row];
}

// Row `row` of the batch, at `tokens`; writes `width` states.
template <class TokenId>
void walk_row(const TokenAutomaton& automaton, const TokenRows<TokenId>& rows, const Start& starts, int64_t row,
              int64_t width, State* states) {
  const TokenId* tokens = rows.tokens + rows.offsets[row];
  const int64_t length = rows.lengths[row];
  const int64_t start = start_of(tokens, length, starts, row);
  const State first = first_state(automaton, starts, row);
  std::fill_n(states, start < 0 ? length : std::max<int64_t>(start - 1, 0), kFree);
  State last = kFree;
  if (start >= 0) {
    if (start > 0) states[start - 1] = first;
    const int64_t walked = automaton.walk(tokens + start, length - start, first, states + start);
    if (start + walked < length)
      throw_bad_token(tokens[start + walked], automaton.vocab_size(),
                      "row " + std::to_string(row) + ", position " + std::to_string(start + walked));
    last = length > 0 ? states[length - 1] : first;
  }
  std::fill(states + length, states + width, last);
}

void require_parent(int64_t parent, int64_t row, int64_t node) {
  if (parent < -1 || parent >= node)
    throw Error(ErrorKind::kInput, "parent " + std::to_string(parent) + " at row " + std::to_string(row) + ", node " +
                                       std::to_string(node) + " is none of the nodes before it, nor -1, the root");
}

template <class TokenId>
void walk_tree(const TokenAutomaton& automaton, State root, const TokenId* tokens, const int64_t* parents,
               int64_t width, int64_t row, State* states) {
  for (int64_t node = 0; node < width;) {
    require_parent(parents[node], row, node);
    int64_t end = node + 1;  // of the chain from this node on, which is walked in one call
    while (end < width && parents[end] == end - 1) ++end;
    const State before = parents[node] < 0 ? root : states[parents[node]];
    node += automaton.walk(tokens + node, end - node, before, states + node);
    if (node < end)
      throw_bad_token(tokens[node], automaton.vocab_size(),
                      "row " + std::to_string(row) + ", node " + std::to_string(node));
  }
}

}  // namespace

template <class TokenId>
void walk_rows(const TokenAutomaton& automaton, const TokenRows<TokenId>& rows, const Start& start, int64_t width,
               State* states) {
  parallel_for(rows.count, grain_for(kTokensPerChunk, width), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row)
      walk_row(automaton, rows, start, row, width, states + row * width);
  });
}

template <class TokenId>
void walk_lists(const TokenAutomaton& automaton, const TokenRows<TokenId>& rows, const Start& start, State* states) {
  if (rows.count == 0) return;
  const int64_t total = std::accumulate(rows.lengths, rows.lengths + rows.count, int64_t{0});
  parallel_for(rows.count, grain_for(kTokensPerChunk, total / rows.count), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row)
      walk_row(automaton, rows, start, row, rows.lengths[row], states + rows.offsets[row]);
  });
}

template <class TokenId>
void walk_trees(const TokenAutomaton& automaton, const TokenTrees<TokenId>& trees, State* states) {
  parallel_for(trees.count, grain_for(kTokensPerChunk, trees.width), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      require_state(trees.roots[row], automaton.num_states(), "row", row);
      const int64_t first = row * trees.width;
      walk_tree(automaton, trees.roots[row], trees.tokens + first, trees.parents + first, trees.width, row,
                states + first);
    }
  });
}

template <class TokenId>
void advance(const TokenAutomaton& automaton, const State* states, const TokenId* tokens, int64_t count, State* out) {
  parallel_for(count, kTokensPerChunk, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      require_state(states[i], automaton.num_states(), "position", i);
      if (automaton.walk(tokens + i, 1, states[i], out + i) == 0)
        throw_bad_token(tokens[i], automaton.vocab_size(), "position " + std::to_string(i));
    }
  });
}

void gather_packed(MaskTable& table, const State* states, int64_t count, uint32_t* out) {
  table.prepare(states, count);
  const int64_t words = words_for(table.vocab_size());
  parallel_for(count, grain_for(kBytesPerChunk, words * 4), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) table.row(states[i])->write_packed(out + i * words);
  });
}

void gather_bools(MaskTable& table, const State* states, int64_t count, uint8_t* out) {
  table.prepare(states, count);
  const int64_t vocab_size = table.vocab_size();
  parallel_for(count, grain_for(kBytesPerChunk, vocab_size), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) table.row(states[i])->write_bools(out + i * vocab_size);
  });
}

void gather_within(const TokenAutomaton& automaton, const int32_t* distances, const State* states,
                   const int64_t* limits, int64_t count, uint8_t* out) {
  const int64_t vocab_size = automaton.vocab_size();
  parallel_for(count, 1, [&](int64_t begin, int64_t end) {
    std::vector<Move> moves;
    for (int64_t i = begin; i < end; ++i) {
      uint8_t* row = out + i * vocab_size;
      std::fill_n(row, vocab_size, static_cast<uint8_t>(limits[i] >= 0 && states[i] == kFree));
      if (limits[i] < 0 || states[i] == kFree) continue;
      if (states[i] >= kInitial) automaton.list_moves(states[i], moves);
      for (const Move& move : moves) row[move.token] = distances[move.to] != kNoWay && distances[move.to] <= limits[i];
      if (automaton.is_final(states[i]))
        for (Token eos : automaton.eos_ids()) row[eos] = 1;
      moves.clear();
    }
  });
}

template <class Element>
void select_scores(MaskTable& table, const State* states, const int64_t* rows, int64_t count,
                   const Scores<Element>& scores, uint8_t* kept) {
  table.prepare(states, count);
  parallel_for(count, grain_for(kBytesPerChunk, scores.width * sizeof(Element)), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t at = (rows == nullptr ? i : rows[i]) * scores.width;
      kept[i] = table.row(states[i])->select(scores.in + at, scores.width, scores.forbidden, scores.out + at);
    }
  });
}

template void walk_rows(const TokenAutomaton&, const TokenRows<int32_t>&, const Start&, int64_t, State*);
template void walk_rows(const TokenAutomaton&, const TokenRows<int64_t>&, const Start&, int64_t, State*);
template void walk_lists(const TokenAutomaton&, const TokenRows<int32_t>&, const Start&, State*);
template void walk_lists(const TokenAutomaton&, const TokenRows<int64_t>&, const Start&, State*);
template void walk_trees(const TokenAutomaton&, const TokenTrees<int32_t>&, State*);
template void walk_trees(const TokenAutomaton&, const TokenTrees<int64_t>&, State*);
template void advance(const TokenAutomaton&, const State*, const int32_t*, int64_t, State*);
template void advance(const TokenAutomaton&, const State*, const int64_t*, int64_t, State*);
template void select_scores(MaskTable&, const State*, const int64_t*, int64_t, const Scores<uint16_t>&, uint8_t*);
template void select_scores(MaskTable&, const State*, const int64_t*, int64_t, const Scores<uint32_t>&, uint8_t*);
template void select_scores(MaskTable&, const State*, const int64_t*, int64_t, const Scores<uint64_t>&, uint8_t*);

}  // namespace fastmask
