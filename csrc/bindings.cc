// The bindings*.* alone know Python. Each function checks its arrays, takes plain pointers, releases the interpreter
// lock, calls one kernel function and returns; no logic lives here.
//
// Lifetimes: arrays are borrowed while the lock is released. The caller's frame keeps them alive, and numpy
// never moves a buffer that someone holds.
#include "bindings.h"

#include <pybind11/stl.h>

#include <algorithm>

#include "batch_walk.h"
#include "bitmask.h"
#include "replay.h"
#include "thread_pool.h"
#include "token_classes.h"
#include "token_table.h"
#include "trie_product.h"

namespace fastmask {
namespace {

const char* error_class(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::kInput: return "InputError";
    case ErrorKind::kTokenRange: return "TokenRangeError";
    case ErrorKind::kRegex: return "RegexError";
    case ErrorKind::kCompileLimit: return "CompileLimitError";
  }
  return "FastmaskError";
}

void translate(std::exception_ptr pointer) {
  try {
    if (pointer) std::rethrow_exception(pointer);
  } catch (const Error& error) {
    const py::object type = py::module_::import("fastmask.errors").attr(error_class(error.kind));
    PyErr_SetString(type.ptr(), error.what());
  }
}

Array<uint8_t> final_states(const Engine& engine) {
  Array<uint8_t> is_final(engine.automaton->num_states());
  for (State s = 0; s < engine.automaton->num_states(); ++s) is_final.mutable_data()[s] = engine.automaton->is_final(s);
  return is_final;
}

// Rows of tokens and where each begins, checked against one another.
template <class TokenId>
struct Rows {
  const Array<TokenId>& tokens;
  const Array<int64_t>&offsets, &lengths;
  const std::optional<Array<int64_t>>& start;
  const int64_t after;
  const std::optional<Array<State>>& first_states;

