#include "charset.h"

#include <algorithm>

namespace fastmask::regex {
namespace {

constexpr Range kSurrogates{0xD800, 0xDFFF};

struct AsciiClass {
  std::string_view name;
  std::vector<Range> ranges;
};

const std::vector<AsciiClass>& ascii_classes() {
  static const std::vector<AsciiClass> classes = {
      {"alnum", {{'0', '9'}, {'A', 'Z'}, {'a', 'z'}}},
      {"alpha", {{'A', 'Z'}, {'a', 'z'}}},
      {"ascii", {{0, 0x7F}}},
      {"blank", {{'\t', '\t'}, {' ', ' '}}},
      {"cntrl", {{0, 0x1F}, {0x7F, 0x7F}}},
      {"digit", {{'0', '9'}}},
      {"graph", {{'!', '~'}}},
      {"lower", {{'a', 'z'}}},
      {"print", {{' ', '~'}}},
      {"punct", {{'!', '/'}, {':', '@'}, {'[', '`'}, {'{', '~'}}},
      {"space", {{'\t', '\r'}, {' ', ' '}}},
      {"upper", {{'A', 'Z'}}},
      {"word", {{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}}},
      {"xdigit", {{'0', '9'}, {'A', 'F'}, {'a', 'f'}}},
  };
  return classes;
}

}  // namespace

void CharSet::normalise() {
  const auto by_low = [](const Range& a, const Range& b) { return a.low < b.low; };
  if (!std::is_sorted(ranges_.begin(), ranges_.end(), by_low)) std::sort(ranges_.begin(), ranges_.end(), by_low);
  std::vector<Range> merged;
  for (const Range& range : ranges_) {
    if (!merged.empty() && range.low <= merged.back().high + 1) {
      merged.back().high = std::max(merged.back().high, range.high);
    } else {
      merged.push_back(range);
    }
  }
  ranges_.clear();
  for (const Range& range : merged) {  // cut the surrogates out
    if (range.low < kSurrogates.low) ranges_.push_back({range.low, std::min(range.high, kSurrogates.low - 1)});
    if (range.high > kSurrogates.high) ranges_.push_back({std::max(range.low, kSurrogates.high + 1), range.high});
  }
}

bool CharSet::contains(uint32_t character) const {
  const auto after = std::upper_bound(ranges_.begin(), ranges_.end(), character,
                                      [](uint32_t c, const Range& range) { return c < range.low; });
  return after != ranges_.begin() && character <= std::prev(after)->high;
}

CharSet CharSet::complement() const {
  std::vector<Range> gaps;
  uint32_t start = 0;
  for (const Range& range : ranges_) {
    if (range.low > start) gaps.push_back({start, range.low - 1});
    start = range.high + 1;
  }
  if (start <= kLastCharacter) gaps.push_back({start, kLastCharacter});
  return CharSet(std::move(gaps));
}

CharSet CharSet::operator|(const CharSet& other) const {
  std::vector<Range> both = ranges_;
  both.insert(both.end(), other.ranges_.begin(), other.ranges_.end());
  return CharSet(std::move(both));
}

CharSet CharSet::operator&(const CharSet& other) const {
  std::vector<Range> common;
  auto a = ranges_.begin();
  auto b = other.ranges_.begin();
  while (a != ranges_.end() && b != other.ranges_.end()) {
    const uint32_t low = std::max(a->low, b->low);
    const uint32_t high = std::min(a->high, b->high);
    if (low <= high) common.push_back({low, high});
    if (a->high < b->high) ++a; else ++b;
  }
  return CharSet(std::move(common));
}

CharSet CharSet::ascii_case_folded() const {
  constexpr uint32_t kCaseBit = 'a' - 'A';
  std::vector<Range> folded = ranges_;
  for (const Range& range : (*this & CharSet({{'A', 'Z'}})).ranges_) {
    folded.push_back({range.low + kCaseBit, range.high + kCaseBit});
  }
  for (const Range& range : (*this & CharSet({{'a', 'z'}})).ranges_) {
    folded.push_back({range.low - kCaseBit, range.high - kCaseBit});
  }
  return CharSet(std::move(folded));
}

std::optional<CharSet> ascii_class(std::string_view name) {
  for (const AsciiClass& entry : ascii_classes()) {
    if (entry.name == name) return CharSet(entry.ranges);
  }
  return std::nullopt;
}

}  // namespace fastmask::regex
