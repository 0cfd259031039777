// A regular expression in outlines-core's dialect → the byte automaton of the texts that it matches.
//
// The dialect is that of Rust's `regex` crate on Unicode text; what outlines-core refuses is refused, whatever
// the reason, except where only size stood in its way. The automaton reads UTF-8 and knows nothing of tokens.
//
// Unlike outlines-core's, this construction is anchored only, keeps to budgets and can be interrupted. Its cost
// is about linear in the states that it makes (near a microsecond each) plus the length of the pattern; that
// number is exponential in the pattern for some patterns, which is what the budgets are for.
#pragma once

#include <cstdint>
#include <functional>
#include <string_view>

#include "dfa.h"

namespace fastmask {

// What one compilation may use. Passing a limit throws Error(kCompileLimit) with the figure reached and the
// name of the limit as Python knows it: max_seconds, max_states, max_bytes.
struct CompileLimits {
  double seconds = 30;                    // of wall-clock time
  int64_t states = 250'000;               // of the automaton handed over, before minimisation
  int64_t bytes = int64_t{2} << 30;       // held at one time by the compilation and its result, within a tenth
};

// Which texts count as matched. The two differ only where a match can be the beginning of a longer one.
enum class Reading {
  // Every text that the pattern can match from end to end: what "the regex must match" means.
  kWholeText,
  // Only those that are also the pattern's first choice: `a|ab` takes `a` when it can and so never matches `ab`,
  // `a*?` matches nothing but the empty text. This is how outlines-core reads a pattern.
  kFirstChoice,
};

// Compiles `pattern` (UTF-8). Throws Error(kRegex) where it does not parse or can match nothing, saying where
// and what to do, and Error(kCompileLimit). `check_interrupt` is called from this thread every few milliseconds
// and may throw to abandon the work; it may be empty. Re-entrant; threads share nothing that changes.
Dfa compile_regex(std::string_view pattern, const CompileLimits& limits,
                  const std::function<void()>& check_interrupt, Reading reading = Reading::kWholeText);

}  // namespace fastmask
