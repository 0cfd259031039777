// A text behind a trigger: anything at all up to the first occurrence of some bytes, then a text of a Dfa.
//
// What a model that thinks before it answers may write. Before the trigger's end every byte leads on, whether it
// makes UTF-8 or not; the states there are open to tokens that are not text, and none is final. The trigger is
// searched for as by D. E. Knuth, J. H. Morris and V. R. Pratt, "Fast pattern matching in strings", SIAM Journal on
// Computing 6 (1977), with one state for each number of its bytes just matched.
#pragma once

#include <string_view>

#include "dfa.h"

namespace fastmask {

// `trigger` must not be empty. Adds one state for each of its bytes and at most as many byte classes as it has
// different bytes. `text` may be any Dfa, also one that itself waits for a trigger.
Dfa behind(std::string_view trigger, const Dfa& text);

}  // namespace fastmask
