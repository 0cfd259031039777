// Escapes: \n \x41 \d \p{Greek} \z and their like.
#include <string>

#include "class.h"

namespace fastmask::regex {
namespace {

constexpr const char* kKnownEscapes =
    "an escape of this dialect: \\d \\w \\s and their capitals, \\p{…}, \\xNN, \\u{…}, \\n \\r \\t \\f \\v \\a, "
    "\\A \\z, or a punctuation mark";

bool is_alphanumeric(uint32_t c) {
  return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

int hex_value(uint32_t c) {
  if (c >= '0' && c <= '9') return static_cast<int>(c - '0');
  if (c >= 'a' && c <= 'f') return static_cast<int>(c - 'a') + 10;
  if (c >= 'A' && c <= 'F') return static_cast<int>(c - 'A') + 10;
  return -1;
}

Escape character(uint32_t c, bool is_byte = false) { return {Escape::Kind::kCharacter, c, is_byte, {}, {}}; }
Escape set_of(CharSet set) { return {Escape::Kind::kSet, 0, false, std::move(set), {}}; }
Escape assertion(Look look) { return {Escape::Kind::kLook, 0, false, {}, look}; }

class EscapeParser {
 public:
  explicit EscapeParser(Cursor& cursor) : cursor_(cursor), begin_(cursor.offset()) {}

  Escape parse();

 private:
  Escape hex();
  uint32_t hex_digits(int count);
  uint32_t hex_braced();
  uint32_t hex_digit();
  Escape perl_class();
  Escape unicode_class();
  Escape named_class(size_t name_begin, const std::string& name, bool negated);
  Escape word_boundary(Look look);
  Look special_word_boundary();

  Cursor& cursor_;
  const size_t begin_;
};

Escape EscapeParser::parse() {
  if (!cursor_.bump()) cursor_.fail(cursor_.offset(), kKnownEscapes, "write \\\\ for a backslash");
  const uint32_t c = cursor_.now();
  if (c >= '0' && c <= '9') {
    cursor_.fail(cursor_.offset(), "no digit after a backslash",
                 "back-references and octal are not supported; write \\x{…} for a character by its number");
  }
  switch (c) {
    case 'x': case 'u': case 'U': return hex();
    case 'p': case 'P': return unicode_class();
    case 'd': case 's': case 'w': case 'D': case 'S': case 'W': return perl_class();
    default: break;
  }
  cursor_.bump();
  switch (c) {
    case 'a': return character(0x07);
    case 'f': return character(0x0C);
    case 't': return character('\t');
    case 'n': return character('\n');
    case 'r': return character('\r');
    case 'v': return character(0x0B);
    case 'A': return assertion(Look::kStartText);
    case 'z': return assertion(Look::kEndText);
    case 'b': return word_boundary(cursor_.now() == '{' ? special_word_boundary() : Look::kWordBoundary);
    case 'B': return word_boundary(Look::kNotWordBoundary);
    case '<': return word_boundary(Look::kWordStart);
    case '>': return word_boundary(Look::kWordEnd);
    default: break;
  }
  if (c >= 0x80 || is_alphanumeric(c)) {
    cursor_.fail(begin_ + 1, kKnownEscapes, "drop the backslash if the character itself is meant");
  }
  return character(c);
}

Escape EscapeParser::hex() {
  const uint32_t kind = cursor_.now();
  cursor_.bump_and_skip();
  const size_t digits = cursor_.offset();
  const bool braced = cursor_.now() == '{';
  const uint32_t value = braced ? hex_braced() : hex_digits(kind == 'x' ? 2 : kind == 'u' ? 4 : 8);
  if (value > kLastCharacter || (value >= 0xD800 && value < 0xE000)) {
    cursor_.fail(digits, "the number of a character, up to 10FFFF and outside D800-DFFF",
                 "write the number of a Unicode scalar value");
  }
  return character(value, kind == 'x' && !braced);
}

uint32_t EscapeParser::hex_digits(int count) {
  uint32_t value = 0;
  for (int i = 0; i < count; ++i) {
    value = value << 4 | hex_digit();
    cursor_.bump_and_skip();
  }
  return value;
}

uint32_t EscapeParser::hex_braced() {
  uint32_t value = 0;
  cursor_.bump_and_skip();
  if (cursor_.now() == '}') hex_digit();  // at least one; this says so
  while (cursor_.now() != '}') {
    const uint32_t digit = hex_digit();
    if (value <= kLastCharacter) value = value << 4 | digit;
    cursor_.bump_and_skip();
  }
  cursor_.bump_and_skip();
  return value;
}

uint32_t EscapeParser::hex_digit() {
  const int value = hex_value(cursor_.now());
  if (value < 0) {
    cursor_.fail(cursor_.offset(), "a hexadecimal digit",
                 "the forms are \\x41, \\u0041, \\U00000041 and \\x{41}");
  }
  return static_cast<uint32_t>(value);
}

Escape EscapeParser::perl_class() {
  const uint32_t letter = cursor_.now();
  const uint32_t kind = letter | 0x20;
  cursor_.bump();
  CharSet set;
  if (cursor_.flags.unicode) {
    set = kind == 'd' ? unicode_digits() : kind == 's' ? unicode_spaces() : unicode_words();
  } else {
    set = *ascii_class(kind == 'd' ? "digit" : kind == 's' ? "space" : "word");
  }
  if (letter == kind) return set_of(std::move(set));
  if (!cursor_.flags.unicode) {
    cursor_.fail(begin_, "a class of ASCII characters while the flag u is off",
                 "this one would match single bytes of longer characters; leave u on for it");
  }
  return set_of(set.complement());
}

Escape EscapeParser::unicode_class() {
  const bool negated = cursor_.now() == 'P';
  cursor_.bump_and_skip();
  const bool braced = cursor_.now() == '{';
  const size_t begin = cursor_.offset() + braced;
  std::string name;
  if (braced) {
    while (cursor_.bump_and_skip() && cursor_.now() != '}') {
      name += cursor_.now() < 0x80 ? static_cast<char>(cursor_.now()) : '\x80';  // no name has a non-ASCII character
    }
    if (cursor_.at_end()) cursor_.fail(cursor_.offset(), "`}`", "close the property's name as in \\p{Greek}");
    cursor_.bump();
  } else {
    if (cursor_.at_end() || cursor_.now() == '\\') {
      cursor_.fail(begin, "a general category's letter or `{`", "the forms are \\pL and \\p{Greek}");
    }
    if (cursor_.now() < 0x80) name = static_cast<char>(cursor_.now());
    cursor_.bump_and_skip();
  }
  return named_class(begin, name, negated);
}

Escape EscapeParser::named_class(size_t name_begin, const std::string& name, bool negated) {
  if (!cursor_.flags.unicode) {
    cursor_.fail(begin_, "no Unicode property while the flag u is off", "leave u on for it");
  }
  size_t separator = name.find("!=");
  const size_t width = separator == std::string::npos ? 1 : 2;
  if (width == 1) separator = name.find(':');
  if (separator == std::string::npos) separator = name.find('=');
  std::optional<CharSet> set;
  if (separator == std::string::npos) {
    set = unicode_property({}, name);
  } else if (separator > 0) {
    set = unicode_property(std::string_view(name).substr(0, separator),
                           std::string_view(name).substr(separator + width));
  }
  if (!set) {
    cursor_.fail(name_begin, "a Unicode property",
                 "known are general categories (\\p{Lu}), scripts (\\p{Greek}, \\p{scx=Greek}), binary properties "
                 "(\\p{Alphabetic}), age, gcb, wb and sb");
  }
  CharSet result = with_flags(*set, cursor_.flags);
  return set_of(negated ? result.complement() : std::move(result));
}

Escape EscapeParser::word_boundary(Look look) {
  if (cursor_.flags.unicode) {
    cursor_.fail(begin_, "no Unicode word boundary",
                 "say what may stand there instead, or write (?-u:\\b) for a boundary between ASCII words");
  }
  return assertion(look);
}

// At the brace of \b{start} and its like, or of a counted repetition of \b.
Look EscapeParser::special_word_boundary() {
  const size_t brace = cursor_.offset();
  const auto is_name = [](uint32_t c) { return c == '-' || (is_alphanumeric(c) && (c < '0' || c > '9')); };
  cursor_.bump_and_skip();
  if (!cursor_.at_end() && !is_name(cursor_.now())) {
    cursor_.go_to(brace);
    return Look::kWordBoundary;
  }
  std::string name;
  for (; is_name(cursor_.now()); cursor_.bump_and_skip()) name += static_cast<char>(cursor_.now());
  if (cursor_.now() == '}') {
    cursor_.bump();
    if (name == "start") return Look::kWordStart;
    if (name == "end") return Look::kWordEnd;
    if (name == "start-half") return Look::kWordStartHalf;
    if (name == "end-half") return Look::kWordEndHalf;
  }
  cursor_.fail(brace, "{start}, {end}, {start-half}, {end-half} or a count", "correct the braces after \\b");
}

}  // namespace

Escape parse_escape(Cursor& cursor) { return EscapeParser(cursor).parse(); }

CharSet with_flags(const CharSet& set, const Flags& flags) {
  if (!flags.ignore_case) return set;
  return flags.unicode ? set.case_folded() : set.ascii_case_folded();
}

Look line_start(const Flags& flags) {
  if (!flags.multi_line) return Look::kStartText;
  return flags.crlf ? Look::kStartLineCrlf : Look::kStartLine;
}

Look line_end(const Flags& flags) {
  if (!flags.multi_line) return Look::kEndText;
  return flags.crlf ? Look::kEndLineCrlf : Look::kEndLine;
}

}  // namespace fastmask::regex
