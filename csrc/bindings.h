// What the files that know Python share.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <memory>
#include <string>
#include <vector>

#include "error.h"
#include "mask_table.h"
#include "token_automaton.h"

namespace fastmask {

namespace py = pybind11;

template <class T>
using Array = py::array_t<T, py::array::c_style>;  // bound with noconvert(): never a silent copy

inline void require_length(py::ssize_t actual, py::ssize_t expected, const char* name) {
  if (actual != expected)
    throw Error(ErrorKind::kInput, std::string(name) + " has " + std::to_string(actual) + " elements, expected " +
                                       std::to_string(expected));
}

template <class T>
Array<T> to_array(const std::vector<T>& values) {
  return Array<T>(static_cast<py::ssize_t>(values.size()), values.data());
}

// Lets Ctrl-C end a long call: the handler's exception passes through the kernel and out.
inline void raise_pending_interrupt() {
  const py::gil_scoped_acquire lock;
  if (PyErr_CheckSignals() != 0) throw py::error_already_set();
}

// A constraint for one vocabulary: the automaton that is walked and the table of its masks.
struct Engine {
  explicit Engine(std::shared_ptr<const TokenAutomaton> a) : automaton(std::move(a)), masks(automaton) {}
  const std::shared_ptr<const TokenAutomaton> automaton;
  MaskTable masks;
};

void define_divergence(py::module_& m);  // bindings_divergence.cc
void define_rows(py::module_& m);        // bindings_rows.cc
void define_sources(py::module_& m);     // bindings_sources.cc

}  // namespace fastmask
