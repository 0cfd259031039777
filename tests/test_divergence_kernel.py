"""The fused engine by itself: how exact it is, what may show in its bits, and its manners in a graph."""

from __future__ import annotations

import math
import multiprocessing
import sys
from functools import cache, partial
from itertools import product

import pytest

import fastmask as fm

torch = pytest.importorskip("torch")

import torch.nn.functional as F  # noqa: E402

import fastmask.torch as fmt  # noqa: E402
from fastmask.torch import fused  # noqa: E402
from tests.divergences import Exact, assert_exact, constraint, divergence_and_gradient, engine, logits  # noqa: E402

INF = math.inf
TIMEOUT = 120  # seconds until a child process counts as hung
KINDS = [{}, {"reverse": True}, {"jensen_shannon": 0.3}]
OPTIONS = [
    {"penalty": penalty, "temperature": temperature, "mask_on": mask_on, **kind}
    for penalty, temperature, mask_on, kind in product(
        (3.0, INF), (1.0, 2.5), ("teacher", "student", "both", "none"), KINDS
    )
    # Where mass is forbidden on the second side alone, the divergence is infinite, but for Jensen-Shannon's.
    if penalty < INF or mask_on != ("student", "teacher")["reverse" in kind] or "jensen_shannon" in kind
]


kl = engine("fused")
with_gradient = partial(divergence_and_gradient, kl)


# ---- exactness ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [*range(2, 40), 63, 64, 65, 127, 128, 129, 255, 300, 1023, 1024, 1025, 2500])
def test_every_width(width):
    con = constraint(width)
    states = torch.arange(con.num_states)
    student, teacher = logits(len(states), width, 0), logits(len(states), width, 1)
    for options in (*KINDS, {"mask_on": "both", "penalty": INF}):
        values, gradient = with_gradient(student, teacher, states, con, **options)
        assert_exact(Exact(student, teacher, states, con, **options), values, gradient)


def test_a_vocabulary_of_one_token():
    con = fm.Constraint.from_regex("a?", fm.Vocabulary([b"a"], eos_token_id=0))
    values, gradient = with_gradient(torch.ones(3, 1), torch.zeros(3, 1), torch.tensor([0, 1, 3]), con)
    assert (values == 0).all()
    assert (gradient == 0).all()


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_every_option_and_type(options, dtype):
    con = constraint(1500)
    states = torch.arange(con.num_states)
    student, teacher = (logits(len(states), 1500, seed, dtype=dtype) for seed in (0, 1))
    values, gradient = with_gradient(student, teacher, states, con, **options)
    assert gradient.dtype == dtype
    assert_exact(
        Exact(student, teacher, states, con, **options), values, gradient, 1e-6 if dtype.itemsize == 4 else 4e-3
    )


@pytest.mark.parametrize("dtypes", [*product((torch.float32, torch.bfloat16, torch.float16), repeat=2)], ids=str)
@pytest.mark.parametrize("widths", [(1100, 1100), (1100, 2200), (2200, 1100), (1105, 1101)], ids=str)
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_unequal_types_and_widths(dtypes, widths, kind):
    con = constraint(1100)
    states = torch.arange(con.num_states)
    student, teacher = (logits(len(states), width, 0, dtype=dtype) for width, dtype in zip(widths, dtypes, strict=True))
    if kind == {"reverse": True} and widths[0] > widths[1]:
        student[:, widths[1] :] = -INF  # or the divergence would be infinite
    values, gradient = with_gradient(student, teacher, states, con, **kind)
    exact = Exact(student, teacher, states, con, **kind)
    if kind == {} and widths[0] < widths[1]:
        assert values.isposinf().all(), "the teacher says what the student cannot"
        exact.values, exact.terms = values.double(), torch.zeros_like(exact.terms)
        exact.gradient_size = torch.full_like(exact.gradient_size, 1.0)
    found = torch.where(exact.values.isinf(), 0.0, values).float(), gradient
    exact.values = torch.where(exact.values.isinf(), 0.0, exact.values)
    assert_exact(exact, *found, 1e-6 if dtypes[0].itemsize == 4 else 4e-3)


