"""The Triton engine by itself, on a GPU where there is one, else under Triton's interpreter: small problems, because
that takes a few hundredths of a second for every block of every row."""

from __future__ import annotations

import math
import subprocess
import sys
from functools import partial
from itertools import product

import pytest

import fastmask as fm

torch = pytest.importorskip("torch")
pytest.importorskip("triton")

import fastmask.torch as fmt  # noqa: E402
from fastmask.torch import triton_engine, triton_kernels  # noqa: E402
from tests.divergences import (  # noqa: E402
    DEVICE,
    Exact,
    assert_exact,
    constraint,
    divergence_and_gradient,
    engine,
    logits,
)

INF = math.inf
BLOCK = triton_kernels._BLOCK
TOLERANCE = {
    torch.float32: 1e-6,
    torch.bfloat16: 8e-3,
    torch.float16: 1e-3,
}  # the interpreter truncates: one last place
KINDS = [{}, {"reverse": True}, {"jensen_shannon": 0.3}]
OPTIONS = [
    {"penalty": penalty, "temperature": temperature, "mask_on": mask_on, **kind}
    for penalty, temperature, mask_on, kind in product(
        (3.0, INF), (1.0, 2.5), ("teacher", "student", "both", "none"), KINDS
    )
    # Mass that is forbidden on the second side alone makes the divergence infinite, but for Jensen-Shannon's.
    if penalty < INF or mask_on != ("student", "teacher")["reverse" in kind] or "jensen_shannon" in kind
]

kl = engine("triton")
with_gradient = partial(divergence_and_gradient, kl)


def problem(width: int, dtype: torch.dtype = torch.float32, scale: float = 3.0):
    """Student, teacher, states, constraint: an unconstrained row, one with a sparse mask and one with a dense one."""
    con = constraint(width)
    states = torch.tensor([fm.FREE, fm.DONE, con.initial_state])
    return (*(logits(3, width, seed, scale, dtype) for seed in (0, 1)), states, con)


# ---- exactness ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [2, 31, 32, 33, 300, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK + 904])
@pytest.mark.parametrize("options", [*KINDS, {"mask_on": "both", "penalty": INF}], ids=str)
def test_any_width(width, options):
    rows = problem(width)
    assert_exact(Exact(*rows, **options), *with_gradient(*rows, **options))


def test_a_vocabulary_of_one_token():
    con = fm.Constraint.from_regex("a?", fm.Vocabulary([b"a"], eos_token_id=0))
    values, gradient = with_gradient(torch.ones(3, 1), torch.zeros(3, 1), torch.tensor([0, 1, 3]), con)
    assert (values == 0).all()
    assert (gradient == 0).all()


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_every_option_and_type(options, dtype):
    rows = problem(100, dtype)
    values, gradient = with_gradient(*rows, **options)
    assert gradient.dtype == dtype
    assert_exact(Exact(*rows, **options), values, gradient, TOLERANCE[dtype])


@pytest.mark.parametrize("dtypes", [(torch.bfloat16, torch.float32), (torch.float32, torch.float16)], ids=str)
@pytest.mark.parametrize("widths", [(1100, 2200), (2200, 1100), (1105, 1101)], ids=str)
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_unequal_types_and_widths(dtypes, widths, kind):
    """The first of the two says nothing that the second cannot."""
    con = constraint(1100)
    states = torch.tensor([fm.FREE, con.initial_state])
    student, teacher = (logits(2, width, 0, dtype=dtype) for width, dtype in zip(widths, dtypes, strict=True))
    first, second = (student, teacher) if "reverse" in kind else (teacher, student)
    first[:, second.shape[-1] :] = -INF
    exact = Exact(student, teacher, states, con, **kind)
    assert_exact(exact, *with_gradient(student, teacher, states, con, **kind), TOLERANCE[dtypes[0]])


@pytest.mark.parametrize("scale", [0.0, 1e4])
@pytest.mark.parametrize("options", [options for options in OPTIONS if options["temperature"] == 2.5], ids=str)
def test_extreme_logits(scale, options):
    """In three blocks, each of which may hold a new maximum, far above the last."""
    rows = problem(2 * BLOCK + 50, scale=scale)
    values, gradient = with_gradient(*rows, **options)
    assert gradient.isfinite().all()
    # A logit of 1e4 less a penalty of 3 is rounded to 5e-4 before anything else happens.
    torch.testing.assert_close(values.double(), Exact(*rows, **options).values, rtol=1e-6, atol=max(1e-6, 1e-7 * scale))


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_logits_of_minus_infinity(kind):
    """The first block and the third in both; the divergence stays what it is on the other tokens."""
    student, teacher, states, con = problem(4 * BLOCK - 100)
    for x in (student, teacher):
        x[:, : BLOCK + 3] = -INF
        x[:, 2 * BLOCK : 3 * BLOCK] = -INF
    exact = Exact(*(x.masked_fill(x.isinf(), -1e30) for x in (student, teacher)), states, con, **kind)
    assert_exact(exact, *with_gradient(student, teacher, states, con, **kind))


