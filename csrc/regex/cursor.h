// A place in a pattern, the flags in force there, and the way to say that something is wrong with it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "budget.h"

namespace fastmask::regex {

// Deepest nesting of groups, repetitions, alternatives and classes; outlines-core has the same.
constexpr int kDeepest = 250;

struct Flags {
  bool ignore_case = false;  // i
  bool multi_line = false;   // m: ^ and $ also at line ends
  bool dot_all = false;      // s: . also matches a newline
  bool swap_greed = false;   // U: x* is lazy, x*? greedy
  bool unicode = true;       // u: off, classes are ASCII ones
  bool crlf = false;         // R: a line ends with \r, \n or \r\n
  bool verbose = false;      // x: white space and #-comments do not count

  bool operator==(const Flags& other) const {
    return ignore_case == other.ignore_case && multi_line == other.multi_line && dot_all == other.dot_all &&
           swap_greed == other.swap_greed && unicode == other.unicode && crlf == other.crlf &&
           verbose == other.verbose;
  }
};

class Cursor {
 public:
  static constexpr uint32_t kEnd = UINT32_MAX;  // what stands behind the last character

  // Keeps the view, not a copy. Throws Error(kRegex) if `pattern` is not UTF-8.
  Cursor(std::string_view pattern, Budget& budget);

  bool at_end() const { return at_ == text_.size(); }
  uint32_t now() const { return character_at(at_); }
  uint32_t next() const { return character_at(behind(at_)); }
  // The next character that counts. (In verbose mode a comment hides nothing but its `#`: so it is in the
  // dialect.)
  uint32_t next_that_counts() const;

  // In bytes from the start; only ever used to come back, and to say where something is.
  size_t offset() const { return at_; }
  void go_to(size_t offset) { at_ = offset; }

  // Both go one character on and tell whether there is one; `bump_and_skip` also passes what does not count.
  bool bump();
  bool bump_and_skip();
  void skip_what_does_not_count();

  // Passes `text` (ASCII) if it stands here.
  bool take(std::string_view text);

  std::string_view rest() const { return text_.substr(at_); }
  // What stands from `begin` up to this place.
  std::string_view text_since(size_t begin) const { return text_.substr(begin, at_ - begin); }

  // Throws Error(kRegex): at `offset` stands something where `expected` should; `advice` says what to do. The
  // message counts in characters.
  [[noreturn]] void fail(size_t offset, const std::string& expected, const std::string& advice) const;

  Flags flags;
  Budget& budget;

 private:
  uint32_t character_at(size_t at) const;
  size_t behind(size_t at) const;

  std::string_view text_;
  size_t at_ = 0;
};

bool is_white_space(uint32_t character);

}  // namespace fastmask::regex
