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

std::string Vocabulary::spell(const int32_t* tokens, int64_t count) const {
  std::string text;
  for (int64_t i = 0; i < count; ++i) {
    if (tokens[i] < 0 || tokens[i] >= size())
      throw Error(ErrorKind::kTokenRange, "token id " + std::to_string(tokens[i]) + " at position " + std::to_string(i) +
                                              " lies outside 0 … " + std::to_string(size() - 1) + ", the vocabulary");
    const Entry& entry = entries_[tokens[i]];
    if (entry.is_text()) text.append(bytes_, entry.begin, entry.length);
  }
  return text;
}

}  // namespace fastmask