def test_the_first_may_lack_what_the_second_has():
    student, teacher, states, con = problem(BLOCK + 100)
    teacher[:, ::3] = -INF
    teacher[:, :BLOCK] = -INF
    assert_exact(Exact(student, teacher, states, con), *with_gradient(student, teacher, states, con))
    assert kl(student, teacher, states, con, reverse=True).isposinf().all()


def test_mass_that_a_later_block_makes_vanish():
    """What the teacher says and the student cannot counts until its share of the mass is 0 in float32."""
    student, teacher, states, con = problem(BLOCK + 100)
    student[:, 5] = -INF
    assert kl(student, teacher, states, con, mask_on="none").isposinf().all()
    teacher[:, BLOCK + 50] += 1e3
    assert_exact(
        Exact(student, teacher, states, con, mask_on="none"),
        *with_gradient(student, teacher, states, con, mask_on="none"),
    )


def test_nan_is_not_hidden():
    student, teacher, states, con = problem(BLOCK + 100)
    student[1, BLOCK + 50], teacher[2, 7] = math.nan, math.nan
    for kind in KINDS:
        assert kl(student, teacher, states, con, **kind).isnan().tolist() == [False, True, True]


@pytest.mark.parametrize("distance", [0.0, 1e-3])
def test_jensen_shannon_of_what_is_close(distance):
    """Of the square of the distance in size, and held to that: what the ratios of probabilities round to is more."""
    student, _, states, con = problem(300)
    teacher = student + distance * logits(3, 300, 2, scale=1.0)
    values, gradient = with_gradient(student, teacher, states, con, jensen_shannon=0.3, mask_on="none")
    exact = Exact(student, teacher, states, con, jensen_shannon=0.3, mask_on="none")
    assert ((values - exact.values).abs() <= 1e-6 * distance).all()
    assert ((gradient - exact.gradient).abs() <= 1e-6 * 0.3 * 0.7).all()


# ---- the same bits ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_where_all_is_allowed_every_penalty_gives_the_plain_divergence(kind):
    student, teacher, states, con = problem(300)
    free = torch.full_like(states, fm.FREE)
    plain = with_gradient(student, teacher, states, con, mask_on="none", **kind)
    for penalty, mask_on in product((7.0, INF), ("teacher", "student", "both")):
        options = {"penalty": penalty, "mask_on": mask_on, **kind}
        for found, expected in zip(with_gradient(student, teacher, free, con, **options), plain, strict=True):
            assert torch.equal(found, expected)


def test_a_constraint_on_the_device_is_the_constraint():
    student, teacher, states, con = problem(300)
    expected = kl(student, teacher, states, con)
    assert torch.equal(kl(student, teacher, states, con.on(DEVICE)), expected)
    assert torch.equal(kl(student, teacher, states.int(), con), expected)


def test_a_state_out_of_range():
    """An error, or DEAD where nobody waits for the device."""
    student, teacher, _, con = problem(300)
    outside, dead = (torch.tensor([fm.FREE, state, fm.DONE]) for state in (con.num_states, fm.DEAD))
    with pytest.raises(fm.TokenRangeError, match=f"state {con.num_states}"):
        kl(student, teacher, outside, con)
    on_device = con.on(DEVICE)
    assert torch.equal(kl(student, teacher, outside, on_device), kl(student, teacher, dead, on_device))