def test_every_half_is_read_and_written_as_torch_does():
    """All 65,536 bit patterns as logits next to a certain token; their gradients are probabilities of every size."""
    con = fm.Constraint.from_regex("a?", fm.Vocabulary([b"a", b"b", None], eos_token_id=2))
    patterns = torch.arange(-(2**15), 2**15).to(torch.int16)
    for dtype in (torch.bfloat16, torch.float16):
        values = patterns.view(dtype)
        values = values[values.isfinite()]
        student = torch.stack([values, torch.zeros_like(values), torch.zeros_like(values)], -1)
        teacher, states = torch.zeros(len(values), 3), torch.zeros(len(values), dtype=torch.long)
        wide = with_gradient(student.float(), teacher, states, con)
        half = with_gradient(student, teacher, states, con)
        assert torch.equal(half[0], wide[0])
        assert torch.equal(half[1], wide[1].to(dtype))


@pytest.mark.parametrize("scale", [0.0, 100.0, 1e4])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_extreme_logits(scale, options):
    con = constraint(1100)
    states = torch.arange(con.num_states)
    student, teacher = (logits(len(states), 1100, seed, scale) for seed in (0, 1))
    values, gradient = with_gradient(student, teacher, states, con, **options)
    exact = Exact(student, teacher, states, con, **options)
    assert values.isfinite().all()
    assert gradient.isfinite().all()
    # A logit of 1e4 less a penalty of 3 is rounded to 5e-4 before anything else happens.
    torch.testing.assert_close(values.double(), exact.values, rtol=1e-6, atol=max(1e-6, 1e-7 * scale))


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_logits_of_minus_infinity(kind):
    """Whole blocks of them in both, at the beginning too; the divergence stays what it is on the other tokens."""
    con = constraint(4000)
    states = torch.arange(con.num_states)
    student, teacher = (logits(len(states), 4000, seed) for seed in (0, 1))
    for x in (student, teacher):
        x[:, :1100] = -INF
        x[:, 2000:3500] = -INF
    for mask_on, penalty in (("teacher", 5.0), ("none", 5.0), ("both", 5.0)):
        options = {"mask_on": mask_on, "penalty": penalty, **kind}
        values, gradient = with_gradient(student, teacher, states, con, **options)
        exact = Exact(*(x.masked_fill(x.isinf(), -1e30) for x in (student, teacher)), states, con, **options)
        assert_exact(exact, values, gradient)


def test_the_first_may_lack_what_the_second_has():
    con = constraint(1100)
    states = torch.arange(con.num_states)
    student, teacher = (logits(len(states), 1100, seed) for seed in (0, 1))
    teacher[:, ::3] = -INF
    assert_exact(Exact(student, teacher, states, con), *with_gradient(student, teacher, states, con))
    assert kl(student, teacher, states, con, reverse=True).isposinf().all()


def test_what_the_second_lacks_counts_beside_the_maximum_of_the_row():
    """A token that has mass in its own block, and none once a later block brings a far higher logit."""
    con, states = constraint(2500), torch.zeros(1, dtype=torch.long)
    student, teacher = logits(1, 2500, 0), logits(1, 2500, 1)
    teacher[:, 5] = -INF
    options = {"reverse": True, "mask_on": "none"}
    assert kl(student, teacher, states, con, **options).isposinf().all()
    student[:, 2000] = 1000.0
    assert_exact(
        Exact(student, teacher, states, con, **options), *with_gradient(student, teacher, states, con, **options)
    )


def test_nan_is_not_hidden():
    con = constraint(1100)
    states = torch.arange(con.num_states)
    student, teacher = (logits(len(states), 1100, seed) for seed in (0, 1))
    student[1, 1050], teacher[2, 7] = math.nan, math.nan
    for kind in KINDS:
        assert torch.equal(kl(student, teacher, states, con, **kind).isnan(), (states == 1) | (states == 2))


@pytest.mark.parametrize("distance", [0.0, 1e-4, 1e-2])
@pytest.mark.parametrize("share", [1e-30, 1e-9, 0.3, 0.5, 1 - 1e-9], ids=str)
def test_jensen_shannon_of_what_is_close(distance, share):
    """Of the square of the distance in size, and held to that: what the ratios of probabilities round to is more."""
    student = logits(20, 1100, 0)
    teacher = student + distance * logits(20, 1100, 1, scale=1.0)
    states, con = torch.zeros(20, dtype=torch.long), constraint(1100)
    values, gradient = with_gradient(student, teacher, states, con, jensen_shannon=share)
    exact = Exact(student, teacher, states, con, jensen_shannon=share)
    scale = share * (1 - share)
    assert ((values - exact.values).abs() <= scale * (1e-6 * distance + 1e-12)).all()
    assert ((gradient - exact.gradient).abs() <= scale * 1e-6).all()


