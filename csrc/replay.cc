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

constexpr uint64_t kEmptyText = 0x243f6a8885a308d3;  // any number will do

// One token more: the finaliser of splitmix64 (Steele, Lea and Flood, OOPSLA 2014) over what came before.
uint64_t text_with(uint64_t text, int64_t token) {
  uint64_t z = text + 0x9e3779b97f4a7c15 * (static_cast<uint64_t>(token) + 1);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

}  // namespace

void Replay::read(const int64_t* tokens, int64_t stride, int64_t count, int64_t length, const Reading& reading) {
  std::lock_guard<std::mutex> lock(mutex_);
  rows_.resize(count);
  for (int64_t b = 0; b < count; ++b) {
    Row& row = rows_[b];
    read_row(row, tokens + b * stride, length, b);
    reading.states[b] = length == 0 ? initial() : row.states.back();
    reading.texts[b] = length == 0 ? kEmptyText : row.texts.back();
    reading.before[b] = length <= 1 ? kEmptyText : row.texts[length - 2];
  }
}

void Replay::read_row(Row& row, const int64_t* tokens, int64_t length, int64_t index) const {
  const int64_t known = shared_prefix(row.tokens, tokens, length);
  row.tokens.resize(known);  // what follows is added once it is walked
  row.states.resize(known);
  row.texts.resize(known);
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
  for (int64_t t = known; t < length; ++t)
    row.texts.push_back(text_with(t == 0 ? kEmptyText : row.texts[t - 1], tokens[t]));
}

}  // namespace fastmask
