// Partition refinement: a set of numbers kept as disjoint blocks that only ever split.
//
// The data structure of A. Valmari, "Fast brief practical DFA minimization", Information Processing Letters
// 112 (2012), after Hopcroft: splitting costs O(marked elements), never O(block).
#pragma once

#include <cstdint>
#include <numeric>
#include <utility>
#include <vector>

namespace fastmask {

class Partition {
 public:
  // One block with the elements 0 … size-1; no block if size is 0.
  explicit Partition(int32_t size) : elements_(size), position_(size), block_of_(size, 0) {
    std::iota(elements_.begin(), elements_.end(), 0);
    std::iota(position_.begin(), position_.end(), 0);
    if (size > 0) add_block(0, size);
  }

  // Blocks of equal `key`, in ascending order of key. Keys are 0 … num_keys-1.
  Partition(const std::vector<int32_t>& key, int32_t num_keys) : Partition(0) {
    const auto size = static_cast<int32_t>(key.size());
    elements_.resize(size), position_.resize(size), block_of_.resize(size);
    std::vector<int32_t> start(num_keys + 1, 0);
    for (int32_t k : key) ++start[k + 1];
    std::partial_sum(start.begin(), start.end(), start.begin());
    std::vector<int32_t> cursor(start.begin(), start.end() - 1);
    for (int32_t e = 0; e < size; ++e) place(e, cursor[key[e]]++);
    for (int32_t k = 0; k < num_keys; ++k) {
      if (start[k] == start[k + 1]) continue;
      for (int32_t i = start[k]; i < start[k + 1]; ++i) block_of_[elements_[i]] = num_blocks();
      add_block(start[k], start[k + 1]);
    }
  }

  int32_t num_blocks() const { return static_cast<int32_t>(begin_.size()); }
  int32_t block_of(int32_t element) const { return block_of_[element]; }
  const int32_t* begin(int32_t block) const { return elements_.data() + begin_[block]; }
  const int32_t* end(int32_t block) const { return elements_.data() + end_[block]; }

  // Sets an unmarked element apart until the next split().
  void mark(int32_t element) {
    const int32_t block = block_of_[element];
    const int32_t target = begin_[block] + marked_[block];
    const int32_t source = position_[element];
    if (source < target) return;  // marked already
    if (marked_[block]++ == 0) touched_.push_back(block);
    place(elements_[target], source);
    place(element, target);
  }

  // Splits each block with marked elements in two; the smaller half gets the new number, which is what makes
  // the whole refinement O(m log m). Afterwards nothing is marked.
  void split() {
    for (int32_t block : touched_) {
      const int32_t middle = begin_[block] + marked_[block];
      marked_[block] = 0;
      if (middle == end_[block]) continue;
      int32_t first = begin_[block], last = middle;
      if (middle - begin_[block] <= end_[block] - middle) {
        begin_[block] = middle;
      } else {
        first = middle, last = end_[block];
        end_[block] = middle;
      }
      for (int32_t i = first; i < last; ++i) block_of_[elements_[i]] = num_blocks();
      add_block(first, last);
    }
    touched_.clear();
  }

 private:
  void place(int32_t element, int32_t position) {
    elements_[position] = element;
    position_[element] = position;
  }

  void add_block(int32_t begin, int32_t end) {
    begin_.push_back(begin);
    end_.push_back(end);
    marked_.push_back(0);
  }

  std::vector<int32_t> elements_;  // block after block; a block's marked elements stand first
  std::vector<int32_t> position_;  // element → index in elements_
  std::vector<int32_t> block_of_;  // element → block
  std::vector<int32_t> begin_, end_, marked_;  // block → range in elements_, how many of it are marked
  std::vector<int32_t> touched_;               // blocks with marked elements
};

}  // namespace fastmask
