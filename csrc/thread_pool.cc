#include "thread_pool.h"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <deque>
#include <exception>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#if defined(__linux__)
#include <sched.h>
#endif
#if !defined(_WIN32)
#include <pthread.h>
#endif

namespace fastmask {
namespace {

// Falling asleep and being woken takes about as long as a small batch, and a woken thread may begin on its waker's
// processor. Batches come in quick succession, so a thread looks out for a moment before it sleeps.
constexpr std::chrono::microseconds kLookOut{300};

template <class Condition>
void look_out_for(Condition&& come) {
  const auto end = std::chrono::steady_clock::now() + kLookOut;
  while (!come() && std::chrono::steady_clock::now() < end) std::this_thread::yield();
}

// One parallel_for in flight. Owned jointly by the caller and by the workers that still look at it.
struct Loop {
  int64_t count, grain;
  const std::function<void(int64_t, int64_t)>* body;  // alive until `pending` is 0
  int free_seats;                                     // workers that may still join; under the pool's mutex
  std::atomic<int64_t> next{0};                       // first index not yet handed out
  std::atomic<int64_t> pending;                       // chunks not yet finished
  std::mutex mutex;
  std::condition_variable finished;
  std::exception_ptr error;  // of the lowest chunk that failed, so that every run reports the same; under mutex
  int64_t error_begin = 0;

  Loop(int64_t count, int64_t grain, int workers, const std::function<void(int64_t, int64_t)>* body)
      : count(count), grain(grain), body(body), free_seats(workers), pending((count + grain - 1) / grain) {}

  bool exhausted() const { return next.load(std::memory_order_relaxed) >= count; }

  // Works off chunks until none is left to begin; `check` is called before each.
  template <class Check>
  void work(Check&& check) {
    for (;;) {
      const int64_t begin = next.fetch_add(grain, std::memory_order_relaxed);
      if (begin >= count) return;
      run_chunk(begin, std::min(begin + grain, count), check);
    }
  }

  template <class Check>
  void run_chunk(int64_t begin, int64_t end, Check& check) {
    try {
      if (!failed_before(begin)) {
        check();
        (*body)(begin, end);
      }
    } catch (...) {
      std::lock_guard<std::mutex> lock(mutex);
      if (!error || begin < error_begin) error = std::current_exception(), error_begin = begin;
    }
    if (pending.fetch_sub(1, std::memory_order_acq_rel) == 1) {
      std::lock_guard<std::mutex> lock(mutex);
      finished.notify_all();
    }
  }

  bool failed_before(int64_t begin) {
    std::lock_guard<std::mutex> lock(mutex);
    return error && error_begin < begin;
  }

  void wait() {
    look_out_for([this] { return pending.load(std::memory_order_acquire) == 0; });
    std::unique_lock<std::mutex> lock(mutex);
    finished.wait(lock, [this] { return pending.load(std::memory_order_acquire) == 0; });
    if (error) std::rethrow_exception(error);
  }
};

void (*g_interrupt_check)() = nullptr;

class ThreadPool {
 public:
  explicit ThreadPool(int num_workers) {
    for (int i = 0; i < num_workers; ++i) workers_.emplace_back([this] { serve(); });
  }

  ~ThreadPool() {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      stopping_ = true;
    }
    wake_.notify_all();
    for (std::thread& worker : workers_) worker.join();
  }

  int num_workers() const { return static_cast<int>(workers_.size()); }

  void run(const std::shared_ptr<Loop>& loop) {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      loops_.push_back(loop);
      arrived_.fetch_add(1, std::memory_order_release);
    }
    wake_.notify_all();
    loop->work(InterruptCheck());
    {
      std::lock_guard<std::mutex> lock(mutex_);
      loops_.erase(std::remove(loops_.begin(), loops_.end(), loop), loops_.end());
    }
    loop->wait();
  }

 private:
  void serve() {
    uint64_t seen = 0;
    for (;;) {
      std::shared_ptr<Loop> loop;
      {
        std::unique_lock<std::mutex> lock(mutex_);
        wake_.wait(lock, [&] { return stopping_ || (loop = open_loop()) != nullptr; });
        if (stopping_) return;
        --loop->free_seats;
        seen = arrived_.load(std::memory_order_relaxed);
      }
      loop->work([] {});
      look_out_for([&] { return arrived_.load(std::memory_order_acquire) != seen; });
    }
  }

  std::shared_ptr<Loop> open_loop() const {  // under mutex_
    for (const auto& loop : loops_)
      if (loop->free_seats > 0 && !loop->exhausted()) return loop;
    return nullptr;
  }

  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::shared_ptr<Loop>> loops_;
  std::atomic<uint64_t> arrived_{0};  // loops so far; written under mutex_
  bool stopping_ = false;
  std::vector<std::thread> workers_;
};

int available_processors() {
#if defined(__linux__)
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof(set), &set) == 0) return std::max(1, CPU_COUNT(&set));
#endif
  return std::max(1u, std::thread::hardware_concurrency());
}

// The pool in use and how many threads a loop may have. A pool only ever grows: fewer threads leave some of its workers
// asleep, so that changing one's mind costs nothing. Held by shared_ptr so that a larger one can take its place while a
// loop still runs on the old one.
struct PoolSlot {
  std::mutex mutex;
  std::shared_ptr<ThreadPool> pool;  // null until first needed
  int threads = available_processors();
};

PoolSlot* g_slot = nullptr;

#if !defined(_WIN32)
// The child of a fork has the parent's memory but none of its worker threads, and a mutex may have been held
// by one of them: the old slot is left as it is (leaked, once a fork) and a new one begun.
void renew_after_fork() {
  auto* fresh = new PoolSlot;
  fresh->threads = g_slot->threads;
  g_slot = fresh;
}
#endif

PoolSlot& slot() {
  static const bool ready = [] {
    g_slot = new PoolSlot;  // never destroyed: loops may run while the process exits
#if !defined(_WIN32)
    pthread_atfork(nullptr, nullptr, renew_after_fork);
#endif
    return true;
  }();
  (void)ready;
  return *g_slot;
}

}  // namespace

void set_interrupt_check(void (*check)()) { g_interrupt_check = check; }

void InterruptCheck::operator()() {
  const auto now = std::chrono::steady_clock::now();
  if (g_interrupt_check == nullptr || now < due_) return;
  due_ = now + std::chrono::milliseconds(20);
  g_interrupt_check();
}

int num_threads() {
  std::lock_guard<std::mutex> lock(slot().mutex);
  return slot().threads;
}

void set_num_threads(int count) {
  std::lock_guard<std::mutex> lock(slot().mutex);
  slot().threads = count;
}

void parallel_for(int64_t count, int64_t grain, const std::function<void(int64_t, int64_t)>& body) {
  if (count <= 0) return;
  std::shared_ptr<ThreadPool> pool, retired;  // the latter joined outside the lock
  int workers = 0;
  {
    PoolSlot& current = slot();
    std::lock_guard<std::mutex> lock(current.mutex);
    workers = current.threads - 1;
    if (workers > 0 && count > grain) {
      if (!current.pool || current.pool->num_workers() < workers) {
        retired.swap(current.pool);
        current.pool = std::make_shared<ThreadPool>(workers);
      }
      pool = current.pool;
    }
  }
  const auto loop = std::make_shared<Loop>(count, grain, workers, &body);
  if (pool) return pool->run(loop);
  loop->work(InterruptCheck());
  loop->wait();
}

}  // namespace fastmask
