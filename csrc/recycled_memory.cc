#include "recycled_memory.h"

#include <atomic>
#include <cstdlib>
#include <memory>
#include <new>

#if defined(__unix__) || defined(__APPLE__)
#include <sys/mman.h>
#include <unistd.h>
#endif

namespace fastmask {
namespace {

#if defined(MADV_FREE)

constexpr int64_t kHugePage = int64_t{1} << 21;

// Smaller blocks are the C library's: it keeps them itself.
constexpr int64_t kLarge = 4 * kHugePage;

int64_t whole_pages(int64_t bytes) {
  static const int64_t page = sysconf(_SC_PAGESIZE);
  return (bytes + page - 1) / page * page;
}

// Mapped where a huge page begins, so that as few pages as possible have to be handed out.
MemoryBlock map(int64_t bytes) {
  void* const mapped = mmap(nullptr, bytes + kHugePage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED) throw std::bad_alloc();
  char* const data = static_cast<char*>(mapped);
  const auto before = static_cast<int64_t>(-reinterpret_cast<uintptr_t>(data) & (kHugePage - 1));
  if (before > 0) munmap(data, before);
  if (before < kHugePage) munmap(data + before + bytes, kHugePage - before);
#if defined(MADV_HUGEPAGE)
  madvise(data + before, bytes, MADV_HUGEPAGE);
#endif
  return {data + before, bytes};
}

void unmap(const MemoryBlock* block) {
  if (block != nullptr) munmap(block->data, block->bytes);
}

// The one block that waits; null if none does. Without a lock, which a fork might find closed.
std::atomic<MemoryBlock*> g_waiting{nullptr};

#endif

MemoryBlock allocate(int64_t bytes) {
  void* const data = std::malloc(bytes);
  if (data == nullptr) throw std::bad_alloc();
  return {data, bytes};
}

}  // namespace

#if defined(MADV_FREE)

MemoryBlock take_memory(int64_t bytes) {
  if (bytes < kLarge) return allocate(bytes);
  const std::unique_ptr<MemoryBlock> waiting(g_waiting.exchange(nullptr));
  if (waiting != nullptr && bytes <= waiting->bytes && waiting->bytes <= 2 * bytes) return *waiting;
  unmap(waiting.get());
  return map(whole_pages(bytes));
}

void give_back(const MemoryBlock& block) noexcept {
  if (block.bytes < kLarge) return std::free(block.data);
  madvise(block.data, block.bytes, MADV_FREE);
  auto* const waiting = new (std::nothrow) MemoryBlock(block);
  const std::unique_ptr<MemoryBlock> before(g_waiting.exchange(waiting));
  unmap(before.get());
  if (waiting == nullptr) unmap(&block);
}

void drop_waiting_memory() noexcept { unmap(std::unique_ptr<MemoryBlock>(g_waiting.exchange(nullptr)).get()); }

#else

MemoryBlock take_memory(int64_t bytes) { return allocate(bytes); }

void give_back(const MemoryBlock& block) noexcept { std::free(block.data); }

void drop_waiting_memory() noexcept {}

#endif

}  // namespace fastmask
