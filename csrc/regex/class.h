// The parts of a pattern that stand for one character or one place: escapes and bracketed classes.
#pragma once

#include "charset.h"
#include "cursor.h"
#include "syntax.h"

namespace fastmask::regex {

// What a backslash and the characters after it mean.
struct Escape {
  enum class Kind { kCharacter, kSet, kLook } kind;
  uint32_t character = 0;
  bool is_byte = false;  // written \xNN: without the flag u, a byte rather than a character
  CharSet set;
  Look look{};
};

// The cursor stands on the backslash, afterwards behind the escape. Throws Error(kRegex).
Escape parse_escape(Cursor& cursor);

// A bracketed class and how deep brackets and set operations nest in it, itself included.
struct BracketedClass {
  CharSet set;
  int height;
};

// The cursor stands on the opening bracket, afterwards behind the closing one. Throws Error(kRegex).
BracketedClass parse_class(Cursor& cursor);

// A character as the flags make it: with its other cases under i.
CharSet with_flags(const CharSet& set, const Flags& flags);

// What ^ and $ mean under the flags.
Look line_start(const Flags& flags);
Look line_end(const Flags& flags);

}  // namespace fastmask::regex