  void check() const {
    const py::ssize_t count = offsets.size();
    require_length(lengths.size(), count, "lengths");
    if (start) require_length(start->size(), count, "start");
    if (first_states) require_length(first_states->size(), count, "first_states");
    for (py::ssize_t b = 0; b < count; ++b)
      if (offsets.data()[b] < 0 || lengths.data()[b] < 0 || lengths.data()[b] > tokens.size() - offsets.data()[b])
        throw Error(ErrorKind::kInput, "length " + std::to_string(lengths.data()[b]) + " of row " + std::to_string(b) +
                                           " does not fit the tokens given");
  }
  TokenRows<TokenId> rows() const { return {tokens.data(), offsets.data(), lengths.data(), offsets.size()}; }
  Start starts() const {
    return {start ? start->data() : nullptr, after, first_states ? first_states->data() : nullptr};
  }
};

template <class TokenId>
void walk(const Engine& engine, const Array<TokenId>& tokens, const Array<int64_t>& offsets,
          const Array<int64_t>& lengths, const std::optional<Array<int64_t>>& start, int64_t after,
          const std::optional<Array<State>>& first_states, Array<State> out) {
  const Rows<TokenId> rows{tokens, offsets, lengths, start, after, first_states};
  rows.check();
  const int64_t* const last = lengths.data() + lengths.size();
  const py::ssize_t longest = lengths.size() == 0 ? 0 : *std::max_element(lengths.data(), last);
  if (out.ndim() != 2 || out.shape(0) != offsets.size() || out.shape(1) < longest)
    throw Error(ErrorKind::kInput, "out must have one row for each row of tokens, wide enough for the longest");
  State* states = out.mutable_data();
  const py::gil_scoped_release unlock;
  walk_rows(*engine.automaton, rows.rows(), rows.starts(), out.shape(1), states);
}

template <class TokenId>
void walk_flat(const Engine& engine, const Array<TokenId>& tokens, const Array<int64_t>& offsets,
               const Array<int64_t>& lengths, const std::optional<Array<int64_t>>& start, int64_t after,
               const std::optional<Array<State>>& first_states, Array<State> out) {
  const Rows<TokenId> rows{tokens, offsets, lengths, start, after, first_states};
  rows.check();
  require_length(out.size(), tokens.size(), "out");
  State* states = out.mutable_data();
  const py::gil_scoped_release unlock;
  walk_lists(*engine.automaton, rows.rows(), rows.starts(), states);
}

template <class TokenId>
Array<State> walk_trees_of(const Engine& engine, const Array<State>& roots, const Array<TokenId>& tokens,
                           const Array<int64_t>& parents, int64_t width) {
  const py::ssize_t count = roots.size();
  require_length(tokens.size(), count * width, "tokens");
  require_length(parents.size(), count * width, "parents");
  Array<State> states({count, static_cast<py::ssize_t>(width)});
  State* out = states.mutable_data();
  const py::gil_scoped_release unlock;
  walk_trees(*engine.automaton, TokenTrees<TokenId>{roots.data(), tokens.data(), parents.data(), count, width}, out);
  return states;
}

template <class TokenId>
Array<State> advance_states(const Engine& engine, const Array<State>& states, const Array<TokenId>& tokens) {
  require_length(tokens.size(), states.size(), "tokens");
  Array<State> next(states.size());
  State* out = next.mutable_data();
  const py::gil_scoped_release unlock;
  advance(*engine.automaton, states.data(), tokens.data(), states.size(), out);
  return next;
}

// (states, texts but for the last token, whole texts), each [B]; `tokens` [B, n] may be a slice of wider rows: only its
// columns must lie side by side.
py::tuple read_rows(Replay& replay, const py::array_t<int64_t, 0>& tokens) {
  if (tokens.ndim() != 2) throw Error(ErrorKind::kInput, "tokens must have two dimensions [batch, time]");
  const py::ssize_t count = tokens.shape(0), length = tokens.shape(1), item = sizeof(int64_t);
  if ((length > 1 && tokens.strides(1) != item) || tokens.strides(0) % item != 0)
    throw Error(ErrorKind::kInput, "the tokens of a row must lie side by side");
  Array<State> states(count);
  Array<uint64_t> before(count), texts(count);
  const Replay::Reading reading{states.mutable_data(), before.mutable_data(), texts.mutable_data()};
  {
    const py::gil_scoped_release unlock;
    replay.read(tokens.data(), tokens.strides(0) / item, count, length, reading);
  }
  return py::make_tuple(states, before, texts);
}

void packed_rows(Engine& engine, const Array<State>& states, Array<int32_t> out) {
  require_length(out.size(), states.size() * words_for(engine.masks.vocab_size()), "out");
  auto* rows = reinterpret_cast<uint32_t*>(out.mutable_data());
  const py::gil_scoped_release unlock;
  gather_packed(engine.masks, states.data(), states.size(), rows);
}

void bool_rows(Engine& engine, const Array<State>& states, Array<bool> out) {
  require_length(out.size(), states.size() * engine.masks.vocab_size(), "out");
  auto* rows = reinterpret_cast<uint8_t*>(out.mutable_data());
  const py::gil_scoped_release unlock;
  gather_bools(engine.masks, states.data(), states.size(), rows);
}

// bool [N]: is each token allowed in its state?
Array<bool> allows(Engine& engine, const Array<State>& states, const Array<int64_t>& tokens) {
  require_length(tokens.size(), states.size(), "tokens");
  Array<bool> found(states.size());
  bool* out = found.mutable_data();
  {
    const py::gil_scoped_release unlock;
    engine.masks.prepare(states.data(), states.size());
    for (py::ssize_t i = 0; i < states.size(); ++i)
      out[i] = engine.masks.row(states.data()[i])->allows(tokens.data()[i]);
  }
  return found;
}

// `scores` and `out` are [R, width] bit patterns of floats; state i is that of row rows[i], or of row i. Returns for
// each state whether anything was kept.
template <class Element>
Array<bool> select_rows(Engine& engine, const Array<State>& states, const std::optional<Array<int64_t>>& rows,
                        const Array<Element>& scores, Element forbidden, Array<Element> out) {
  if (scores.ndim() != 2 || scores.shape(1) < engine.masks.vocab_size())
    throw Error(ErrorKind::kInput,
                "scores must have two dimensions [rows, width], width at least the vocabulary's size");
  require_length(out.size(), scores.size(), "out");
  if (!rows) require_length(states.size(), scores.shape(0), "states");
  if (rows) {
    require_length(rows->size(), states.size(), "rows");
    for (py::ssize_t i = 0; i < rows->size(); ++i)
      if (rows->data()[i] < 0 || rows->data()[i] >= scores.shape(0))
        throw Error(ErrorKind::kInput, "row " + std::to_string(rows->data()[i]) + " lies outside the scores");
  }
  Array<bool> kept(states.size());
  const Scores<Element> selected{scores.data(), static_cast<int64_t>(scores.shape(1)), forbidden, out.mutable_data()};
  auto* flags = reinterpret_cast<uint8_t*>(kept.mutable_data());
  const py::gil_scoped_release unlock;
  select_scores(engine.masks, states.data(), rows ? rows->data() : nullptr, states.size(), selected, flags);
  return kept;
}

py::tuple token_classes(const Engine& engine, int64_t max_bytes) {
  TokenClasses classes;
  {
    const py::gil_scoped_release unlock;
    classes = find_token_classes(*engine.automaton, max_bytes);
  }
  Array<State> next({py::ssize_t{engine.automaton->num_states()}, py::ssize_t{classes.count}});
  State* out = next.mutable_data();
  {
    const py::gil_scoped_release unlock;
    fill_transitions(*engine.automaton, classes, out);
  }
  return py::make_tuple(to_array(classes.class_of), next);
}

Array<int32_t> distances(const Engine& engine) {
  std::vector<int32_t> found;
  {
    const py::gil_scoped_release unlock;
    found = engine.automaton->distances();
  }
  return to_array(found);
}

// bool [N, vocab_size], see gather_within.
Array<bool> within(const Engine& engine, const Array<int32_t>& distances, const Array<State>& states,
                   const Array<int64_t>& limits) {
  const State num_states = engine.automaton->num_states();
  require_length(distances.size(), num_states, "distances");
  require_length(limits.size(), states.size(), "limits");
  for (py::ssize_t i = 0; i < states.size(); ++i)
    if (states.data()[i] < 0 || states.data()[i] >= num_states)
      throw Error(ErrorKind::kTokenRange, "state " + std::to_string(states.data()[i]) + " is none of this constraint");
  Array<bool> rows({states.size(), static_cast<py::ssize_t>(engine.automaton->vocab_size())});
  auto* out = reinterpret_cast<uint8_t*>(rows.mutable_data());
  const py::gil_scoped_release unlock;
  gather_within(*engine.automaton, distances.data(), states.data(), limits.data(), states.size(), out);
  return rows;
}

Array<int32_t> row_numbers(Engine& engine) {
  std::vector<int32_t> numbers;
  {
    const py::gil_scoped_release unlock;
    numbers = engine.masks.row_numbers();
  }
  return to_array(numbers);
}

void define_engine(py::module_& m) {
  py::class_<Engine>(m, "Engine")
      .def(py::init([](std::shared_ptr<const Automaton> bytes, std::shared_ptr<const VocabularyWithTrie> vocabulary) {
             return std::make_unique<Engine>(std::make_shared<TrieProduct>(std::move(bytes), std::move(vocabulary)));
           }),
           py::arg("automaton"), py::arg("vocabulary"))
      .def(py::init([](std::shared_ptr<const TokenTable> table) { return std::make_unique<Engine>(std::move(table)); }),
           py::arg("table"))
      .def_property_readonly("num_states", [](const Engine& e) { return e.automaton->num_states(); })
      .def_property_readonly("num_masks", [](const Engine& e) { return e.masks.num_rows(); })
      .def_property_readonly("nbytes", [](const Engine& e) { return e.automaton->nbytes() + e.masks.nbytes(); })
      .def("final_states", &final_states)
      .def("walk", &walk<int32_t>, py::arg("tokens").noconvert(), py::arg("offsets").noconvert(),
           py::arg("lengths").noconvert(), py::arg("start"), py::arg("after"), py::arg("first_states"),
           py::arg("out").noconvert())
      .def("walk", &walk<int64_t>, py::arg("tokens").noconvert(), py::arg("offsets").noconvert(),
           py::arg("lengths").noconvert(), py::arg("start"), py::arg("after"), py::arg("first_states"),
           py::arg("out").noconvert())
      .def("walk_flat", &walk_flat<int32_t>, py::arg("tokens").noconvert(), py::arg("offsets").noconvert(),
           py::arg("lengths").noconvert(), py::arg("start"), py::arg("after"), py::arg("first_states"),
           py::arg("out").noconvert())
      .def("walk_flat", &walk_flat<int64_t>, py::arg("tokens").noconvert(), py::arg("offsets").noconvert(),
           py::arg("lengths").noconvert(), py::arg("start"), py::arg("after"), py::arg("first_states"),
           py::arg("out").noconvert())
      .def("walk_trees", &walk_trees_of<int32_t>, py::arg("roots").noconvert(), py::arg("tokens").noconvert(),
           py::arg("parents").noconvert(), py::arg("width"))
      .def("walk_trees", &walk_trees_of<int64_t>, py::arg("roots").noconvert(), py::arg("tokens").noconvert(),
           py::arg("parents").noconvert(), py::arg("width"))
      .def("advance", &advance_states<int32_t>, py::arg("states").noconvert(), py::arg("tokens").noconvert())
      .def("advance", &advance_states<int64_t>, py::arg("states").noconvert(), py::arg("tokens").noconvert())
      .def("token_classes", &token_classes, py::arg("max_bytes"))
      .def("distances", &distances)
      .def("within", &within, py::arg("distances").noconvert(), py::arg("states").noconvert(),
           py::arg("limits").noconvert())
      .def("row_numbers", &row_numbers)
      .def("packed_rows", &packed_rows, py::arg("states").noconvert(), py::arg("out").noconvert())
      .def("allows", &allows, py::arg("states").noconvert(), py::arg("tokens").noconvert())
      .def("select_rows", &select_rows<uint16_t>, py::arg("states").noconvert(), py::arg("rows"),
           py::arg("scores").noconvert(), py::arg("forbidden"), py::arg("out").noconvert())
      .def("select_rows", &select_rows<uint32_t>, py::arg("states").noconvert(), py::arg("rows"),
           py::arg("scores").noconvert(), py::arg("forbidden"), py::arg("out").noconvert())
      .def("select_rows", &select_rows<uint64_t>, py::arg("states").noconvert(), py::arg("rows"),
           py::arg("scores").noconvert(), py::arg("forbidden"), py::arg("out").noconvert())
      .def("bool_rows", &bool_rows, py::arg("states").noconvert(), py::arg("out").noconvert());
}

void define_replay(py::module_& m) {
  py::class_<Replay>(m, "Replay")
      .def(py::init([](const Engine& engine, std::optional<int64_t> after) {
             return std::make_unique<Replay>(engine.automaton, after);
           }),
           py::arg("engine"), py::arg("after"))
      .def("read", &read_rows, py::arg("tokens").noconvert());
}

PYBIND11_MODULE(_core, m) {
  m.doc() = "The compiled kernel of fastmask. Not public: use fastmask.Vocabulary and fastmask.Constraint.";
  py::register_exception_translator(&translate);
  set_interrupt_check(&raise_pending_interrupt);
  m.attr("FREE") = kFree;
  m.attr("DONE") = kDone;
  m.attr("DEAD") = kDead;
  m.attr("INITIAL") = kInitial;
  m.def("num_threads", &num_threads);
  m.def("set_num_threads", &set_num_threads, py::arg("count"));
  define_sources(m);
  define_engine(m);
  define_replay(m);
  define_divergence(m);
  define_rows(m);
}

}  // namespace
}  // namespace fastmask
