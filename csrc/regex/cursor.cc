#include "cursor.h"

#include "../error.h"
#include "charset.h"

namespace fastmask::regex {
namespace {

// Decodes one character at `at` and moves `at` behind it; Cursor::kEnd where it is not UTF-8.
uint32_t decode(std::string_view text, size_t& at) {
  const auto lead = static_cast<unsigned char>(text[at++]);
  if (lead < 0x80) return lead;
  const int more = lead >= 0xF0 ? 3 : lead >= 0xE0 ? 2 : 1;
  if (lead < 0xC2 || lead > 0xF4 || text.size() - at < static_cast<size_t>(more)) return Cursor::kEnd;
  uint32_t character = lead & (0x3Fu >> more);
  for (int i = 0; i < more; ++i) {
    const auto byte = static_cast<unsigned char>(text[at++]);
    if ((byte & 0xC0) != 0x80) return Cursor::kEnd;
    character = character << 6 | (byte & 0x3F);
  }
  constexpr uint32_t kSmallest[] = {0, 0x80, 0x800, 0x10000};
  const bool surrogate = character >= 0xD800 && character < 0xE000;
  return character < kSmallest[more] || character > kLastCharacter || surrogate ? Cursor::kEnd : character;
}

}  // namespace

Cursor::Cursor(std::string_view pattern, Budget& budget) : budget(budget), text_(pattern) {
  size_t characters = 0;
  for (size_t at = 0; at < pattern.size(); ++characters) {
    if (decode(pattern, at) != kEnd) continue;
    throw Error(ErrorKind::kRegex, "the pattern is not UTF-8 behind its character " + std::to_string(characters) +
                                       "; encode it as UTF-8");
  }
  budget.work(static_cast<int64_t>(pattern.size()));
}

uint32_t Cursor::character_at(size_t at) const { return at < text_.size() ? decode(text_, at) : kEnd; }

size_t Cursor::behind(size_t at) const {
  if (at < text_.size()) decode(text_, at);
  return at;
}

uint32_t Cursor::next_that_counts() const {
  if (!flags.verbose) return next();
  bool comment = false;
  for (size_t at = behind(at_); at < text_.size(); at = behind(at)) {
    const uint32_t character = character_at(at);
    if (is_white_space(character)) continue;
    if (comment || character != '#') return character;
    comment = true;
  }
  return next();
}

bool Cursor::bump() {
  at_ = behind(at_);
  return !at_end();
}

bool Cursor::bump_and_skip() {
  if (!bump()) return false;
  skip_what_does_not_count();
  return !at_end();
}

void Cursor::skip_what_does_not_count() {
  if (!flags.verbose) return;
  while (is_white_space(now()) || now() == '#') {
    if (now() == '#') {
      while (now() != '\n' && bump()) {
      }
    }
    bump();
  }
}

bool Cursor::take(std::string_view text) {
  if (text_.compare(at_, text.size(), text) != 0) return false;
  at_ += text.size();
  return true;
}

void Cursor::fail(size_t offset, const std::string& expected, const std::string& advice) const {
  size_t characters = 0;
  for (size_t at = 0; at < offset; ++characters) decode(text_, at);
  const std::string found =
      offset == text_.size() ? "the end of the pattern"
                             : "`" + std::string(text_.substr(offset, behind(offset) - offset)) + "`";
  throw Error(ErrorKind::kRegex, "the pattern is refused at character " + std::to_string(characters) + ": found " +
                                     found + ", expected " + expected + "; " + advice);
}

bool is_white_space(uint32_t character) {
  if (character < 0x80) return character == ' ' || (character >= '\t' && character <= '\r');
  return character != Cursor::kEnd && unicode_spaces().contains(character);
}

}  // namespace fastmask::regex
