// Gives equal things the same number: a hash table of ids whose contents live with the caller.
//
// Open addressing, eight bytes a slot, at most two thirds full. Not thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "budget.h"

namespace fastmask::regex {

class InternTable {
 public:
  explicit InternTable(Budget& budget) : budget_(budget), slots_(kFirstSize) {}

  // The id of the thing with this hash for which `same(id)` holds; failing that, what `make()` returns.
  // `make` may not use this table.
  template <class Same, class Make>
  uint32_t intern(uint64_t hash, Same same, Make make) {
    if (3 * (count_ + 1) > 2 * slots_.size()) grow();
    const auto tag = static_cast<uint32_t>(hash >> 32);
    size_t at = tag & (slots_.size() - 1);
    for (; slots_[at].id != kFree; at = (at + 1) & (slots_.size() - 1)) {
      if (slots_[at].tag == tag && same(slots_[at].id)) return slots_[at].id;
    }
    const uint32_t id = make();
    slots_[at] = {tag, id};
    ++count_;
    return id;
  }

 private:
  static constexpr size_t kFirstSize = 64;  // a power of two, like every size
  static constexpr uint32_t kFree = UINT32_MAX;
  struct Slot {
    uint32_t tag = 0;
    uint32_t id = kFree;
  };

  void grow() {
    budget_.hold(static_cast<int64_t>(2 * slots_.size() * sizeof(Slot)));
    std::vector<Slot> old(2 * slots_.size());
    old.swap(slots_);
    for (const Slot& slot : old) {
      if (slot.id == kFree) continue;
      size_t at = slot.tag & (slots_.size() - 1);
      while (slots_[at].id != kFree) at = (at + 1) & (slots_.size() - 1);
      slots_[at] = slot;
    }
    budget_.work(static_cast<int64_t>(old.size()));
    budget_.release(static_cast<int64_t>(old.size() * sizeof(Slot)));
  }

  Budget& budget_;
  std::vector<Slot> slots_;
  size_t count_ = 0;
};

// Hashes a sequence of words; start from any constant and feed one after the other.
inline uint64_t hash_step(uint64_t hash, uint64_t word) {
  hash = (hash ^ word) * 0x9E3779B97F4A7C15u;
  return hash ^ (hash >> 29);
}
inline uint64_t hash_end(uint64_t hash) { return hash_step(hash, 0x5851F42D4C957F2Du); }

}  // namespace fastmask::regex
