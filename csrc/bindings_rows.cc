// Rows of token ids and texts as Python itself holds them, bound for Python: see bindings.cc.
#include <pybind11/stl.h>

#include <optional>
#include <string_view>
#include <vector>

#include "bindings.h"
#include "trie_product.h"

namespace fastmask {
namespace {

// (tokens int32 [N], offsets [B + 1]) of a list of lists; None unless all of it is lists of plain ints within 32 bits.
// numpy's own ways from Python's integers to an array take several times as long.
std::optional<py::tuple> flat_rows(const py::list& rows) {
  Array<int64_t> offsets(static_cast<py::ssize_t>(rows.size()) + 1);
  int64_t* const ends = offsets.mutable_data();
  ends[0] = 0;
  for (size_t row = 0; row < rows.size(); ++row) {
    PyObject* const ids = PyList_GET_ITEM(rows.ptr(), row);
    if (!PyList_CheckExact(ids)) return std::nullopt;
    ends[row + 1] = ends[row] + PyList_GET_SIZE(ids);
  }
  Array<int32_t> tokens(ends[rows.size()]);
  int32_t* out = tokens.mutable_data();
  for (size_t row = 0; row < rows.size(); ++row) {
    PyObject* const ids = PyList_GET_ITEM(rows.ptr(), row);
    for (py::ssize_t i = 0; i < PyList_GET_SIZE(ids); ++i) {
      PyObject* const id = PyList_GET_ITEM(ids, i);
      if (!PyLong_CheckExact(id)) return std::nullopt;
      int overflow = 0;
      const long long value = PyLong_AsLongLongAndOverflow(id, &overflow);
      if (overflow != 0 || value != static_cast<int32_t>(value)) return std::nullopt;
      *out++ = static_cast<int32_t>(value);
    }
  }
  return py::make_tuple(tokens, offsets);
}

// The rows whose tokens do not spell their text. The lock is kept: the texts are Python's own.
std::vector<int64_t> misspelled(const VocabularyWithTrie& shared, const Array<int32_t>& tokens,
                                const Array<int64_t>& offsets, const std::vector<std::string_view>& texts) {
  const auto count = static_cast<int64_t>(texts.size());
  require_length(offsets.size(), count + 1, "offsets");
  const int64_t* const ends = offsets.data();
  for (int64_t row = 0; row < count; ++row)
    if (ends[row] < 0 || ends[row + 1] < ends[row] || ends[row + 1] > tokens.size())
      throw Error(ErrorKind::kInput, "row " + std::to_string(row) + " lies outside the tokens");
  return shared.vocabulary.misspelled(tokens.data(), ends, texts);
}

}  // namespace

void define_rows(py::module_& m) {
  m.def("flat_rows", &flat_rows, py::arg("rows"));
  m.def("misspelled", &misspelled, py::arg("vocabulary"), py::arg("tokens").noconvert(),
        py::arg("offsets").noconvert(), py::arg("texts"));
}

}  // namespace fastmask
