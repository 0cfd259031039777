// Keeps many short arrays at stable addresses until it is destroyed, without a header for each.
#pragma once

#include <algorithm>
#include <cstddef>
#include <memory>
#include <vector>

#include "budget.h"

namespace fastmask::regex {

template <class T>
class Arena {
 public:
  explicit Arena(Budget& budget) : budget_(budget) {}

  // A copy of items[0 … count-1]; blocks grow with use, so that small patterns stay small.
  const T* keep(const T* items, size_t count) {
    if (count > free_) add_block(count);
    T* const kept = next_;
    std::copy(items, items + count, kept);
    next_ += count;
    free_ -= count;
    return kept;
  }

 private:
  static constexpr size_t kFirstBlock = 512;
  static constexpr size_t kLargestBlock = kFirstBlock << 8;

  void add_block(size_t at_least) {
    const size_t size = std::max(at_least, blocks_.size() < 8 ? kFirstBlock << blocks_.size() : kLargestBlock);
    budget_.hold(static_cast<int64_t>(size * sizeof(T)));
    blocks_.emplace_back(new T[size]);
    next_ = blocks_.back().get();
    free_ = size;
  }

  Budget& budget_;
  std::vector<std::unique_ptr<T[]>> blocks_;
  T* next_ = nullptr;
  size_t free_ = 0;
};

}  // namespace fastmask::regex
