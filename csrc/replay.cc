#include "replay.h"

#include <algorithm>
#include <cstring>
#include <string>

namespace fastmask {
namespace {

// How many tokens `seen` and the new row share at their beginning. Nearly always all that were seen.
int64_t shared_prefix(const std::vector<int64_t>& seen, const int64_t* tokens, int64_t length) {
  const int64_t common = std::min<int64_t>(static_cast<int64_t>(seen.size()), length);
  if (common == 0 || std::memcmp(seen.data(), tokens, common * sizeof(int64_t)) == 0) return common;
  return std::mismatch(tokens, tokens + common, seen.begin()).first - tokens;
}

}  // namespace

void Replay::read(const int64_t* tokens, int64_t stride, int64_t count, int64_t length, State* states) {
  std::lock_guard<std::mutex> lock(mutex_);
  rows_.resize(count);
  for (int64_t b = 0; b < count; ++b) states[b] = read_row(rows_[b], tokens + b * stride, length, b);
}

State Replay::read_row(Row& row, const int64_t* tokens, int64_t length, int64_t index) const {
  const int64_t known = shared_prefix(row.tokens, tokens, length);
  row.tokens.resize(known);  // what follows is added once it is walked
  row.states.resize(known);
  State state = known == 0 ? initial() : row.states.back();
  int64_t from = known;  // first token to be walked: a row that waits for its trigger skips to it
  if (after_ && state == kFree) {
    const int64_t* trigger = std::find(tokens + known, tokens + length, *after_);
    from = trigger - tokens;
    row.states.resize(from, kFree);
    if (from < length) row.states.push_back(state = kInitial), ++from;
  }
  row.states.resize(length);
  const int64_t walked = automaton_->walk(tokens + from, length - from, state, row.states.data() + from);
  if (from + walked < length)
    throw_bad_token(tokens[from + walked], automaton_->vocab_size(),
                    "row " + std::to_string(index) + ", generated token " + std::to_string(from + walked));
  row.tokens.insert(row.tokens.end(), tokens + known, tokens + length);
  return length == 0 ? initial() : row.states.back();
}

}  // namespace fastmask
