// The one exception the kernel throws on purpose. `bindings.cc` turns each kind into the class of the same
// meaning in `fastmask.errors`; everything else that escapes (std::bad_alloc) keeps its usual Python form.
#pragma once

#include <stdexcept>
#include <string>

namespace fastmask {

enum class ErrorKind {
  kInput,         // a shape, a start, a length that does not fit
  kTokenRange,    // a token id or a state id outside its range
  kRegex,         // a pattern that does not parse or matches nothing
  kCompileLimit,  // a budget of time, states or memory was passed
};

class Error : public std::runtime_error {
 public:
  Error(ErrorKind kind, const std::string& what) : std::runtime_error(what), kind(kind) {}
  const ErrorKind kind;
};

}  // namespace fastmask
