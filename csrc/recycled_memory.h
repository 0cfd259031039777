// Memory for results as large as logits, which come and go once a step. Fresh memory costs more than computing what is
// written to it: the system hands it out page by page, each with a fault and zeros. So the last block that was given
// back waits for the next step, marked as free for the system to take at any time (MADV_FREE): kept, but not withheld.
//
// Any number of threads may call at once. Where the system has no such mark, blocks are neither kept nor marked.
#pragma once

#include <cstdint>

namespace fastmask {

struct MemoryBlock {
  void* data;
  int64_t bytes;  // at least those asked for
};

// A block that holds anything. Throws std::bad_alloc.
MemoryBlock take_memory(int64_t bytes);
void give_back(const MemoryBlock& block) noexcept;

// Unmaps the block that waits.
void drop_waiting_memory() noexcept;

}  // namespace fastmask
