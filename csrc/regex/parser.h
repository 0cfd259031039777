// Pattern → syntax tree, in the dialect of regex.h. Iterative: depth costs no stack.
#pragma once

#include <string_view>

#include "budget.h"
#include "syntax.h"

namespace fastmask::regex {

// The node that stands for the whole pattern. Throws Error(kRegex); `syntax` is then of no use.
NodeId parse(std::string_view pattern, Syntax& syntax, Budget& budget);

}  // namespace fastmask::regex
