// Keeps one compilation within its limits, and lets it be interrupted.
//
// Whoever loops says how much it does (`work`), whoever stores says how much it holds (`hold`, `release`).
// Both are a few instructions; the clock and the interrupt check are consulted only every few thousand steps.
// One per compilation, for one thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>

#include "../regex.h"

namespace fastmask::regex {

class Budget {
 public:
  Budget(const CompileLimits& limits, const std::function<void()>& check_interrupt);

  // `steps` is roughly the number of memory accesses made since the last call.
  void work(int64_t steps) {
    steps_until_look_ -= steps;
    if (steps_until_look_ <= 0) look_up();
  }

  // `bytes` more (or fewer) are held. Throws before they are allocated, if asked before.
  void hold(int64_t bytes) {
    held_ += bytes;
    if (held_ > limits_.bytes) out_of_memory(held_);
  }
  void release(int64_t bytes) { held_ -= bytes; }
  void release_all() { held_ = 0; }

  // Throws if `bytes` more could not be held.
  void expect(int64_t bytes) const {
    if (bytes > limits_.bytes - held_) out_of_memory(held_ + bytes);
  }

  // Throws if the automaton may not have this many states.
  void states(int64_t count) const {
    if (count > limits_.states) out_of_states(count);
  }

  // Consults the clock and the interrupt check now.
  void look_up();

 private:
  using Clock = std::chrono::steady_clock;

  [[noreturn]] void out_of_memory(int64_t bytes) const;
  [[noreturn]] void out_of_states(int64_t count) const;

  const CompileLimits limits_;
  const std::function<void()>& check_interrupt_;
  const Clock::time_point start_;
  Clock::time_point last_interrupt_check_;
  int64_t steps_until_look_;
  int64_t held_ = 0;
};

}  // namespace fastmask::regex