# ---- the same bits ------------------------------------------------------------------------------------------------


@cache
def constraint_of_a_batch() -> fm.Constraint:
    return constraint(2500)


def batch():
    con = constraint_of_a_batch()
    states = torch.arange(64) % con.num_states
    return logits(64, 2500, 0), logits(64, 2500, 1), states, con


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_where_all_is_allowed_every_penalty_gives_the_plain_divergence(kind):
    student, teacher, states, con = batch()
    free = torch.full_like(states, fm.FREE)
    plain = with_gradient(student, teacher, states, con, mask_on="none", **kind)
    for penalty, mask_on in product((0.0, 7.0, INF), ("teacher", "student", "both")):
        options = {"penalty": penalty, "mask_on": mask_on, **kind}
        for found, expected in zip(with_gradient(student, teacher, free, con, **options), plain, strict=True):
            assert torch.equal(found, expected)


def test_where_nothing_is_constrained_a_target_changes_no_bit():
    student, teacher, states, con = batch()
    free = torch.full_like(states, fm.FREE)
    padded = F.pad(teacher, (0, 40), value=3.0)  # columns beyond the vocabulary, which have mass of their own
    for side in (teacher, padded):
        wide = F.pad(student, (0, side.shape[-1] - student.shape[-1]))
        plain = with_gradient(wide, side, free, con, mask_on="none")
        for found, expected in zip(with_gradient(wide, side, free, con, target_invalid_mass=0.3), plain, strict=True):
            assert torch.equal(found, expected)


@pytest.mark.parametrize("cuts", [[1, 2, 63], [32], [*range(1, 64)]], ids=str)
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_any_split_of_the_batch(cuts, kind):
    student, teacher, states, con = batch()
    whole = with_gradient(student, teacher, states, con, **kind)
    parts = [
        with_gradient(*rows, con, **kind)
        for rows in zip(*(torch.tensor_split(x, cuts) for x in (student, teacher, states)), strict=True)
    ]
    for found, expected in zip(map(torch.cat, zip(*parts, strict=True)), whole, strict=True):
        assert torch.equal(found, expected)


@pytest.mark.parametrize("count", [1, 2, 3, 8])
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_any_number_of_threads(count, kind, threads):
    expected = with_gradient(*batch(), **kind)
    threads(count)
    for found, wanted in zip(with_gradient(*batch(), **kind), expected, strict=True):
        assert torch.equal(found, wanted)


def results_in_bytes() -> bytes:
    student, teacher, states, con = batch()
    results = []
    for dtype, kind in product((torch.float32, torch.bfloat16, torch.float16), KINDS):
        results += with_gradient(
            student.to(dtype), teacher.to(dtype), states, con, penalty=3.0, temperature=0.7, **kind
        )
    return b"".join(result.view(torch.uint8).numpy().tobytes() for result in results)


@pytest.mark.parametrize("path", ["plain", "avx2", "avx512"])
def test_every_set_of_instructions(path, monkeypatch):
    """A path that this machine lacks falls back to the next, which is then tested twice."""
    monkeypatch.setenv("FASTMASK_SIMD", path)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply_async(results_in_bytes).get(TIMEOUT) == results_in_bytes()


def gradient_in_bytes(*rows) -> bytes:
    return with_gradient(*rows)[1].numpy().tobytes()


@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork.*:DeprecationWarning")
def test_a_fork_after_the_threads_have_worked(threads):
    """The child has the logits from its parent: torch's own threads would not survive the fork."""
    threads(2)
    _FORKED.append(batch())
    expected = gradient_in_bytes(*_FORKED[0])
    with multiprocessing.get_context("fork").Pool(1) as pool:
        assert pool.apply_async(gradient_of_the_forked).get(TIMEOUT) == expected


_FORKED: list[tuple] = []


def gradient_of_the_forked() -> bytes:
    return gradient_in_bytes(*_FORKED[0])


