#include "budget.h"

#include <cstdio>
#include <string>

#include "../error.h"

namespace fastmask::regex {
namespace {

constexpr int64_t kStepsBetweenLooks = 1 << 17;  // under a millisecond
constexpr std::chrono::milliseconds kInterruptEvery{4};

std::string with_decimals(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.2f", value);
  return text;
}

[[noreturn]] void pass(const std::string& reached, const std::string& limit, const std::string& argument) {
  throw Error(ErrorKind::kCompileLimit, "the pattern's automaton reached " + reached + ", the limit is " + limit +
                                            "; raise " + argument +
                                            ", or make the pattern simpler (lower counts in {m,n}, fewer "
                                            "overlapping alternatives)");
}

}  // namespace

Budget::Budget(const CompileLimits& limits, const std::function<void()>& check_interrupt)
    : limits_(limits),
      check_interrupt_(check_interrupt),
      start_(Clock::now()),
      last_interrupt_check_(start_),
      steps_until_look_(kStepsBetweenLooks) {}

void Budget::look_up() {
  steps_until_look_ = kStepsBetweenLooks;
  const auto now = Clock::now();
  const double seconds = std::chrono::duration<double>(now - start_).count();
  if (seconds > limits_.seconds) {
    pass(with_decimals(seconds) + " seconds", with_decimals(limits_.seconds), "max_seconds");
  }
  if (check_interrupt_ && now - last_interrupt_check_ >= kInterruptEvery) {
    last_interrupt_check_ = now;
    check_interrupt_();
  }
}

void Budget::out_of_memory(int64_t bytes) const {
  pass(std::to_string(bytes) + " bytes", std::to_string(limits_.bytes), "max_bytes");
}

void Budget::out_of_states(int64_t count) const {
  pass(std::to_string(count) + " states", std::to_string(limits_.states), "max_states");
}

}  // namespace fastmask::regex
