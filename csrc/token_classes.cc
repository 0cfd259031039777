#include "token_classes.h"

#include <algorithm>
#include <string>

#include "error.h"
#include "partition.h"
#include "thread_pool.h"

namespace fastmask {
namespace {

constexpr int64_t kStatesPerChunk = 4;  // rows differ widely in cost, so few to a chunk
constexpr int32_t kNone = -1;

// Splits the blocks of tokens by where one state leads them.
class Refiner {
 public:
  Refiner(const TokenAutomaton& automaton, Partition& blocks)
      : automaton_(automaton), blocks_(blocks), last_to_(automaton.num_states(), kNone) {}

  void refine(State state) {
    automaton_.list_moves(state, moves_);
    chain_by_target();
    for (State target : targets_) {
      for (int32_t i = last_to_[target]; i != kNone; i = previous_[i]) blocks_.mark(moves_[i].token);
      blocks_.split();
      last_to_[target] = kNone;
    }
  }

 private:
  void chain_by_target() {
    targets_.clear();
    previous_.resize(moves_.size());
    for (int32_t i = 0; i < static_cast<int32_t>(moves_.size()); ++i) {
      const State target = moves_[i].to;
      if (last_to_[target] == kNone) targets_.push_back(target);
      previous_[i] = last_to_[target];
      last_to_[target] = i;
    }
  }

  const TokenAutomaton& automaton_;
  Partition& blocks_;
  std::vector<Move> moves_;
  std::vector<int32_t> previous_;  // [moves]: the move before it to the same target
  std::vector<int32_t> last_to_;   // [num_states]: the last move to each target; kNone between two states
  std::vector<State> targets_;     // of the moves, each once
};

void require_within(int64_t max_bytes, int64_t num_states, int64_t num_classes, int64_t vocab_size) {
  const int64_t bytes = num_states * num_classes * int64_t{sizeof(State)} + vocab_size * int64_t{sizeof(int32_t)};
  if (bytes <= max_bytes) return;
  throw Error(ErrorKind::kCompileLimit,
              "the table of all transitions reached " + std::to_string(bytes) + " bytes (" +
                  std::to_string(num_states) + " states, " + std::to_string(num_classes) +
                  " classes of tokens or more), the limit is " + std::to_string(max_bytes) +
                  "; raise max_bytes, or make the format simpler (fewer states: lower counts in {m,n} or maxLength)");
}

// Blocks of tokens → classes: `outside`, which stands for all ids beyond the vocabulary, is of class 0.
TokenClasses number_classes(const Partition& blocks, Token outside) {
  std::vector<int32_t> number(blocks.num_blocks(), kNone);
  number[blocks.block_of(outside)] = 0;
  TokenClasses classes{1, std::vector<int32_t>(outside)};
  for (Token t = 0; t < outside; ++t) {
    int32_t& known = number[blocks.block_of(t)];
    if (known == kNone) known = classes.count++;
    classes.class_of[t] = known;
  }
  return classes;
}

void fill_row(const TokenAutomaton& automaton, const TokenClasses& classes, State state, std::vector<Move>& moves,
              State* row) {
  std::fill_n(row, classes.count, state == kFree ? kFree : kDead);
  if (state >= kInitial) {
    automaton.list_moves(state, moves);
    for (const Move& move : moves) row[classes.class_of[move.token]] = move.to;
  }
  for (Token eos : automaton.eos_ids()) row[classes.class_of[eos]] = after_eos(automaton.is_final(state), state);
}

}  // namespace

TokenClasses find_token_classes(const TokenAutomaton& automaton, int64_t max_bytes) {
  const auto outside = static_cast<Token>(automaton.vocab_size());
  Partition blocks(outside + 1);
  for (Token eos : automaton.eos_ids()) blocks.mark(eos);  // kDone tells them from all others
  blocks.split();
  Refiner refiner(automaton, blocks);
  InterruptCheck check_interrupt;
  for (State s = kInitial; s < automaton.num_states(); ++s) {
    check_interrupt();
    refiner.refine(s);
    require_within(max_bytes, automaton.num_states(), blocks.num_blocks(), automaton.vocab_size());
  }
  return number_classes(blocks, outside);
}

void fill_transitions(const TokenAutomaton& automaton, const TokenClasses& classes, State* next) {
  parallel_for(automaton.num_states(), kStatesPerChunk, [&](int64_t begin, int64_t end) {
    std::vector<Move> moves;
    for (int64_t s = begin; s < end; ++s)
      fill_row(automaton, classes, static_cast<State>(s), moves, next + s * classes.count);
  });
}

}  // namespace fastmask
