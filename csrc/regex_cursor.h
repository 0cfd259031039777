// A place in a pattern, the flags in force there, and the way to say that something is wrong with it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "regex_budget.h"

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
};

class Cursor {
 public:
  static constexpr uint32_t kEnd = UINT32_MAX;  // what stands behind the last character

  // Throws Error(kRegex) if `pattern` is not UTF-8.
  Cursor(std::string_view pattern, Budget& budget);

  bool at_end() const { return at_ == characters_.size(); }
  uint32_t now() const { return ahead(0); }
  uint32_t ahead(size_t distance) const {
    return at_ + distance < characters_.size() ? characters_[at_ + distance] : kEnd;
  }
  // The character after this one that counts. (In verbose mode a comment hides nothing but its `#`: so it is
  // in the dialect.)
  uint32_t ahead_that_counts() const;

  // Characters from the start.
  size_t offset() const { return at_; }
  void go_to(size_t offset) { at_ = offset; }

  // Both go one character on and tell whether there is one; `bump_and_skip` also passes what does not count.
  bool bump();
  bool bump_and_skip();
  void skip_what_does_not_count();

  // Passes `text` (ASCII) if it stands here.
  bool take(std::string_view text);

  // The characters from `begin` up to this place, as UTF-8.
  std::string text_since(size_t begin) const;

  // Throws Error(kRegex): at `offset` stands something where `expected` should; `advice` says what to do.
  [[noreturn]] void fail(size_t offset, const std::string& expected, const std::string& advice) const;

  Flags flags;
  Budget& budget;

 private:
  std::vector<uint32_t> characters_;
  size_t at_ = 0;
};

bool is_white_space(uint32_t character);

}  // namespace fastmask::regex