def test_a_penalty_for_each_row():
    student, teacher, states, con = problem(300)
    penalties = torch.tensor([0.5, INF, 20.0])
    together = with_gradient(student, teacher, states, con, penalty=penalties)
    for row in range(3):
        one = slice(row, row + 1)
        alone = with_gradient(student[one], teacher[one], states[one], con, penalty=float(penalties[row]))
        for found, expected in zip(alone, together, strict=True):
            assert torch.equal(found, expected[one])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_any_view(dtype):
    """Slices of longer texts, rows in another order, columns in another order, one row for all, four dimensions."""
    con = constraint(40)
    whole, states = logits(12, 40, 0, dtype=dtype).view(2, 6, 40), torch.arange(10).view(2, 5) % con.num_states
    teacher = logits(10, 40, 1).view(2, 5, 40)
    views = {
        "all but the last": whole[:, :-1],
        "transposed": whole.transpose(0, 1)[:5].transpose(0, 1),
        "columns apart": torch.stack([whole, whole], -1)[:, 1:, :, 0],
        "expanded": whole[0, 0].expand(2, 5, 40),
    }
    for name, view in views.items():
        expected = with_gradient(view.contiguous(), teacher, states, con)
        for found, wanted in zip(with_gradient(view, teacher, states, con), expected, strict=True):
            assert torch.equal(found, wanted), name
    halves = (torch.stack([x, x]) for x in (whole, teacher, states))
    values, gradient = with_gradient(next(halves)[:, :, 1:], *halves, con)
    for found, wanted in zip((values, gradient), with_gradient(whole[:, 1:], teacher, states, con), strict=True):
        assert torch.equal(found, torch.stack([wanted, wanted])), "four dimensions"


@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0), ()])
def test_empty_batches_and_single_rows(shape):
    x = torch.zeros(*shape, 100)
    values, gradient = with_gradient(x, x, torch.zeros(shape, dtype=torch.long), constraint(100))
    assert values.shape == shape
    assert gradient.shape == x.shape


# ---- in a graph ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS[1:], ids=str)
def test_any_weight_of_a_position(kind):
    """One that does not count gets no gradient, even where its loss is infinite."""
    student, teacher, states, con = problem(BLOCK + 100)
    options = {"penalty": INF, **kind}
    weights = torch.tensor([0.3, 0.0, 0.0])
    gradient = with_gradient(student, teacher, states, con, upstream=weights, **options)[1]
    alone = with_gradient(student[:1], teacher[:1], states[:1], con, **options)[1]
    torch.testing.assert_close(gradient[:1], 0.3 * alone)
    assert (gradient[1:] == 0).all()


def test_twice_in_a_graph_and_twice_through_it():
    student, teacher, states, con = problem(100)
    alone = with_gradient(student, teacher, states, con)[1]
    leaf = student.clone().requires_grad_()
    loss = kl(leaf, teacher, states, con).sum() + kl(leaf, teacher, states, con).sum()
    loss.backward(retain_graph=True)
    torch.testing.assert_close(leaf.grad, 2 * alone)
    loss.backward()
    torch.testing.assert_close(leaf.grad, 4 * alone)
    with pytest.raises(RuntimeError, match="second time"):
        loss.backward()


def test_logits_that_changed_are_noticed():
    student, teacher, states, con = (x.to(DEVICE) if isinstance(x, torch.Tensor) else x for x in problem(100))
    loss = fmt.constrained_kl(student.requires_grad_(), teacher, states, con, engine="triton").sum()
    teacher.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_what_asks_for_no_gradient_gets_none():
    student, teacher, states, con = problem(100)
    assert not kl(student, teacher.requires_grad_(), states, con).requires_grad
    with torch.no_grad():
        assert not kl(student.requires_grad_(), teacher, states, con).requires_grad
    kl(student, teacher, states, con).sum().backward()
    assert teacher.grad is None


def test_a_gradient_of_the_gradient_is_refused():
    student, teacher, states, con = problem(100)
    leaf = student.requires_grad_()
    (slope,) = torch.autograd.grad(kl(leaf, teacher, states, con).sum(), leaf, create_graph=True)
    with pytest.raises(RuntimeError, match=r"once_differentiable|does not require grad"):
        slope.sum().backward()


# ---- what it does not do ------------------------------------------------------------------------------------------


class Named(torch.Tensor):
    """A subclass, as quantised and distributed tensors are."""


