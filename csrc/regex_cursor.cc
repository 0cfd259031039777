#include "regex_cursor.h"

#include "error.h"
#include "regex_charset.h"

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

void append_utf8(std::string& text, uint32_t character) {
  if (character < 0x80) {
    text += static_cast<char>(character);
    return;
  }
  const int more = character < 0x800 ? 1 : character < 0x10000 ? 2 : 3;
  constexpr uint32_t kLead[] = {0, 0xC0, 0xE0, 0xF0};
  text += static_cast<char>(kLead[more] | character >> 6 * more);
  for (int i = more - 1; i >= 0; --i) text += static_cast<char>(0x80 | (character >> 6 * i & 0x3F));
}

}  // namespace

Cursor::Cursor(std::string_view pattern, Budget& budget) : budget(budget) {
  characters_.reserve(pattern.size());
  for (size_t at = 0; at < pattern.size();) {
    const uint32_t character = decode(pattern, at);
    if (character == kEnd) {
      throw Error(ErrorKind::kRegex, "the pattern is not UTF-8 behind its character " +
                                         std::to_string(characters_.size()) + "; encode it as UTF-8");
    }
    characters_.push_back(character);
  }
}

uint32_t Cursor::ahead_that_counts() const {
  if (!flags.verbose) return ahead(1);
  bool comment = false;
  for (size_t distance = 1; ahead(distance) != kEnd; ++distance) {
    const uint32_t character = ahead(distance);
    if (is_white_space(character)) continue;
    if (comment || character != '#') return character;
    comment = true;
  }
  return ahead(1);
}

bool Cursor::bump() {
  if (at_end()) return false;
  ++at_;
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
  for (size_t i = 0; i < text.size(); ++i) {
    if (ahead(i) != static_cast<unsigned char>(text[i])) return false;
  }
  at_ += text.size();
  return true;
}

std::string Cursor::text_since(size_t begin) const {
  std::string text;
  for (size_t i = begin; i < at_; ++i) append_utf8(text, characters_[i]);
  return text;
}

void Cursor::fail(size_t offset, const std::string& expected, const std::string& advice) const {
  std::string found = "the end of the pattern";
  if (offset < characters_.size()) {
    found = "`";
    append_utf8(found, characters_[offset]);
    found += "`";
  }
  throw Error(ErrorKind::kRegex, "the pattern is refused at character " + std::to_string(offset) + ": found " + found +
                                     ", expected " + expected + "; " + advice);
}

bool is_white_space(uint32_t character) {
  if (character < 0x80) return character == ' ' || (character >= '\t' && character <= '\r');
  return character != Cursor::kEnd && unicode_spaces().contains(character);
}

}  // namespace fastmask::regex