# ---- in a graph ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_the_same_gradient_whether_it_was_foreseen_or_not(dtype, kind):
    """Written along with the loss where the same number came twice before, from the logits again elsewhere."""
    student, teacher, states, con = batch()
    student = student.to(dtype)
    mean, weights = torch.full((64,), 1 / 64), torch.linspace(0, 2, 64)
    gradients = [
        with_gradient(student, teacher, states, con, upstream=upstream, **kind)[1]
        for upstream in (weights, mean, mean, mean, mean, weights, mean, weights)
    ]
    for gradient in gradients[1:5]:
        assert torch.equal(gradient, gradients[6])
    assert torch.equal(gradients[0], gradients[5])
    assert torch.equal(gradients[0], gradients[7])
    assert (gradients[0][0] == 0).all()


def test_twice_in_a_graph_and_twice_through_it():
    student, teacher, states, con = batch()
    alone = with_gradient(student, teacher, states, con)[1]
    for _ in range(3):  # foreseen in the end
        leaf = student.clone().requires_grad_()
        loss = kl(leaf, teacher, states, con).sum() + kl(leaf, teacher, states, con).sum()
        loss.backward(retain_graph=True)
        torch.testing.assert_close(leaf.grad, 2 * alone)
        leaf.grad.zero_()  # the buffer that was handed out is the receiver's
        loss.backward()
        torch.testing.assert_close(leaf.grad, 2 * alone)
        with pytest.raises(RuntimeError, match="second time"):
            loss.backward()


def test_logits_that_changed_are_noticed():
    student, teacher, states, con = batch()
    leaf = student.clone().requires_grad_()
    loss = kl(leaf, teacher, states, con).sum()
    teacher.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


@pytest.fixture
def written(monkeypatch):
    """The gradients that were written so far."""
    gradients, room = [], fused._room_for
    monkeypatch.setattr(fused, "_room_for", lambda logits: gradients.append(room(logits)) or gradients[-1])
    return gradients


def test_without_a_graph_no_gradient_is_written(written):
    student, teacher, states, con = batch()
    for _ in range(3):
        with_gradient(student, teacher, states, con)  # now it would be foreseen
    assert len(written) == 3
    with torch.no_grad():
        kl(student.requires_grad_(), teacher, states, con)
    kl(student.detach(), teacher, states, con)
    assert len(written) == 3


def test_what_came_twice_is_foreseen(written):
    student, teacher, states, con = batch()
    student.requires_grad_()
    kl(student, teacher, states, con).backward(torch.linspace(0, 2, 64))  # whatever was foreseen before is not now
    for _ in range(2):
        written.clear()
        losses = kl(student, teacher, states, con)
        assert not written
        losses.backward(torch.full((64,), 0.3))
        assert len(written) == 1
    kl(student, teacher, states, con).backward(torch.full((64,), 0.3))
    assert len(written) == 2


def test_a_gradient_is_handed_out_once():
    """What its receiver does to it is nobody else's."""
    student, teacher, states, con = batch()
    for _ in range(4):  # foreseen in the end
        leaf = student.clone().requires_grad_()
        loss = kl(leaf, teacher, states, con).sum()
        (first,) = torch.autograd.grad(loss, leaf, retain_graph=True)
        expected = first.clone()
        first.zero_()
        (second,) = torch.autograd.grad(loss, leaf)
        assert torch.equal(second, expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_gradients_of_many_megabytes(dtype):
    """They lie in memory that is kept from step to step; of two that are alive each has its own."""
    con = constraint_of_a_batch()
    states = torch.arange(1300) % con.num_states
    teacher, students = logits(1300, 2500, 0), [logits(1300, 2500, seed).to(dtype) for seed in (1, 2)]
    alive = []
    for _ in range(3):
        alive = [
            with_gradient(student, teacher, states, con, upstream=torch.full((1300,), 0.5))[1] for student in students
        ]
    for gradient, student in zip(alive, students, strict=True):
        assert gradient.nbytes > 6 << 20
        exact = Exact(student, teacher, states, con)
        tolerance = 1e-6 if dtype == torch.float32 else 8e-3
        assert ((gradient - exact.gradient / 2).abs() <= tolerance * exact.gradient_size).all()


def test_what_asks_for_no_gradient_gets_none():
    student, teacher, states, con = batch()
    assert not kl(student, teacher.requires_grad_(), states, con).requires_grad
    with torch.no_grad():
        assert not kl(student.requires_grad_(), teacher, states, con).requires_grad
    kl(student, teacher, states, con).sum().backward()
    assert teacher.grad is None


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_any_view(dtype):
    """Slices of longer texts, rows in another order, columns in another order, one row for all."""
    con = constraint(1100)
    whole, states = logits(60, 1100, 0, dtype=dtype).view(4, 15, 1100), torch.arange(56).view(4, 14) % con.num_states
    views = {
        "all but the last": whole[:, :-1],
        "transposed": whole.transpose(0, 1)[:14].transpose(0, 1),
        "columns apart": torch.stack([whole, whole], -1)[:, 1:, :, 0],
        "expanded": whole[0, 0].expand(4, 14, 1100),
    }
    teacher = logits(56, 1100, 1).view(4, 14, 1100)
    for name, view in views.items():
        expected = with_gradient(view.contiguous(), teacher, states, con)
        for found, wanted in zip(with_gradient(view, teacher, states, con), expected, strict=True):
            assert torch.equal(found, wanted), name
        assert torch.equal(kl(teacher, view, states, con), kl(teacher, view.contiguous(), states, con)), name


@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0), ()])
def test_empty_batches_and_single_rows(shape):
    con = constraint(1100)
    x = torch.zeros(*shape, 1100)
    values, gradient = with_gradient(x, x, torch.zeros(shape, dtype=torch.long), con)
    assert values.shape == shape
    assert gradient.shape == x.shape


