// Remembers the groups of a pattern by their text, so that a group seen before need not be parsed again.
//
// The patterns of JSON schemas repeat themselves: with many optional properties most of their megabytes are
// copies of a few groups, and comparing a copy is a hundred times quicker than parsing it.
#pragma once

#include <cstdint>
#include <functional>
#include <string_view>
#include <unordered_map>

namespace fastmask::regex {

// Payload is copied in and out.
template <class Payload>
class GroupMemory {
 public:
  struct Seen {
    std::string_view text;
    Payload payload;
  };

  // A remembered group with whose text `rest` begins, or nullptr. Cost: the length of what they have in common,
  // for a few candidates. `suits(payload)` may reject one.
  template <class Suits>
  const Seen* find(std::string_view rest, Suits suits) const {
    for (const size_t length : kKeyLengths) {
      if (rest.size() < length) continue;
      const auto bucket = buckets_.find(key(rest, length));
      if (bucket == buckets_.end()) continue;
      for (const Seen& seen : bucket->second.latest) {
        const bool is_copy = !seen.text.empty() && rest.compare(0, seen.text.size(), seen.text) == 0;
        if (is_copy && suits(seen.payload)) return &seen;
      }
    }
    return nullptr;
  }

  // The text must outlive this object. Short groups are not worth it.
  void remember(std::string_view text, const Payload& payload) {
    for (const size_t length : kKeyLengths) {
      if (text.size() < length) continue;
      Bucket& bucket = buckets_[key(text, length)];
      bucket.latest[bucket.writes++ % kCandidates] = {text, payload};
      return;
    }
  }

 private:
  // A group is filed under its beginning, the longest that it has of these lengths.
  static constexpr size_t kKeyLengths[] = {256, 64, 16};
  static constexpr size_t kCandidates = 4;
  struct Bucket {
    Seen latest[kCandidates];
    uint32_t writes = 0;
  };

  static uint64_t key(std::string_view text, size_t length) {
    return std::hash<std::string_view>()(text.substr(0, length)) + length;
  }

  std::unordered_map<uint64_t, Bucket> buckets_;
};

}  // namespace fastmask::regex
