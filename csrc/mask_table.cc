#include "mask_table.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <string_view>

#include "bitmask.h"
#include "error.h"
#include "thread_pool.h"

namespace fastmask {

MaskTable::MaskTable(std::shared_ptr<const TokenAutomaton> automaton)
    : automaton_(std::move(automaton)),
      words_(words_for(automaton_->vocab_size())),
      row_of_(new std::atomic<const uint32_t*>[automaton_->num_states()]) {
  for (State s = 0; s < automaton_->num_states(); ++s) row_of_[s].store(nullptr, std::memory_order_relaxed);
}

void MaskTable::prepare(const State* states, int64_t count) {
  std::vector<State> missing;
  for (int64_t i = 0; i < count; ++i) {
    if (static_cast<uint32_t>(states[i]) >= static_cast<uint32_t>(automaton_->num_states()))
      throw Error(ErrorKind::kTokenRange, "state " + std::to_string(states[i]) + " lies outside 0 … " +
                                              std::to_string(automaton_->num_states() - 1) +
                                              ", the states of this constraint");
    if (row(states[i]) == nullptr) missing.push_back(states[i]);
  }
  std::sort(missing.begin(), missing.end());
  missing.erase(std::unique(missing.begin(), missing.end()), missing.end());
  parallel_for(static_cast<int64_t>(missing.size()), 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      row_of_[missing[i]].store(intern(make_row(missing[i])), std::memory_order_release);
  });
}

MaskTable::Row MaskTable::make_row(State state) const {
  Row row(new uint32_t[words_]());
  if (state == kFree) {
    set_all_bits(row.get(), automaton_->vocab_size());
    return row;
  }
  if (state >= kInitial) automaton_->fill_row(state, row.get());
  // kDone and kDead allow EOS alone; so does a state whose next byte no token of the vocabulary can spell.
  const bool empty = std::all_of(row.get(), row.get() + words_, [](uint32_t word) { return word == 0; });
  if (empty)
    for (Token eos : automaton_->eos_ids()) set_bit(row.get(), eos);
  return row;
}

const uint32_t* MaskTable::intern(Row row) {
  const size_t bytes = words_ * sizeof(uint32_t);
  const auto hash = std::hash<std::string_view>{}({reinterpret_cast<const char*>(row.get()), bytes});
  std::lock_guard<std::mutex> lock(mutex_);
  const auto [first, last] = rows_by_hash_.equal_range(hash);
  for (auto it = first; it != last; ++it)
    if (std::memcmp(it->second.get(), row.get(), bytes) == 0) return it->second.get();
  return rows_by_hash_.emplace(hash, std::move(row))->second.get();
}

int64_t MaskTable::num_rows() const {
  std::lock_guard<std::mutex> lock(mutex_);
  return static_cast<int64_t>(rows_by_hash_.size());
}

size_t MaskTable::nbytes() const {
  return num_rows() * words_ * sizeof(uint32_t) + automaton_->num_states() * sizeof(row_of_[0]);
}

}  // namespace fastmask
