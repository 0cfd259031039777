// Sets of characters, and the Unicode properties that are such sets.
//
// A character is a Unicode scalar value: surrogates belong to no set. Operations are linear in the ranges.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

namespace fastmask::regex {

constexpr uint32_t kLastCharacter = 0x10FFFF;

struct Range {
  uint32_t low, high;  // both inclusive

  bool operator==(const Range& other) const { return low == other.low && high == other.high; }
};

class CharSet {
 public:
  CharSet() = default;
  explicit CharSet(std::vector<Range> ranges) : ranges_(std::move(ranges)) { normalise(); }
  static CharSet one(uint32_t character) { return CharSet({{character, character}}); }
  static CharSet all() { return CharSet({{0, kLastCharacter}}); }

  // Sorted, disjoint, with a gap between neighbours: equal sets have equal ranges.
  const std::vector<Range>& ranges() const { return ranges_; }
  bool empty() const { return ranges_.empty(); }
  bool contains(uint32_t character) const;

  CharSet complement() const;
  CharSet operator|(const CharSet& other) const;
  CharSet operator&(const CharSet& other) const;
  CharSet operator-(const CharSet& other) const { return *this & other.complement(); }
  CharSet operator^(const CharSet& other) const { return (*this | other) - (*this & other); }

  // With every character also those that differ from it only in case, by Unicode's simple folding; or only
  // among A-Z and a-z.
  CharSet case_folded() const;
  CharSet ascii_case_folded() const;

 private:
  void normalise();

  std::vector<Range> ranges_;
};

// \d \w \s, each in its Unicode sense.
const CharSet& unicode_digits();
const CharSet& unicode_words();
const CharSet& unicode_spaces();

// `\p{name}` or `\p{property=name}`; names match loosely (case, spaces, `_`, `-`, a leading "is" do not
// count). `property` is empty for the first form. nullopt: outlines-core knows no such name.
std::optional<CharSet> unicode_property(std::string_view property, std::string_view name);

// [:alnum:] and its like; nullopt for an unknown name.
std::optional<CharSet> ascii_class(std::string_view name);

}  // namespace fastmask::regex
