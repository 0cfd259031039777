// Unicode properties and case folding, unpacked on demand from the table that
// tools/generate_unicode_tables.py writes and explains.
#include <algorithm>
#include <string>

#include "charset.h"

namespace fastmask::regex {
namespace {

struct NamedSet {
  const char* name;  // loosely matched form; each array is sorted by it
  int set;           // index into kSets
};

#include "unicode_tables.inc"

// Reads the numbers of one packed string: five bits a digit, low digits first, the last digit below 32.
class Numbers {
 public:
  explicit Numbers(const char* text) : next_(text) {}

  bool more() const { return *next_ != '\0'; }

  uint32_t operator()() {
    uint32_t value = 0;
    for (int shift = 0;; shift += 5) {
      const uint32_t digit = value_of(*next_++);
      value |= (digit & 31) << shift;
      if (digit < 32) return value;
    }
  }

 private:
  static uint32_t value_of(char c) {
    if (c >= 'a') return static_cast<uint32_t>(c - 'a') + 36;
    if (c >= 'A') return static_cast<uint32_t>(c - 'A') + 10;
    if (c >= '0') return static_cast<uint32_t>(c - '0');
    return c == '+' ? 62 : 63;
  }

  const char* next_;
};

CharSet unpacked_set(int index) {
  std::vector<Range> ranges;
  uint32_t end = 0;
  for (Numbers number(kSets[index]); number.more();) {
    const uint32_t low = end + number();
    const uint32_t high = low + number();
    ranges.push_back({low, high});
    end = high + 1;
  }
  return CharSet(std::move(ranges));
}

struct Folding {
  uint32_t character;
  uint32_t first_member, num_members;  // of the characters that differ from it only in case, itself included
};

struct FoldingTable {
  std::vector<uint32_t> members;
  std::vector<Folding> foldings;  // sorted by character
};

FoldingTable unpacked_foldings() {
  FoldingTable table;
  uint32_t first = 0;
  for (Numbers number(kCaseOrbits); number.more();) {
    const uint32_t size = number();
    const auto begin = static_cast<uint32_t>(table.members.size());
    uint32_t member = first += number();
    for (uint32_t i = 0; i < size; ++i) {
      if (i > 0) member += number();
      table.members.push_back(member);
      table.foldings.push_back({member, begin, size});
    }
  }
  std::sort(table.foldings.begin(), table.foldings.end(),
            [](const Folding& a, const Folding& b) { return a.character < b.character; });
  return table;
}

std::string loose_name(std::string_view name) {
  const bool has_is = name.size() >= 2 && (name[0] | 0x20) == 'i' && (name[1] | 0x20) == 's';
  std::string result;
  for (const char c : name.substr(has_is ? 2 : 0)) {
    if (c == ' ' || c == '_' || c == '-' || static_cast<unsigned char>(c) >= 0x80) continue;
    result += c >= 'A' && c <= 'Z' ? static_cast<char>(c | 0x20) : c;
  }
  return has_is && result == "c" ? "isc" : result;  // ISO_Comment's short name, not "is" + C
}

template <size_t kSize>
std::optional<CharSet> find(const NamedSet (&sets)[kSize], const std::string& name) {
  const auto* const end = sets + kSize;
  const auto* const found =
      std::lower_bound(sets, end, name, [](const NamedSet& a, const std::string& b) { return a.name < b; });
  if (found == end || found->name != name) return std::nullopt;
  return unpacked_set(found->set);
}

}  // namespace

CharSet CharSet::case_folded() const {
  static const FoldingTable table = unpacked_foldings();
  std::vector<Range> folded = ranges_;
  auto next = table.foldings.begin();
  for (const Range& range : ranges_) {
    next = std::lower_bound(next, table.foldings.end(), range.low,
                            [](const Folding& a, uint32_t c) { return a.character < c; });
    for (; next != table.foldings.end() && next->character <= range.high; ++next) {
      for (uint32_t i = 0; i < next->num_members; ++i) {
        const uint32_t member = table.members[next->first_member + i];
        folded.push_back({member, member});
      }
    }
  }
  return CharSet(std::move(folded));
}

const CharSet& unicode_digits() {
  static const CharSet set = unpacked_set(kDigitSet);
  return set;
}

const CharSet& unicode_words() {
  static const CharSet set = unpacked_set(kWordSet);
  return set;
}

const CharSet& unicode_spaces() {
  static const CharSet set = unpacked_set(kSpaceSet);
  return set;
}

std::optional<CharSet> unicode_property(std::string_view property, std::string_view name) {
  const std::string key = loose_name(property);
  const std::string value = loose_name(name);
  if (property.empty()) return find(kBinary, value);
  if (key == "gc" || key == "generalcategory") return find(kGeneralCategory, value);
  if (key == "sc" || key == "script") return find(kScript, value);
  if (key == "scx" || key == "scriptextensions") return find(kScriptExtensions, value);
  if (key == "age") return find(kAge, value);
  if (key == "gcb" || key == "graphemeclusterbreak") return find(kGraphemeClusterBreak, value);
  if (key == "wb" || key == "wordbreak") return find(kWordBreak, value);
  if (key == "sb" || key == "sentencebreak") return find(kSentenceBreak, value);
  return std::nullopt;
}

}  // namespace fastmask::regex
