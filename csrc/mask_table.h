// state → mask. Rows are filled when first needed and kept once for each *distinct* allowed set.
//
// Thread-safe: any number of threads may call anything at once. A row, once there, never moves or changes.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "mask_row.h"
#include "token_automaton.h"

namespace fastmask {

class MaskTable {
 public:
  explicit MaskTable(std::shared_ptr<const TokenAutomaton> automaton);

  int64_t vocab_size() const { return automaton_->vocab_size(); }

  // Fills the rows that `states` need and that are not there yet, spread over the threads.
  // Throws Error{kTokenRange} for a state outside 0 … num_states-1.
  void prepare(const State* states, int64_t count);

  // The row of a prepared state, never empty of tokens; null for a state not prepared.
  const MaskRow* row(State state) const { return row_of_[state].load(std::memory_order_acquire); }

  // Which of the distinct rows each state has, numbered in the order of the states that first have them: [num_states].
  // Prepares all states.
  std::vector<int32_t> row_numbers();

  int64_t num_rows() const;  // distinct rows so far
  size_t nbytes() const;

 private:
  void fill_words(State state, std::vector<uint32_t>& words) const;
  const MaskRow* intern(const std::vector<uint32_t>& words);

  const std::shared_ptr<const TokenAutomaton> automaton_;
  std::unique_ptr<std::atomic<const MaskRow*>[]> row_of_;  // [num_states], null = not filled yet

  mutable std::mutex mutex_;
  std::unordered_multimap<size_t, MaskRow> rows_by_hash_;  // under mutex_; owns the rows, which never move
  size_t row_bytes_ = 0;                                   // under mutex_
};

}  // namespace fastmask