def cannot():
    student, teacher, states, con = (x.to(DEVICE) if isinstance(x, torch.Tensor) else x for x in problem(100))
    loss = partial(fmt.constrained_kl, engine="triton")
    wanting = torch.ones(3, device=DEVICE, requires_grad=True)
    return {
        "float64": ("float64", lambda: loss(student.double(), teacher, states, con)),
        "float64 teacher": ("teacher.*float64", lambda: loss(student, teacher.double(), states, con)),
        "a subclass": ("student.*Named", lambda: loss(student.as_subclass(Named), teacher, states, con)),
        "another device": ("meta", lambda: loss(student.to("meta"), teacher.to("meta"), states, con)),
        "two devices": ("student.*meta.*teacher", lambda: loss(student.to("meta"), teacher, states, con)),
        "masks elsewhere": ("masks.*meta.*logits", lambda: loss(student, teacher, states, con.on("meta"))),
        "a penalty's gradient": ("penalty", lambda: loss(student, teacher, states, con, penalty=wanting)),
        "torch.func.grad": (
            "torch.func",
            lambda: torch.func.grad(lambda x: loss(x, teacher, states, con, mask_on="none").sum())(student),
        ),
    }


@pytest.mark.parametrize("name", cannot())
def test_what_the_kernels_do_not_do_is_refused(name):
    words, call = cannot()[name]
    with pytest.raises(fm.InputError, match=f'(?s)engine="triton".*{words}.*engine="torch"'):
        call()


def test_without_a_gpu_or_the_interpreter_it_is_refused(monkeypatch):
    monkeypatch.setattr(triton_kernels, "interpreted", lambda: False)
    with pytest.raises(fm.InputError, match=r"on cpu, not on a GPU.*TRITON_INTERPRET=1"):
        fmt.constrained_kl(*problem(100), engine="triton")


def test_without_triton_it_is_refused(monkeypatch):
    monkeypatch.setattr(triton_engine, "find_spec", lambda _: None)
    with pytest.raises(fm.InputError, match="triton is not installed"):
        kl(*problem(100))


def test_tables_beyond_their_budget(monkeypatch):
    student, teacher, states, con = problem(100)
    on = type(con).on
    monkeypatch.setattr(type(con), "on", lambda con, device: on(con, device, max_bytes=10))
    with pytest.raises(fm.InputError, match=r"limit is 10.*engine="):
        kl(student, teacher, states, con)


def test_auto_takes_it_on_a_gpu_alone(monkeypatch):
    student, teacher, states, con = problem(100)
    expected = kl(student, teacher, states, con)
    if torch.cuda.is_available():
        there = (x.cuda() for x in (student, teacher, states))
        assert torch.equal(fmt.constrained_kl(*there, con).cpu(), expected)
    monkeypatch.setattr(triton_engine, "divergence", None)
    torch.testing.assert_close(fmt.constrained_kl(student, teacher, states, con.on("cpu")), expected)


def test_nothing_imports_triton_before_it_is_needed():
    program = (
        "import sys, fastmask.torch; print('triton' in sys.modules, 'fastmask.torch.triton_engine' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout == "False True\n"


# ---- on a GPU that is not there -----------------------------------------------------------------------------------

COMPILE = """
import sys
from triton import compile
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from fastmask.torch import triton_kernels as kernels

kernel, logits = getattr(kernels, sys.argv[1]), sys.argv[2]
mixed, in_first = (word == "True" for word in sys.argv[3:])
floats = dict.fromkeys(("losses", "statistics", "upstream", "penalties"), "*fp32")
types = floats | dict.fromkeys(("first", "second", "gradient"), logits)
types |= {"words": "*i32", "rows": "*i64", "rate": "fp32", "first_share": "fp32", "second_share": "fp32"}
constants = {"PENALIZE_FIRST": True, "PENALIZE_SECOND": False, "GROUPS": 64}
constants |= {"MIXED": mixed, "IN_FIRST": in_first} if "IN_FIRST" in kernel.arg_names else {}
signature = {name: "constexpr" if name in constants else types.get(name, "i32") for name in kernel.arg_names}
source = ASTSource(kernel, signature, constants)
code = compile(source, target=GPUTarget("cuda", 80, 32), options={"num_warps": 4, "enable_fp_fusion": True}).asm["ptx"]
assert ".entry " + sys.argv[1] in code and "ex2.approx" in code
"""


@pytest.mark.parametrize(
    "arguments",
    [
        ("_losses", "*bf16", False, False),
        ("_mixed_losses", "*bf16", True, False),
        *(("_gradient", "*fp16", *flags) for flags in product((False, True), repeat=2)),
    ],
    ids=str,
)
def test_triton_s_compiler_takes_the_kernels(arguments, tmp_path, monkeypatch):
    """The interpreter is no judge of that. It needs no GPU, but Triton's own interface, and that interpreter off."""
    monkeypatch.setenv("TRITON_INTERPRET", "0")
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    found = subprocess.run([sys.executable, "-c", COMPILE, *map(str, arguments)], capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
