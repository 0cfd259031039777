// state → packed row. Rows are filled when first needed and kept once for each *distinct* allowed set.
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

#include "token_automaton.h"

namespace fastmask {

class MaskTable {
 public:
  explicit MaskTable(std::shared_ptr<const TokenAutomaton> automaton);

  int64_t words_per_row() const { return words_; }

  // Fills the rows that `states` need and that are not there yet, spread over the threads.
  // Throws Error{kTokenRange} for a state outside 0 … num_states-1.
  void prepare(const State* states, int64_t count);

  // The row of a prepared state: words_per_row() words, never all zero.
  const uint32_t* row(State state) const { return row_of_[state].load(std::memory_order_acquire); }

  int64_t num_rows() const;  // distinct rows so far
  size_t nbytes() const;

 private:
  using Row = std::unique_ptr<uint32_t[]>;

  Row make_row(State state) const;
  const uint32_t* intern(Row row);

  const std::shared_ptr<const TokenAutomaton> automaton_;
  const int64_t words_;
  std::unique_ptr<std::atomic<const uint32_t*>[]> row_of_;  // [num_states], null = not filled yet

  mutable std::mutex mutex_;
  std::unordered_multimap<uint64_t, Row> rows_by_hash_;  // under mutex_; owns the rows
};

}  // namespace fastmask
