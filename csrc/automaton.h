// The byte-level automaton: minimal, canonically numbered, laid out for the walk.
//
// Built once from a raw `Dfa`; immutable afterwards, so any number of threads may read it.
// Canonical: two Dfas of the same language give the same Automaton, bit for bit (where a token that is not text
// may come belongs to the language: states that differ in a flag are never equal). States that cannot be
// reached, or from which no final state can be reached, are gone; equal states are merged (Valmari's
// partition refinement, O(m log m) in the m transitions); states are numbered breadth-first from the initial
// one in the order of bytes, byte classes by their lowest byte.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "dfa.h"
#include "text_groups.h"

namespace fastmask {

using State = int32_t;

// The three states that every constraint has. Ids of a text's own states follow, the initial one first.
constexpr State kFree = 0;  // no constraint here: every token may come and changes nothing
constexpr State kDone = 1;  // the text was complete and EOS was read: only EOS may come
constexpr State kDead = 2;  // the text broke the constraint: stays so
constexpr State kInitial = 3;

class Automaton {
 public:
  // Throws Error{kRegex} if the language is empty.
  explicit Automaton(const Dfa& dfa);

  State num_states() const { return static_cast<State>(flags_.size()); }
  int32_t num_classes() const { return num_classes_; }

  // May the text end here? True for kDone; false for kFree and kDead.
  bool is_final(State state) const { return (flags_[state] & kFinal) != 0; }

  // May tokens come here that are not text? They leave the state as it is. False for the three named states.
  bool is_open(State state) const { return (flags_[state] & kOpen) != 0; }

  // The state after one more byte. kFree, kDead: themselves; kDone: kDead.
  State step(State state, uint8_t byte) const {
    return next_[(static_cast<size_t>(state) << shift_) | class_of_[byte]];
  }

  // The same by the byte's class, 0 … num_classes()-1: bytes of one class lead every state to the same state.
  State step_by_class(State state, int32_t byte_class) const {
    return next_[(static_cast<size_t>(state) << shift_) | byte_class];
  }
  int32_t class_of(uint8_t byte) const { return class_of_[byte]; }

  // Groups of characters of which any text leaves the state as it is.
  TextGroups loops(State state) const { return loops_[state]; }

  // The text's own states as a plain table (initial state 0), from which an equal Automaton can be made again.
  Dfa to_dfa() const;

  size_t nbytes() const;

 private:
  TextGroups find_loops(State state) const;

  int32_t num_classes_ = 0;
  uint32_t shift_ = 0;  // a state's row of next_ has 2^shift_ entries: an index costs a shift and an or
  std::array<uint8_t, 256> class_of_{};
  std::vector<StateFlags> flags_;  // [num_states]
  std::vector<TextGroups> loops_;  // [num_states]
  std::vector<State> next_;        // [num_states << shift_]; entries past num_classes_ are never read
};

}  // namespace fastmask
