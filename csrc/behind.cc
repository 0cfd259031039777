#include "behind.h"

#include <map>
#include <utility>

namespace fastmask {
namespace {

// Fills in the classes of a Dfa that tells apart what `text` does and each byte of the trigger from all others.
// Returns for each class one byte that belongs to it.
std::vector<uint8_t> refine_classes(std::string_view trigger, const Dfa& text, Dfa& refined) {
  constexpr int kNotInTrigger = -1;
  std::map<std::pair<int, int>, uint8_t> number;  // the class in `text` and the trigger's byte, if it is one
  std::vector<uint8_t> members;
  for (int byte = 0; byte < 256; ++byte) {
    const bool in_trigger = trigger.find(static_cast<char>(byte)) != trigger.npos;
    const auto [entry, is_new] = number.emplace(std::pair(text.class_of[byte], in_trigger ? byte : kNotInTrigger),
                                                static_cast<uint8_t>(number.size()));
    if (is_new) members.push_back(static_cast<uint8_t>(byte));
    refined.class_of[byte] = entry->second;
  }
  refined.num_classes = static_cast<int32_t>(members.size());
  return members;
}

// The rows of the states that wait for the trigger: row m is "m of its bytes are matched", `end` what follows the last.
void append_search(std::string_view trigger, int32_t end, const std::vector<uint8_t>& members, Dfa& result) {
  const auto length = static_cast<int32_t>(trigger.size());
  int32_t restart = 0;  // where the bytes matched so far would lead without the first of them
  for (int32_t matched = 0; matched < length; ++matched) {
    const auto expected = static_cast<uint8_t>(trigger[matched]);
    const int32_t onwards = matched + 1 < length ? matched + 1 : end;
    const size_t restart_row = static_cast<size_t>(restart) * members.size();
    for (size_t c = 0; c < members.size(); ++c)
      result.next.push_back(members[c] == expected ? onwards : matched == 0 ? 0 : result.next[restart_row + c]);
    if (matched > 0) restart = result.next[restart_row + result.class_of[expected]];
  }
}

void append_text(const Dfa& text, int32_t first_state, const std::vector<uint8_t>& members, Dfa& result) {
  for (size_t row = 0; row < text.next.size(); row += text.num_classes)
    for (uint8_t byte : members) {
      const int32_t to = text.next[row + text.class_of[byte]];
      result.next.push_back(to == Dfa::kNone ? Dfa::kNone : first_state + to);
    }
}

}  // namespace

Dfa behind(std::string_view trigger, const Dfa& text) {
  const auto length = static_cast<int32_t>(trigger.size());
  Dfa result;
  result.initial = 0;
  result.flags.assign(length, kOpen);
  result.flags.insert(result.flags.end(), text.flags.begin(), text.flags.end());
  const std::vector<uint8_t> members = refine_classes(trigger, text, result);
  result.next.reserve(result.flags.size() * members.size());
  append_search(trigger, length + text.initial, members, result);
  append_text(text, length, members, result);
  return result;
}

}  // namespace fastmask
