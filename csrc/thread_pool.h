// One persistent pool of worker threads for the whole process.
//
// A loop's chunks are handed out one by one from an atomic counter; the calling thread works along, so a pool
// without workers (one thread) runs everything in place. Any number of threads may call at once; loops may
// not be nested. After fork() the child starts a fresh pool when it first needs one: threads do not survive a fork.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>

namespace fastmask {

// Threads that a loop may use, the caller's included. Default: the processors this process may run on.
int num_threads();
void set_num_threads(int count);  // count ≥ 1

// A function that the calling thread of every loop calls now and then between chunks (at most every 20 ms), and
// which may throw to abandon the loop: how Ctrl-C reaches long calls. Set once, before the first loop.
void set_interrupt_check(void (*check)());

// Calls that function, but not more often than is worth its cost; for long loops on their caller's thread alone.
class InterruptCheck {
 public:
  void operator()();

 private:
  std::chrono::steady_clock::time_point due_ = std::chrono::steady_clock::now() + std::chrono::milliseconds(20);
};

// Calls body(begin, end) for chunks of at most `grain` that together cover 0 … count-1, on several threads
// and in any order; returns when all are done. If bodies throw, the exception of the lowest chunk is rethrown
// here, the same one whatever the number of threads; chunks above a failed one may be left out.
void parallel_for(int64_t count, int64_t grain, const std::function<void(int64_t, int64_t)>& body);

}  // namespace fastmask
