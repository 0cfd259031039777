#include "mask_table.h"

#include <algorithm>
#include <numeric>
#include <string>
#include <string_view>

#include "bitmask.h"
#include "error.h"
#include "thread_pool.h"

namespace fastmask {
namespace {

constexpr int64_t kStatesPerChunk = 4;  // rows differ widely in cost, so few to a chunk

}  // namespace

MaskTable::MaskTable(std::shared_ptr<const TokenAutomaton> automaton)
    : automaton_(std::move(automaton)), row_of_(new std::atomic<const MaskRow*>[automaton_->num_states()]) {
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
  parallel_for(static_cast<int64_t>(missing.size()), kStatesPerChunk, [&](int64_t begin, int64_t end) {
    std::vector<uint32_t> words;
    for (int64_t i = begin; i < end; ++i) {
      words.assign(words_for(vocab_size()), 0);
      fill_words(missing[i], words);
      row_of_[missing[i]].store(intern(words), std::memory_order_release);
    }
  });
}

void MaskTable::fill_words(State state, std::vector<uint32_t>& words) const {
  if (state == kFree) return set_all_bits(words.data(), vocab_size());
  if (state >= kInitial) automaton_->fill_row(state, words.data());
  // kDone and kDead allow EOS alone; so does a state whose next byte no token of the vocabulary can spell.
  const bool empty = std::all_of(words.begin(), words.end(), [](uint32_t word) { return word == 0; });
  if (empty)
    for (Token eos : automaton_->eos_ids()) set_bit(words.data(), eos);
}

const MaskRow* MaskTable::intern(const std::vector<uint32_t>& words) {
  MaskRow row(words.data(), vocab_size());
  const size_t hash = std::hash<std::string_view>{}(
      {reinterpret_cast<const char*>(words.data()), words.size() * sizeof(uint32_t)});
  std::lock_guard<std::mutex> lock(mutex_);
  const auto [first, last] = rows_by_hash_.equal_range(hash);
  for (auto it = first; it != last; ++it)
    if (it->second == row) return &it->second;
  row_bytes_ += row.nbytes();
  return &rows_by_hash_.emplace(hash, std::move(row))->second;
}

std::vector<int32_t> MaskTable::row_numbers() {
  std::vector<State> states(automaton_->num_states());
  std::iota(states.begin(), states.end(), 0);
  prepare(states.data(), static_cast<int64_t>(states.size()));
  std::unordered_map<const MaskRow*, int32_t> number_of;
  std::vector<int32_t> numbers;
  for (State s : states) {
    const auto met = number_of.emplace(row(s), static_cast<int32_t>(number_of.size()));
    numbers.push_back(met.first->second);
  }
  return numbers;
}

int64_t MaskTable::num_rows() const {
  std::lock_guard<std::mutex> lock(mutex_);
  return static_cast<int64_t>(rows_by_hash_.size());
}

size_t MaskTable::nbytes() const {
  std::lock_guard<std::mutex> lock(mutex_);
  return row_bytes_ + automaton_->num_states() * sizeof(row_of_[0]);
}

}  // namespace fastmask
