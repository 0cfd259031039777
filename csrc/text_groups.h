// Groups of characters that automata of real formats treat alike. A state that stays where it is on a whole
// group (inside a JSON string, say) allows every token made of that group, without a look at its bytes: the
// trie knows which groups occur below a node, the automaton on which groups a state loops.
//
// Groups are of characters, not bytes, so that "any character from U+00A0 on" is one of them: its bytes lead
// through other states and back. They are a means of speed only and decide nothing about the result.
#pragma once

#include <cstdint>

namespace fastmask {

using TextGroups = uint8_t;  // a set: one bit a group

constexpr TextGroups kSpaceGroup = 1, kQuoteGroup = 2, kBackslashGroup = 4, kDigitGroup = 8, kLetterGroup = 16,
                     kPunctuationGroup = 32;
constexpr TextGroups kBeyondLatin1ControlsGroup = 64;  // characters from U+00A0 on, also if cut off by the token's end
constexpr TextGroups kOtherGroup = 128;                // control characters and bytes that are no UTF-8

constexpr TextGroups ascii_group(uint8_t byte) {
  if (byte == ' ') return kSpaceGroup;
  if (byte == '"') return kQuoteGroup;
  if (byte == '\\') return kBackslashGroup;
  if (byte >= '0' && byte <= '9') return kDigitGroup;
  if ((byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z')) return kLetterGroup;
  return byte > ' ' && byte < 0x7f ? kPunctuationGroup : kOtherGroup;
}

// A range of bytes at one place of a character's UTF-8 form.
struct ByteRange {
  uint8_t first, last;
};

// All characters from U+00A0 on as sequences of byte ranges (The Unicode Standard, table 3-7, without the C1
// controls); `length` of the four ranges are used.
struct Utf8Sequence {
  int length;
  ByteRange ranges[4];
};
constexpr Utf8Sequence kBeyondLatin1Controls[] = {
    {2, {{0xc2, 0xc2}, {0xa0, 0xbf}}},
    {2, {{0xc3, 0xdf}, {0x80, 0xbf}}},
    {3, {{0xe0, 0xe0}, {0xa0, 0xbf}, {0x80, 0xbf}}},
    {3, {{0xe1, 0xec}, {0x80, 0xbf}, {0x80, 0xbf}}},
    {3, {{0xed, 0xed}, {0x80, 0x9f}, {0x80, 0xbf}}},
    {3, {{0xee, 0xef}, {0x80, 0xbf}, {0x80, 0xbf}}},
    {4, {{0xf0, 0xf0}, {0x90, 0xbf}, {0x80, 0xbf}, {0x80, 0xbf}}},
    {4, {{0xf1, 0xf3}, {0x80, 0xbf}, {0x80, 0xbf}, {0x80, 0xbf}}},
    {4, {{0xf4, 0xf4}, {0x80, 0x8f}, {0x80, 0xbf}, {0x80, 0xbf}}},
};

// Reads bytes one at a time and tells the group that each belongs to.
class GroupReader {
 public:
  // At the beginning of a character, with nothing malformed before?
  bool at_boundary() const { return sequence_ == nullptr && !malformed_; }

  TextGroups read(uint8_t byte) {
    if (malformed_) return kOtherGroup;
    if (sequence_ == nullptr) return begin_character(byte);
    return continue_character(byte);
  }

 private:
  TextGroups begin_character(uint8_t byte) {
    if (byte < 0x80) return ascii_group(byte);
    for (const Utf8Sequence& sequence : kBeyondLatin1Controls)
      if (byte >= sequence.ranges[0].first && byte <= sequence.ranges[0].last) {
        sequence_ = &sequence;
        place_ = 1;
        return kBeyondLatin1ControlsGroup;
      }
    malformed_ = true;
    return kOtherGroup;
  }

  TextGroups continue_character(uint8_t byte) {
    const ByteRange range = sequence_->ranges[place_];
    malformed_ = byte < range.first || byte > range.last;
    if (malformed_) return kOtherGroup;
    if (++place_ == sequence_->length) sequence_ = nullptr;
    return kBeyondLatin1ControlsGroup;
  }

  const Utf8Sequence* sequence_ = nullptr;  // the character being read, null at a boundary
  int place_ = 0;                           // bytes of it already read
  bool malformed_ = false;                  // stays so: what follows is never told apart
};

}  // namespace fastmask
