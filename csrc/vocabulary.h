// The bytes of every token, laid out for the walk. Immutable; any number of threads may read it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace fastmask {

using Token = int32_t;

class Vocabulary {
 public:
  // `offsets` [num_tokens + 1] cut `bytes` into tokens; a token with is_text 0 never stands for text (special
  // tokens). Ids from num_tokens to size-1 are columns of the logits without a token: they may come nowhere.
  // EOS ids end a text and are never text themselves. Throws Error{kInput} where the parts do not fit.
  Vocabulary(std::string bytes, const std::vector<int64_t>& offsets, const std::vector<uint8_t>& is_text,
             int64_t size, std::vector<Token> eos_ids);

  int64_t size() const { return static_cast<int64_t>(entries_.size()); }
  const std::vector<Token>& eos_ids() const { return eos_ids_; }  // ascending

  // What a token is: its bytes, or one of three kinds without any. One 8-byte load tells all.
  struct Entry {
    static constexpr uint32_t kAbsent = 0xffffffff, kSpecial = 0xfffffffe, kEos = 0xfffffffd;
    uint32_t begin = 0;         // into bytes()
    uint32_t length = kAbsent;  // or kSpecial, kEos
    bool is_text() const { return length < kEos; }
  };
  const Entry& entry(Token token) const { return entries_[token]; }
  const uint8_t* bytes(const Entry& entry) const {
    return reinterpret_cast<const uint8_t*>(bytes_.data()) + entry.begin;
  }
  // The bytes of `count` tokens in a row; special and EOS tokens have none. Throws Error{kTokenRange} for an id
  // outside 0 … size-1.
  std::string spell(const int32_t* tokens, int64_t count) const;
  // The rows, ascending, whose tokens spell other bytes than their text: row r is tokens[ends[r] … ends[r + 1] - 1].
  // Throws as `spell`.
  std::vector<int64_t> misspelled(const int32_t* tokens, const int64_t* ends,
                                  const std::vector<std::string_view>& texts) const;
  size_t num_bytes() const { return bytes_.size(); }  // of all tokens together
  size_t nbytes() const { return bytes_.size() + entries_.size() * sizeof(Entry); }

 private:
  std::string_view text(const int32_t* tokens, int64_t position) const;  // of one of a row of tokens
  bool spells(const int32_t* tokens, int64_t count, std::string_view text) const;

  std::string bytes_;
  std::vector<Entry> entries_;  // [size]
  std::vector<Token> eos_ids_;
};

}  // namespace fastmask
