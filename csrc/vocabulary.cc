#include "vocabulary.h"

#include <algorithm>

#include "error.h"

namespace fastmask {
namespace {

void require(bool condition, const std::string& what) {
  if (!condition) throw Error(ErrorKind::kInput, what);
}

}  // namespace

Vocabulary::Vocabulary(std::string bytes, const std::vector<int64_t>& offsets, const std::vector<uint8_t>& is_text,
                       int64_t size, std::vector<Token> eos_ids)
    : bytes_(std::move(bytes)), eos_ids_(std::move(eos_ids)) {
  const auto num_tokens = static_cast<int64_t>(is_text.size());
  require(offsets.size() == is_text.size() + 1, "a vocabulary needs one more offset than tokens");
  require(size >= num_tokens && size > 0 && size < INT32_MAX, "the vocabulary's size does not cover its tokens");
  require(bytes_.size() < Entry::kEos, "the tokens' bytes exceed 4 GiB");
  require(std::is_sorted(offsets.begin(), offsets.end()) && offsets.front() == 0 &&
              offsets.back() == static_cast<int64_t>(bytes_.size()),
          "the tokens' offsets do not cut up their bytes");

  entries_.resize(size);
  for (int64_t t = 0; t < num_tokens; ++t)
    entries_[t] = {static_cast<uint32_t>(offsets[t]),
                   is_text[t] ? static_cast<uint32_t>(offsets[t + 1] - offsets[t]) : Entry::kSpecial};
  std::sort(eos_ids_.begin(), eos_ids_.end());
  for (Token eos : eos_ids_) {
    require(eos >= 0 && eos < size, "an EOS id lies outside the vocabulary");
    entries_[eos].length = Entry::kEos;
  }
}

std::string_view Vocabulary::text(const int32_t* tokens, int64_t position) const {
  const int32_t token = tokens[position];
  if (token < 0 || token >= size())
    throw Error(ErrorKind::kTokenRange, "token id " + std::to_string(token) + " at position " +
                                            std::to_string(position) + " lies outside 0 … " +
                                            std::to_string(size() - 1) + ", the vocabulary");
  const Entry& entry = entries_[token];
  return entry.is_text() ? std::string_view(bytes_).substr(entry.begin, entry.length) : std::string_view();
}

std::string Vocabulary::spell(const int32_t* tokens, int64_t count) const {
  std::string spelled;
  for (int64_t i = 0; i < count; ++i) spelled += text(tokens, i);
  return spelled;
}

bool Vocabulary::spells(const int32_t* tokens, int64_t count, std::string_view expected) const {
  for (int64_t i = 0; i < count; ++i) {
    const std::string_view next = text(tokens, i);
    if (expected.substr(0, next.size()) != next) return false;
    expected.remove_prefix(next.size());
  }
  return expected.empty();
}

std::vector<int64_t> Vocabulary::misspelled(const int32_t* tokens, const int64_t* ends,
                                            const std::vector<std::string_view>& texts) const {
  std::vector<int64_t> rows;
  for (int64_t row = 0; row < static_cast<int64_t>(texts.size()); ++row)
    if (!spells(tokens + ends[row], ends[row + 1] - ends[row], texts[row])) rows.push_back(row);
  return rows;
}

}  // namespace fastmask
