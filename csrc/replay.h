// The states of token rows that grow from call to call, as in generation, each call at the cost of what is new.
//
// The ids are the only truth: a row resumes where it parts from the row that had its number in the last call, so
// beams that change places, rejected speculation and a new batch are all replayed rightly. What was seen before is
// compared, at a fraction of a nanosecond a token, and never walked again. Any number of threads may call; they
// take turns.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "token_automaton.h"

namespace fastmask {

class Replay {
 public:
  // Rows are constrained from their first token on or, given `after`, behind the first occurrence of that token.
  Replay(std::shared_ptr<const TokenAutomaton> automaton, std::optional<int64_t> after)
      : automaton_(std::move(automaton)), after_(after) {}

  // What is found out about each row, [count]. A text is known by a number that is the same for equal tokens and, but
  // for a chance in 2^64, for no others.
  struct Reading {
    State* states;     // after its tokens
    uint64_t* before;  // the text but for its last token
    uint64_t* texts;   // the whole text
  };

  // Reads `count` rows of `length` tokens; row b is at tokens + b * stride.
  // Throws Error{kTokenRange} for a constrained token outside the vocabulary, naming the place.
  void read(const int64_t* tokens, int64_t stride, int64_t count, int64_t length, const Reading& reading);

 private:
  struct Row {
    std::vector<int64_t> tokens;
    std::vector<State> states;    // after each of them
    std::vector<uint64_t> texts;  // the text up to each of them, as a number
  };

  void read_row(Row& row, const int64_t* tokens, int64_t length, int64_t index) const;
  State initial() const { return after_ ? kFree : kInitial; }

  const std::shared_ptr<const TokenAutomaton> automaton_;
  const std::optional<int64_t> after_;
  std::mutex mutex_;
  std::vector<Row> rows_;  // under mutex_; of the last call
};

}  // namespace fastmask
