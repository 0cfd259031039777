// What is summed up over rows of logits, bound for Python: see bindings.cc.
#include <pybind11/stl.h>

#include <algorithm>
#include <memory>

#include "allowed_mass.h"
#include "bindings.h"
#include "divergence.h"
#include "elementary.h"
#include "penalized_rows.h"
#include "recycled_memory.h"

namespace fastmask {
namespace {

// Rows of logits of any floating-point kind, as bit patterns in one flat array.
struct Logits {
  py::array bits;
  FloatKind kind;
  Array<int64_t> starts;
  int64_t width;

  Logits(py::array flat, const std::string& dtype, Array<int64_t> first, int64_t wide)
      : bits(std::move(flat)), kind(kind_of(dtype)), starts(std::move(first)), width(wide) {
    const bool flat_and_whole = bits.ndim() == 1 && (bits.flags() & py::array::c_style) != 0;
    if (!flat_and_whole || bits.itemsize() != static_cast<py::ssize_t>(size_of(kind)))
      throw Error(ErrorKind::kInput, "logits must be one flat array of " + dtype);
    for (py::ssize_t row = 0; row < starts.size(); ++row)
      if (starts.data()[row] < 0 || width < 0 || starts.data()[row] > bits.size() - width)
        throw Error(ErrorKind::kInput, "row " + std::to_string(row) + " lies outside the logits");
  }

  static FloatKind kind_of(const std::string& dtype) {
    if (dtype == "float32") return FloatKind::kFloat32;
    if (dtype == "bfloat16") return FloatKind::kBfloat16;
    if (dtype == "float16") return FloatKind::kFloat16;
    throw Error(ErrorKind::kInput, "no logits of " + dtype);
  }