def test_a_penalty_for_each_row():
    student, teacher, states, con = batch()
    penalties = torch.linspace(0, 20, 64)
    together = with_gradient(student, teacher, states, con, penalty=penalties)
    for row in (0, 1, 40, 63):
        one = slice(row, row + 1)
        alone = with_gradient(student[one], teacher[one], states[one], con, penalty=float(penalties[row]))
        for found, expected in zip(alone, together, strict=True):
            assert torch.equal(found, expected[one])


# ---- what it does not do ------------------------------------------------------------------------------------------


def cannot():
    student, teacher, states, con = batch()
    wanting = torch.ones(64, requires_grad=True)

    def loss(x):  # without masks, which no transform may meet: see test_torch.py
        return kl(x, teacher, states, con, mask_on="none").sum()

    return {
        "float64": ("float64", lambda: kl(student.double(), teacher, states, con)),
        "float64 teacher": ("teacher.*float64", lambda: kl(student, teacher.double(), states, con)),
        "a constraint on a device": ("device", lambda: kl(student, teacher, states, con.on("cpu"))),
        "another device": ("meta", lambda: kl(student.to("meta"), teacher, states, con)),
        "a penalty's gradient": ("penalty", lambda: kl(student, teacher, states, con, penalty=wanting)),
        "a target's gradient": (
            "penalty",
            lambda: kl(student.requires_grad_(), teacher, states, con, target_invalid_mass=0.1, mask_on="student"),
        ),
        "torch.func.grad": ("torch.func", lambda: torch.func.grad(loss)(student)),
        "torch.vmap": ("torch.func", lambda: torch.vmap(lambda x: x * loss(student))(torch.ones(2))),
    }


@pytest.mark.parametrize("name", cannot())
def test_what_the_kernel_does_not_do_is_refused(name):
    words, call = cannot()[name]
    with pytest.raises(fm.InputError, match=f'(?s){words}.*engine="torch"'):
        call()


def test_auto_does_what_the_kernel_does_not():
    student, teacher, states, con = batch()
    plain = fmt.constrained_kl(student, teacher, states, con, engine="torch")
    assert torch.equal(fmt.constrained_kl(student, teacher, states, con.on("cpu")), plain)
    in_double = fmt.constrained_kl(student.double(), teacher, states, con)
    assert in_double.dtype == torch.float64
    torch.testing.assert_close(in_double.float(), plain)
    on_device = con.on("cpu")
    slope = torch.func.grad(lambda x: fmt.constrained_kl(x, teacher, states, on_device).sum())(student)
    torch.testing.assert_close(slope, with_gradient(student, teacher, states, con)[1], rtol=1e-4, atol=1e-6)


def test_a_gradient_of_the_gradient_is_refused():
    student, teacher, states, con = batch()
    leaf = student.requires_grad_()
    (slope,) = torch.autograd.grad(kl(leaf, teacher, states, con).sum(), leaf, create_graph=True)
    with pytest.raises(RuntimeError, match=r"once_differentiable|does not require grad"):
        slope.sum().backward()
