// What engines are made of, bound for Python: vocabularies, byte automata, token tables. See bindings.cc.
#include <pybind11/stl.h>

#include <algorithm>
#include <vector>

#include "automaton.h"
#include "behind.h"
#include "bindings.h"
#include "regex.h"
#include "token_table.h"
#include "trie_product.h"

namespace fastmask {
namespace {

template <class T>
std::vector<T> to_vector(const Array<T>& values) {
  return std::vector<T>(values.data(), values.data() + values.size());
}

std::shared_ptr<const Automaton> automaton_from_transitions(const Array<int32_t>& from, const Array<uint8_t>& bytes,
                                                            const Array<int32_t>& to, int32_t num_states,
                                                            int32_t initial, const Array<int32_t>& finals) {
  require_length(bytes.size(), from.size(), "bytes");
  require_length(to.size(), from.size(), "to");
  const py::gil_scoped_release unlock;
  return std::make_shared<Automaton>(dfa_from_transitions(from.data(), bytes.data(), to.data(), from.size(), num_states,
                                                          initial, finals.data(), finals.size()));
}

std::shared_ptr<Automaton> automaton_from_regex(const py::bytes& pattern, double max_seconds, int64_t max_states,
                                                int64_t max_bytes, bool first_choice) {
  const auto view = static_cast<std::string_view>(pattern);
  const py::gil_scoped_release unlock;
  return std::make_shared<Automaton>(compile_regex(view, CompileLimits{max_seconds, max_states, max_bytes},
                                                   raise_pending_interrupt,
                                                   first_choice ? Reading::kFirstChoice : Reading::kWholeText));
}

std::shared_ptr<Automaton> automaton_from_arrays(const Array<uint8_t>& class_of, const Array<int32_t>& initial,
                                                 const Array<uint8_t>& flags, const Array<int32_t>& next) {
  require_length(class_of.size(), 256, "class_of");
  require_length(initial.size(), 1, "initial");
  Dfa dfa;
  std::copy_n(class_of.data(), 256, dfa.class_of.begin());
  dfa.num_classes = *std::max_element(dfa.class_of.begin(), dfa.class_of.end()) + 1;
  dfa.initial = *initial.data();
  dfa.flags = to_vector(flags);
  dfa.next = to_vector(next);
  const py::gil_scoped_release unlock;
  check(dfa);
  return std::make_shared<Automaton>(dfa);
}

py::tuple automaton_to_arrays(const Automaton& automaton) {
  const Dfa dfa = automaton.to_dfa();
  return py::make_tuple(Array<uint8_t>(256, dfa.class_of.data()), to_array(std::vector<int32_t>{dfa.initial}),
                        to_array(dfa.flags), to_array(dfa.next));
}

std::shared_ptr<TokenTable> table_from_transitions(const Array<int32_t>& from, const Array<int32_t>& tokens,
                                                   const Array<int32_t>& to, const Array<int32_t>& finals,
                                                   int32_t num_states, int32_t initial, int64_t vocab_size,
                                                   const std::vector<Token>& eos_ids) {
  require_length(tokens.size(), from.size(), "tokens");
  require_length(to.size(), from.size(), "to");
  const py::gil_scoped_release unlock;
  std::vector<TokenTransition> transitions(from.size());
  for (size_t i = 0; i < transitions.size(); ++i) transitions[i] = {from.data()[i], tokens.data()[i], to.data()[i]};
  return std::make_shared<TokenTable>(std::move(transitions), num_states, initial, to_vector(finals), vocab_size,
                                      eos_ids);
}

// The arrays name every state of a canonical table, so its number of states can be read off them.
std::shared_ptr<TokenTable> table_from_arrays(const Array<int32_t>& from, const Array<int32_t>& tokens,
                                              const Array<int32_t>& to, const Array<int32_t>& finals,
                                              int64_t vocab_size, const std::vector<Token>& eos_ids) {
  int32_t last = 0;
  for (const Array<int32_t>* states : {&from, &to, &finals})
    if (states->size() > 0) last = std::max(last, *std::max_element(states->data(), states->data() + states->size()));
  if (int64_t{last} > from.size() + finals.size())
    throw Error(ErrorKind::kInput, "a state's number exceeds the number of transitions");
  return table_from_transitions(from, tokens, to, finals, last + 1, 0, vocab_size, eos_ids);
}

py::tuple table_to_arrays(const TokenTable& table) {
  std::vector<int32_t> from, tokens, to;
  for (const TokenTransition& t : table.transitions()) {
    from.push_back(t.from);
    tokens.push_back(t.token);
    to.push_back(t.to);
  }
  return py::make_tuple(to_array(from), to_array(tokens), to_array(to), to_array(table.finals()));
}

std::shared_ptr<Automaton> automaton_behind(const Automaton& automaton, const py::bytes& trigger) {
  const auto view = static_cast<std::string_view>(trigger);
  const py::gil_scoped_release unlock;
  return std::make_shared<Automaton>(behind(view, automaton.to_dfa()));
}

py::bytes spell(const VocabularyWithTrie& shared, const Array<int32_t>& tokens) {
  std::string text;
  {
    const py::gil_scoped_release unlock;
    text = shared.vocabulary.spell(tokens.data(), tokens.size());
  }
  return py::bytes(text);
}

}  // namespace

void define_sources(py::module_& m) {
  py::class_<VocabularyWithTrie, std::shared_ptr<VocabularyWithTrie>>(m, "Vocabulary")
      .def(py::init([](const py::bytes& bytes, const Array<int64_t>& offsets, const Array<uint8_t>& is_text,
                       int64_t size, const std::vector<Token>& eos_ids) {
             std::string flat = bytes;
             const py::gil_scoped_release unlock;
             return std::make_shared<VocabularyWithTrie>(
                 Vocabulary(std::move(flat), to_vector(offsets), to_vector(is_text), size, eos_ids));
           }),
           py::arg("bytes"), py::arg("offsets").noconvert(), py::arg("is_text").noconvert(), py::arg("size"),
           py::arg("eos_ids"))
      .def("spell", &spell, py::arg("tokens").noconvert())
      .def_property_readonly(
          "nbytes", [](const VocabularyWithTrie& v) { return v.vocabulary.nbytes() + v.trie.nbytes(); });

  py::class_<Automaton, std::shared_ptr<Automaton>>(m, "Automaton")
      .def_static("from_regex", &automaton_from_regex, py::arg("pattern"), py::arg("max_seconds"),
                  py::arg("max_states"), py::arg("max_bytes"), py::arg("first_choice") = false)
      .def_static("from_transitions", &automaton_from_transitions, py::arg("from_states").noconvert(),
                  py::arg("bytes").noconvert(), py::arg("to_states").noconvert(), py::arg("num_states"),
                  py::arg("initial"), py::arg("finals").noconvert())
      .def_static("from_arrays", &automaton_from_arrays, py::arg("class_of").noconvert(),
                  py::arg("initial").noconvert(), py::arg("flags").noconvert(), py::arg("next").noconvert())
      .def("behind", &automaton_behind, py::arg("trigger"))
      .def("to_arrays", &automaton_to_arrays)
      .def_property_readonly("num_states", &Automaton::num_states)
      .def_property_readonly("num_classes", &Automaton::num_classes);

  py::class_<TokenTable, std::shared_ptr<TokenTable>>(m, "TokenTable")
      .def_static("from_transitions", &table_from_transitions, py::arg("from_states").noconvert(),
                  py::arg("tokens").noconvert(), py::arg("to_states").noconvert(), py::arg("finals").noconvert(),
                  py::arg("num_states"), py::arg("initial"), py::arg("vocab_size"), py::arg("eos_ids"))
      .def_static("from_arrays", &table_from_arrays, py::arg("from_states").noconvert(), py::arg("tokens").noconvert(),
                  py::arg("to_states").noconvert(), py::arg("finals").noconvert(), py::arg("vocab_size"),
                  py::arg("eos_ids"))
      .def("to_arrays", &table_to_arrays);
}

}  // namespace fastmask