  LogitRows rows() const { return {bits.data(), kind, starts.data(), width}; }
};

// A matrix to be written, [N, width] bits of the logits' kind.
void* room_for(const Logits& logits, py::array& out) {
  const auto bytes = static_cast<py::ssize_t>(logits.starts.size() * logits.width * size_of(logits.kind));
  require_length(out.nbytes(), bytes, "what is written, in bytes,");
  if ((out.flags() & py::array::c_style) == 0) throw Error(ErrorKind::kInput, "what is written must lie in one piece");
  return out.mutable_data();
}

// Losses [N], of Jensen and Shannon if there are `shares` of teacher and student in a mixture. With `upstream` [N] the
// gradient goes to `out`, [N, width] bits of the student's kind.
Array<float> losses_of(Engine& engine, const Array<State>& states, const Logits& teacher, const Logits& student,
                       const Array<float>& penalties, const std::string& mask_on, double temperature, bool reverse,
                       const std::optional<std::pair<double, double>>& shares,
                       const std::optional<Array<float>>& upstream, std::optional<py::array> out) {
  const py::ssize_t count = states.size();
  require_length(teacher.starts.size(), count, "teacher");
  require_length(student.starts.size(), count, "student");
  require_length(penalties.size(), count, "penalties");
  DivergenceGradient gradient{nullptr, nullptr};
  if (upstream && out) {
    require_length(upstream->size(), count, "upstream");
    gradient = {upstream->data(), room_for(student, *out)};
  }
  const bool on_teacher = mask_on == "teacher" || mask_on == "both";
  const bool on_student = mask_on == "student" || mask_on == "both";
  const bool masked = on_teacher || on_student;
  if (masked && std::max(teacher.width, student.width) < engine.masks.vocab_size())
    throw Error(ErrorKind::kInput, "logits are narrower than the vocabulary");
  const Kind kind = shares ? Kind::kJensenShannon : reverse ? Kind::kReverse : Kind::kForward;
  const auto [teacher_share, student_share] = shares.value_or(std::pair(0.0, 0.0));
  const DivergenceRows rows{teacher.rows(), student.rows(), count, masked ? &engine.masks : nullptr, states.data(),
                            penalties.data(), on_teacher, on_student, temperature, kind,
                            teacher_share, student_share};
  Array<float> losses(count);
  float* values = losses.mutable_data();
  {
    const py::gil_scoped_release unlock;
    divergence(rows, values, gradient);
  }
  return losses;
}

// uint8 [bytes] that hold anything; the memory is recycled once nobody looks at it any more.
py::array_t<uint8_t> recycled(int64_t bytes) {
  if (bytes < 1) throw Error(ErrorKind::kInput, "no memory of " + std::to_string(bytes) + " bytes");
  auto block = std::make_unique<MemoryBlock>(take_memory(bytes));
  auto* const data = static_cast<uint8_t*>(block->data);
  const py::capsule owner(block.release(), [](void* held) {
    const std::unique_ptr<MemoryBlock> done(static_cast<MemoryBlock*>(held));
    give_back(*done);
  });
  return py::array_t<uint8_t>(bytes, data, owner);
}

// `left_out` [N, k].
MassRows mass_rows(Engine& engine, const Array<State>& states, const Logits& logits, double temperature,
                   const Array<int32_t>& left_out) {
  const py::ssize_t count = states.size();
  require_length(logits.starts.size(), count, "logits");
  if (left_out.ndim() != 2 || left_out.shape(0) != count)
    throw Error(ErrorKind::kInput, "what is left out must have two dimensions [rows, tokens]");
  return {logits.rows(), count, engine.masks, states.data(), temperature, left_out.data(), left_out.shape(1)};
}

// Log-sum-exps [N] over allowed tokens, and over the others.
std::pair<Array<double>, Array<double>> log_masses_of(Engine& engine, const Array<State>& states, const Logits& logits,
                                                      double temperature, const Array<int32_t>& left_out) {
  const MassRows rows = mass_rows(engine, states, logits, temperature, left_out);
  Array<double> allowed(rows.count), disallowed(rows.count);
  const LogMasses out{allowed.mutable_data(), disallowed.mutable_data()};
  {
    const py::gil_scoped_release unlock;
    log_masses(rows, out);
  }
  return {allowed, disallowed};
}

// Fills `out` with the gradient of the log-sum-exps weighed by `allowed` [N] and `disallowed` [N].
void log_mass_gradient_of(Engine& engine, const Array<State>& states, const Logits& logits, double temperature,
                          const Array<int32_t>& left_out, const Array<double>& allowed, const Array<double>& disallowed,
                          py::array out) {
  const MassRows rows = mass_rows(engine, states, logits, temperature, left_out);
  require_length(allowed.size(), rows.count, "allowed");
  require_length(disallowed.size(), rows.count, "disallowed");
  const LogMassGradient gradient{allowed.data(), disallowed.data(), room_for(logits, out)};
  const py::gil_scoped_release unlock;
  log_mass_gradient(rows, gradient);
}

void penalize_rows(Engine& engine, const Array<State>& states, const Logits& logits, const Array<float>& penalties,
                   py::array out) {
  require_length(logits.starts.size(), states.size(), "logits");
  require_length(penalties.size(), states.size(), "penalties");
  void* const written = room_for(logits, out);
  const py::gil_scoped_release unlock;
  penalized_rows(logits.rows(), states.size(), engine.masks, states.data(), penalties.data(), written);
}

using Elementary = void (*)(const float*, int64_t, float*);

template <Elementary function>
Array<float> each(const Array<float>& values) {
  Array<float> out(values.size());
  function(values.data(), values.size(), out.mutable_data());
  return out;
}

}  // namespace

void define_divergence(py::module_& m) {
  py::class_<Logits>(m, "Logits")
      .def(py::init<py::array, const std::string&, Array<int64_t>, int64_t>(), py::arg("bits"), py::arg("dtype"),
           py::arg("starts").noconvert(), py::arg("width"));
  m.def("recycled", &recycled, py::arg("bytes"));
  m.def("drop_waiting_memory", &drop_waiting_memory);
  m.def("divergence", &losses_of, py::arg("engine"), py::arg("states").noconvert(), py::arg("teacher"),
        py::arg("student"), py::arg("penalties").noconvert(), py::arg("mask_on"), py::arg("temperature"),
        py::arg("reverse"), py::arg("shares"), py::arg("upstream"), py::arg("gradient"));
  m.def("log_masses", &log_masses_of, py::arg("engine"), py::arg("states").noconvert(), py::arg("logits"),
        py::arg("temperature"), py::arg("left_out").noconvert());
  m.def("log_mass_gradient", &log_mass_gradient_of, py::arg("engine"), py::arg("states").noconvert(),
        py::arg("logits"), py::arg("temperature"), py::arg("left_out").noconvert(), py::arg("allowed").noconvert(),
        py::arg("disallowed").noconvert(), py::arg("gradient"));
  m.def("penalized_rows", &penalize_rows, py::arg("engine"), py::arg("states").noconvert(), py::arg("logits"),
        py::arg("penalties").noconvert(), py::arg("out"));
  m.def("exponentials", &each<exponentials>, py::arg("values").noconvert());
  m.def("logarithms", &each<logarithms>, py::arg("values").noconvert());
}

}  // namespace fastmask
