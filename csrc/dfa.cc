#include "dfa.h"

#include <string>

#include "error.h"

namespace fastmask {
namespace {

void require(bool condition, const char* what) {
  if (!condition) throw Error(ErrorKind::kInput, std::string("this automaton's table is damaged: ") + what);
}

}  // namespace

void check(const Dfa& dfa) {
  require(dfa.num_classes >= 1 && dfa.num_classes <= 256, "the number of byte classes lies outside 1 … 256");
  for (uint8_t c : dfa.class_of) require(c < dfa.num_classes, "a byte class lies outside the table");
  require(dfa.initial >= Dfa::kNone && dfa.initial < dfa.num_states(), "the initial state lies outside the table");
  require(dfa.next.size() == dfa.flags.size() * dfa.num_classes, "its size is not states × byte classes");
  for (StateFlags flags : dfa.flags) require(flags <= (kFinal | kOpen), "a state has flags that do not exist");
  for (int32_t to : dfa.next) require(to >= Dfa::kNone && to < dfa.num_states(), "a transition leaves the table");
}

Dfa dfa_from_transitions(const int32_t* from, const uint8_t* bytes, const int32_t* to, int64_t count,
                         int32_t num_states, int32_t initial, const int32_t* finals, int64_t num_finals) {
  auto require_state = [&](int32_t state) {
    if (state < 0 || state >= num_states)
      throw Error(ErrorKind::kInput, "state " + std::to_string(state) + " lies outside 0 … " +
                                         std::to_string(num_states - 1) + ", the states of this table");
  };
  Dfa dfa;
  for (int byte = 0; byte < 256; ++byte) dfa.class_of[byte] = static_cast<uint8_t>(byte);
  dfa.num_classes = 256;
  require_state(dfa.initial = initial);
  dfa.flags.assign(num_states, 0);
  for (int64_t i = 0; i < num_finals; ++i) {
    require_state(finals[i]);
    dfa.flags[finals[i]] = kFinal;
  }
  dfa.next.assign(static_cast<size_t>(num_states) * 256, Dfa::kNone);
  for (int64_t i = 0; i < count; ++i) {
    require_state(from[i]);
    require_state(to[i]);
    dfa.next[static_cast<size_t>(from[i]) * 256 + bytes[i]] = to[i];
  }
  return dfa;
}

}  // namespace fastmask
