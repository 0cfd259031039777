// A byte-level DFA as a builder hands it over: raw, before minimisation.
//
// Two builders produce it (outlines-core through Python, and our own determiniser); `automaton.h` alone
// consumes it. Numbering is the builder's own, unreachable and hopeless states are permitted.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

namespace fastmask {

// What may happen in a state apart from bytes: a set of these, one bit each.
using StateFlags = uint8_t;
constexpr StateFlags kFinal = 1;  // the text may end here
constexpr StateFlags kOpen = 2;   // tokens that are not text may come here, and leave the state as it is

struct Dfa {
  static constexpr int32_t kNone = -1;  // "no transition": the text can no longer match

  std::array<uint8_t, 256> class_of{};  // byte → byte class; bytes of one class are never told apart
  int32_t num_classes = 0;              // classes are 0 … num_classes-1, at most 256
  int32_t initial = kNone;              // kNone: the language is empty
  std::vector<StateFlags> flags;        // [num_states]
  std::vector<int32_t> next;            // [num_states * num_classes], state-major; a state or kNone

  int32_t num_states() const { return static_cast<int32_t>(flags.size()); }
  bool is_final(int32_t state) const { return (flags[state] & kFinal) != 0; }
};

// Throws Error{kInput} unless every class, state, flag and size lies in its range: for tables from outside.
void check(const Dfa& dfa);

// A Dfa from a list of transitions, each byte a class of its own. States are 0 … num_states-1; throws
// Error{kInput} for any other.
Dfa dfa_from_transitions(const int32_t* from, const uint8_t* bytes, const int32_t* to, int64_t count,
                         int32_t num_states, int32_t initial, const int32_t* finals, int64_t num_finals);

}  // namespace fastmask
